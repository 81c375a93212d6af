"""Exported tasks: other programs read the same collection and get MTEB's scores."""

from __future__ import annotations

import html
import importlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import mteb
import pytest
import pytrec_eval
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata as MtebTaskMetadata
from mteb.mocks.mock_tasks.reranking import MockRerankingTask
from mteb.mocks.mock_tasks.retrieval import (
    MockAny2AnyRetrievalI2TTask,
    MockInstructionRetrieval,
    MockRetrievalDialogTask,
)

from optical_mteb.collection import Entry
from optical_mteb.collection import export as module
from optical_mteb.collection.beir import read_beir
from optical_mteb.collection.export import export_task
from optical_mteb.collection.split import retrieval_split
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata
from optical_mteb.errors import InputError
from tests.collection.conftest import refused

ODD = "abc </DOC>\n<DOC> & &amp; \u2028 \x85 \x0c d\x00e\tf \ud7ff <TEXT>"
DOCUMENTS = [
    Entry("d/1", ODD, title='T </TITLE>"1"'),
    *(Entry(f"d{number}", f"abc {chr(97 + number)} {number}") for number in range(2, 24)),
]
QUERIES = [Entry("q1", "abc\tb\nc"), Entry("q2", "e </top> 4"), Entry("q3", "h i"), Entry("d5", "f 5")]
QRELS = {"q1": {"d/1": 2, "d2": 1}, "q2": {"d4": 1, "d9": 3}, "q3": {"d7": 1}, "d5": {"d6": 1}}


def metadata(kind: type = TaskMetadata, **others: Any):
    given = {
        "name": "OddRetrieval",
        "dataset": {"path": "none", "revision": "1"},
        "description": "Odd texts.",
        "type": "Retrieval",
        "category": "t2t",
        "eval_splits": ["test"],
        "eval_langs": {"som-eng": ["som-Latn", "eng-Latn"], "swh-eng": ["swh-Latn", "eng-Latn"]},
        "main_score": "ndcg_at_10",
    }
    return kind(**given | others)


class OddRetrieval(CollectionRetrieval):
    """A task of this package's kind."""

    metadata = metadata()

    def load_split(self, subset, split):
        documents = [entry for entry in DOCUMENTS if subset == "som-eng" or entry.id != "d23"]
        return retrieval_split(subset, documents, QUERIES, QRELS)


class StockRetrieval(AbsTaskRetrieval):
    """A task as MTEB's own are: in its old form, one language, grades of 0, and queries that nobody judged."""

    metadata = metadata(MtebTaskMetadata, name="StockRetrieval", eval_langs=["som-Latn"], eval_splits=["dev", "test"])
    ignore_identical_ids = True

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        self.corpus, self.queries, self.relevant_docs = {}, {}, {}
        for split in self.eval_splits:
            self.corpus[split] = {entry.id: {"title": entry.title, "text": entry.text} for entry in DOCUMENTS}
            self.queries[split] = {entry.id: entry.text for entry in QUERIES} | {f"{split}-alone": "nobody"}
            self.relevant_docs[split] = {key: {**judged, "d20": 0} for key, judged in QRELS.items()}
        self.relevant_docs["dev"] = {"q2": {"d8": 1}} if "dev" in self.eval_splits else {}
        self.data_loaded = True


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts tasks into mteb's registry for this test alone."""
    registry = importlib.import_module("mteb.get_tasks")._TASKS_REGISTRY

    def put(*classes: type) -> None:
        for each in classes:
            monkeypatch.setitem(registry, each.metadata.name, each)

    put(OddRetrieval, StockRetrieval)
    return put


def export(name: str, file_format: str, output: Path, **options: Any) -> list[Path]:
    return export_task(name, file_format, output, **{"say": lambda _: None} | options)


def read_qrels_plainly(path: Path) -> dict[str, dict[str, int]]:
    """Judgements of either format by a plain loop: the grade is last, the document before it."""
    qrels: dict[str, dict[str, int]] = {}
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line and not line.startswith("query-id"):
            columns = line.split()
            qrels.setdefault(columns[0], {})[columns[-2]] = int(columns[-1])
    return qrels


@pytest.mark.parametrize("file_format", ["beir", "trec"])
@pytest.mark.parametrize(("name", "subset"), [("OddRetrieval", "som-eng"), ("StockRetrieval", "default")])
def test_scores_on_the_exported_judgements_are_mtebs(
    tasks, tmp_path: Path, tiny_model: Callable, file_format: str, name: str, subset: str
):
    """Guards against judgements that are lost, added or regraded: pytrec_eval on the files agrees with MTEB."""
    task = mteb.get_task(name, hf_subsets=[subset], eval_splits=["test"])
    kept: dict[str, dict[str, float]] = {}

    def keep(scores, *_, **__):
        kept.update(scores)
        return {}

    task.task_specific_scores = keep
    predictions = tmp_path / "predictions"
    result = mteb.evaluate(tiny_model(), task, cache=None, prediction_folder=predictions, co2_tracker=False)
    scores = result.task_results[0].scores["test"][0]
    run = json.loads((predictions / f"{name}_predictions.json").read_text())[subset]["test"]
    said: list[str] = []
    (folder,) = export(name, file_format, tmp_path / "out", subsets=[subset], splits=["test"], say=said.append)
    if name == "StockRetrieval":
        assert "takes a query's own id out" in said[0]
        for query, ranking in run.items():
            ranking.pop(query, None)
    (path,) = (folder / "qrels").iterdir()
    qrels = read_qrels_plainly(path)
    assert qrels == {
        query: judged | ({"d20": 0} if name == "StockRetrieval" else {}) for query, judged in QRELS.items()
    }
    by_query = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "map_cut.100"}).evaluate(run)
    assert by_query.keys() == kept.keys() == QRELS.keys()
    for measure, mtebs in (("ndcg_cut_10", "ndcg_at_10"), ("map_cut_100", "map_at_100")):
        for query, values in by_query.items():
            assert values[measure] == pytest.approx(kept[query][measure], abs=1e-6)
        # MTEB rounds its means to five digits.
        mean = fmean(values[measure] for values in by_query.values())
        assert round(mean, 5) == pytest.approx(scores[mtebs], abs=1e-6)
        assert 0 < mean < 1


def test_beir_export_holds_every_character(tasks, tmp_path: Path):
    """Guards against a text or title that is escaped, cut or divided into lines, and a folder that cannot be a task."""
    to_english, _ = export("OddRetrieval", "beir", tmp_path)
    records = [json.loads(line) for line in (to_english / "corpus.jsonl").read_bytes().split(b"\n") if line]
    assert records == [{"_id": each.id, "title": each.title, "text": each.text.strip()} for each in DOCUMENTS]
    read = read_beir(to_english)
    assert list(read["corpus"]["text"]) == [each.text.strip() for each in DOCUMENTS]
    assert read["queries"].to_dict() == {"id": [each.id for each in QUERIES], "text": [each.text for each in QUERIES]}
    assert read["relevant_docs"] == QRELS
    assert len(read_beir(tmp_path / "swh-eng")["corpus"]) == len(DOCUMENTS) - 1


def test_trec_export_against_a_plain_reading(tasks, tmp_path: Path):
    """Guards against a document that ends inside its text, control characters, and a topic on two lines."""
    (folder,) = export("OddRetrieval", "trec", tmp_path, subsets=["som-eng"])
    text = (folder / "docs.trec").read_text(encoding="utf-8")
    elements = re.findall(
        r"<DOC>\n<DOCNO>(.*)</DOCNO>\n(?:<TITLE>(.*)</TITLE>\n)?<TEXT>\n([^<>]*)\n</TEXT>\n</DOC>\n", text
    )
    assert len(elements) == len(DOCUMENTS) == text.count("</DOC>")
    for (number, title, body), document in zip(elements, DOCUMENTS, strict=True):
        assert (number, html.unescape(title)) == (document.id, document.title)
        blank = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", " ", document.text.strip())
        assert html.unescape(body) == blank
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    topics = (folder / "topics.tsv").read_text(encoding="utf-8").split("\n")
    assert topics == ["q1\tabc b c", "q2\te </top> 4", "q3\th i", "d5\tf 5", ""]
    assert (folder / "qrels" / "test.txt").read_text().split("\n")[:2] == ["q1 0 d/1 2", "q1 0 d2 1"]


def test_splits_share_their_documents(tasks, tmp_path: Path):
    """Guards against documents or queries that are written once for every split, and queries that nobody judged."""
    (folder,) = export("StockRetrieval", "beir", tmp_path)
    assert folder == tmp_path / "default"
    assert sorted(path.name for path in (folder / "qrels").iterdir()) == ["dev.tsv", "test.tsv"]
    assert read_qrels_plainly(folder / "qrels" / "dev.tsv") == {"q2": {"d8": 1}}
    lines = (folder / "queries.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["_id"] for line in lines) == sorted(QRELS)
    assert len((folder / "corpus.jsonl").read_bytes().split(b"\n")) == len(DOCUMENTS) + 1
    assert read_beir(folder, split="dev")["relevant_docs"] == {"q2": {"d8": 1}}


class OtherSplitsRetrieval(OddRetrieval):
    """Splits whose documents differ."""

    metadata = metadata(name="OtherSplitsRetrieval", eval_splits=["dev", "test"])
    change = "document"

    def load_split(self, subset, split):
        other = split == "dev"
        documents = [*DOCUMENTS, Entry("d99", "x")] if other and self.change == "document" else DOCUMENTS
        queries = [Entry("q1", "other"), *QUERIES[1:]] if other and self.change == "query" else QUERIES
        return retrieval_split(subset, documents, queries, QRELS)


@pytest.mark.parametrize(
    ("change", "message"),
    [("document", "the splits dev, test have different documents"), ("query", "query 'q1' has another text")],
)
def test_splits_that_differ_are_refused(tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change, message):
    """Guards against collections that are merged, which changes the scores of both; and half an export."""
    tasks(OtherSplitsRetrieval)
    monkeypatch.setattr(OtherSplitsRetrieval, "change", change)
    with refused(f"{message}.*export one at a time"):
        export("OtherSplitsRetrieval", "trec", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export("OtherSplitsRetrieval", "trec", tmp_path / "out", splits=["dev"])


class IdRetrieval(OddRetrieval):
    """A document and a query of a chosen id."""

    metadata = metadata(name="IdRetrieval", eval_langs={"som-eng": ["som-Latn", "eng-Latn"]})
    ids = ("d", "q")

    def load_split(self, subset, split):
        document, query = self.ids
        return retrieval_split(subset, [Entry(document, "x")], [Entry(query, "y")], {query: {document: 1}})


@pytest.mark.long
@pytest.mark.parametrize(
    ("file_format", "good", "bad"),
    [
        ("trec", ["d-1", "ክ", "doc:1/2#3"], ["a b", "a\tb", "a\u00a0b", "a\x01", "<a", "a&b", " a"]),
        ("beir", ["a b", "a&b<", 'a"b'], ["a\tb", "a\nb", "a\r", " a", "a ", '"a']),
    ],
)
def test_ids_that_a_format_cannot_hold(tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_format, good, bad):
    """Guards against an id that is read back as two columns, or as another id; and one that is refused for nothing."""
    tasks(IdRetrieval)
    for ids in [pair for key in bad for pair in ((key, "q"), ("d", key))]:
        monkeypatch.setattr(IdRetrieval, "ids", ids)
        with refused(r"(document|query) id .* cannot be written; in this format it may have"):
            export("IdRetrieval", file_format, tmp_path / "bad")
        assert not (tmp_path / "bad").exists()
    for number, key in enumerate(good):
        monkeypatch.setattr(IdRetrieval, "ids", (key, key))
        (folder,) = export("IdRetrieval", file_format, tmp_path / f"good{number}")
        qrels = (
            read_beir(folder)["relevant_docs"]
            if file_format == "beir"
            else read_qrels_plainly(folder / "qrels/test.txt")
        )
        assert qrels == {key: {key: 1}}


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (MockRerankingTask, "is Reranking of text"),
        (MockInstructionRetrieval, "is InstructionRetrieval of text"),
        (MockAny2AnyRetrievalI2TTask, "is Any2AnyRetrieval of"),
        (MockRetrievalDialogTask, "its texts are not plain strings"),
    ],
)
def test_tasks_that_are_more_than_texts_and_judgements(tasks, tmp_path: Path, task: type, message: str):
    """Guards against a part of a task that is dropped in silence."""
    tasks(task)
    with refused(message):
        export(task.metadata.name, "beir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "file_format", "options", "message"),
    [
        ("OdRetrieval", "beir", {}, "task 'OdRetrieval' is unknown to mteb; did you mean 'OddRetrieval'"),
        ("OddRetrieval", "json", {}, "format 'json' is unknown; write one of beir, trec"),
        ("OddRetrieval", "beir", {"subsets": ["xxx-eng"]}, "has no subset 'xxx-eng'; it has som-eng, swh-eng"),
        ("OddRetrieval", "beir", {"splits": ["train"]}, "has no split 'train'; it has test"),
    ],
)
def test_unknown_names(tasks, tmp_path: Path, name: str, file_format: str, options: dict, message: str):
    """Guards against a traceback for a name that is misspelt, and an export of nothing."""
    with refused(re.escape(message)):
        export(name, file_format, tmp_path, **options)


def test_what_is_there_is_left_alone(tasks, tmp_path: Path):
    """Guards against files of the user's that an export replaces, and a traceback where the output is a file."""
    (tmp_path / "swh-eng").mkdir()
    with refused("swh-eng: is there already; remove it, or choose another"):
        export("OddRetrieval", "beir", tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["swh-eng"]
    (tmp_path / "out").write_text("a file")
    with refused(r"out/som-eng: cannot write there .*; choose another --output"):
        export("OddRetrieval", "beir", tmp_path / "out")


def test_a_failure_leaves_no_subset(tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against an export that is refused after the disk was full, as the subsets before are there already."""
    writing, folders = module._write, []

    def second_fails(data, file_format, folder, name):
        if folders:
            raise InputError(f"{folder}: cannot write there")
        writing(data, file_format, folder, name)
        folders.append(folder)

    with monkeypatch.context() as patched:
        patched.setattr(module, "_write", second_fails)
        with refused("cannot write there"):
            export("OddRetrieval", "beir", tmp_path / "out")
    assert len(folders) == 1
    assert not (tmp_path / "out").exists()
    export("OddRetrieval", "beir", tmp_path / "out")


def test_data_that_cannot_be_had(tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against a traceback of the Hub's client, and an output folder without an export."""

    def fail(*_: object) -> None:
        raise ConnectionError("no route to the Hub\nat all")

    monkeypatch.setattr(OddRetrieval, "load_data", fail)
    with refused(r"its data cannot be loaded \(no route to the Hub at all\)"):
        export("OddRetrieval", "beir", tmp_path / "out")
    assert not (tmp_path / "out").exists()
