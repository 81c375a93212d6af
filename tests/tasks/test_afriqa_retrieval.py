"""AfriQA: the publisher's files, small, and the real ones against a count of their own."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import mteb
import pytest

from optical_mteb.collection import lines
from optical_mteb.tasks.afriqa_retrieval import AfriQARetrieval
from tests.collection.conftest import refused
from tests.tasks.conftest import real_data, texts

REAL, with_real_data = real_data("eval/afriqa/gold_passages")
PUBLISHED = [
    *((code, part) for code in ("bem", "hau", "ibo", "kin", "twi", "zul") for part in ("train", "dev", "test")),
    ("swa", "test"),
    ("yor", "train"),
    ("yor", "test"),
]
SIX = ["bem-eng", "hau-eng", "ibo-eng", "kin-eng", "twi-eng", "zul-eng"]
EIGHT = [*SIX[:4], "swh-eng", "twi-eng", "yor-eng", "zul-eng"]


def row(key: str, question: object, passage: object) -> dict[str, object]:
    return {
        "answer_pivot": {"answer_start": [0], "text": ["yes"]},
        "context": passage,
        "id": key,
        "question_lang": question,
        "question_translated": "Is it?",
        "title": "Somewhere",
        "answer_lang": "ee",
    }


class Files:
    """A copy of `data/gold_passages` in which every file has one question, with a passage of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for code, part in PUBLISHED:
            self.write(code, part, row("0", f"{code} {part} question", f"passage of {code} {part}"))

    def path(self, code: str, part: str) -> Path:
        return self.folder / code / f"gold_span_passages.afriqa.{code}.en.{part}.json"

    def write(self, code: str, part: str, *rows: dict[str, object]) -> None:
        self.path(code, part).parent.mkdir(parents=True, exist_ok=True)
        self.path(code, part).write_text("\n".join(json.dumps(each) for each in rows), encoding="utf-8")


@pytest.fixture
def files(data: Path) -> Files:
    return Files(data / "afriqa" / "data" / "gold_passages")


def load(*subsets: str, splits: tuple[str, ...] | None = None):
    task = AfriQARetrieval().filter_languages(None, hf_subsets=subsets or None).filter_eval_splits(splits)
    task.load_data()
    return task.dataset


def test_questions_of_a_language_over_the_passages_of_all(files: Files):
    """Guards against the translated question taken for the asked one, another language's questions, and a corpus too small."""
    split = load("hau-eng")["hau-eng"]["dev"]
    assert texts(split["queries"]) == {"0": "hau dev question"}
    assert split["relevant_docs"] == {"0": {"hau-dev-0": 1}}
    assert texts(split["corpus"]) == {
        f"{code}-{part}-0": f"passage of {code} {part}" for code, part in PUBLISHED if part != "test"
    }


def test_a_corpus_grows_by_the_test_files_alone(files: Files):
    """Guards against ids that change with the subset or the split, and a corpus for `test` that lacks a published passage."""
    dataset = load(splits=("dev", "test"))
    of_dev = list(dataset["hau-eng"]["dev"]["corpus"])
    of_test = list(dataset["yor-eng"]["test"]["corpus"])
    assert of_test[: len(of_dev)] == of_dev
    assert list(dataset["hau-eng"]["test"]["corpus"]) == of_test
    assert {entry["id"] for entry in of_test} == {f"{code}-{part}-0" for code, part in PUBLISHED}


def test_a_file_that_is_not_published_changes_nothing(files: Files):
    """Guards against scores that depend on what happens to lie in the folder."""
    before = load("hau-eng")["hau-eng"]["dev"]
    files.write("yor", "dev", row("0", "Ki ni?", "A new passage"))
    files.write("fon", "dev", row("0", "Etɛ?", "Un passage"))
    after = load("hau-eng")["hau-eng"]["dev"]
    assert list(before["corpus"]) == list(after["corpus"])


@pytest.mark.parametrize("nothing", [None, float("nan"), "", " "])
def test_missing_passages_and_questions_are_left_out(files: Files, nothing: object):
    """Guards against a null passage that is read as text or stops the task, and a lost passage that has no question."""
    files.write("twi", "dev", row("0", "Hena?", nothing), row("1", nothing, "Accra"), row("2", "Ɛhe?", "Kumasi"))
    files.write("twi", "train", row("0", nothing, nothing))
    split = load("twi-eng")["twi-eng"]["dev"]
    assert texts(split["queries"]) == {"2": "Ɛhe?"}
    assert split["relevant_docs"] == {"2": {"twi-dev-2": 1}}
    twi = {key: text for key, text in texts(split["corpus"]).items() if key.startswith("twi")}
    assert twi == {"twi-dev-1": "Accra", "twi-dev-2": "Kumasi"}


def test_equal_passages_are_one_document(files: Files):
    """Guards against a passage that two questions share and one finds twice, within a file and across languages."""
    files.write("bem", "train", row("7", "Bushe?", "Egypt \n"))
    files.write("hau", "dev", row("0", "Ina?", "Egypt"), row("1", "Wane?", " Egypt"), row("2", "Yaushe?", "Libya"))
    split = load("hau-eng")["hau-eng"]["dev"]
    assert split["relevant_docs"] == {"0": {"bem-train-7": 1}, "1": {"bem-train-7": 1}, "2": {"hau-dev-2": 1}}
    assert [text for text in split["corpus"]["text"] if "Egypt" in text] == ["Egypt"]


def test_equal_questions_are_one_query(files: Files):
    """Guards against a query that finds one of its passages and counts as wrong; another language's query is a different one."""
    files.write("twi", "train", row("0", "Hena?", "Nkrumah"), row("1", "Ɛhe?", "Tamale"))
    files.write("twi", "dev", row("0", "Hena?", "Busia"), row("1", " Hena? ", "Rawlings"), row("2", "Hena?", "Busia"))
    files.write("zul", "dev", row("0", "Hena?", "Mandela"))
    split = load("twi-eng")["twi-eng"]["dev"]
    assert texts(split["queries"]) == {"0": "Hena?"}
    assert split["relevant_docs"] == {"0": {"twi-train-0": 1, "twi-dev-0": 1, "twi-dev-1": 1}}


@pytest.mark.parametrize(
    ("splits", "subsets", "expected"),
    [
        (None, (), {subset: ["dev"] for subset in SIX}),
        (("dev",), (), {subset: ["dev"] for subset in SIX}),
        (("test",), (), {subset: ["test"] for subset in EIGHT}),
        (None, ("yor-eng",), {"yor-eng": ["test"]}),
        (None, ("hau-eng", "yor-eng"), {"hau-eng": ["dev"]}),
        (("dev", "test"), ("hau-eng", "swh-eng"), {"hau-eng": ["dev", "test"], "swh-eng": ["test"]}),
    ],
)
def test_splits_that_a_language_does_not_have(files: Files, splits, subsets, expected):
    """Guards against a task that stops, or that cannot be run without the test files, where a language has no dev."""
    assert {subset: list(parts) for subset, parts in load(*subsets, splits=splits).items()} == expected


def test_the_order_of_the_filters_does_not_matter(files: Files):
    """Guards against languages that are lost where the split is chosen last, as `mteb run` does without task names."""
    late = AfriQARetrieval().filter_languages(["swa", "hau"]).filter_eval_splits(["test"])
    early = AfriQARetrieval().filter_eval_splits(["test"]).filter_languages(["swa", "hau"])
    assert late.hf_subsets == early.hf_subsets == ["hau-eng", "swh-eng"]


def test_left_out_languages_are_named(files: Files, caplog: pytest.LogCaptureFixture):
    """Guards against a chosen language that is missing from the scores without a word."""
    with caplog.at_level(logging.WARNING):
        load("hau-eng", "yor-eng")
        assert "left out yor-eng, of which there is no dev; --eval-splits test has all languages" in caplog.text
        caplog.clear()
        load("hau-eng")
        assert not caplog.text


@pytest.mark.parametrize(
    ("splits", "subsets", "message"),
    [
        (("dev",), ("yor-eng",), r"AfriQA has no split dev of yor-eng; choose test with --eval-splits$"),
        (("dev",), ("swh-eng", "yor-eng"), r"no split dev of swh-eng, yor-eng; choose test"),
        (("train",), ("hau-eng",), r"^AfriQARetrieval: there is no split 'train'; choose dev or test with --eval-splits$"),
    ],
)  # fmt: skip
def test_a_split_that_is_not_there_is_refused(files: Files, splits, subsets, message: str):
    """Guards against a KeyError, or empty scores, where one line tells what to choose."""
    with refused(message):
        load(*subsets, splits=splits)


def test_files_are_read_once_for_all_languages_and_anew_the_next_time(files: Files, monkeypatch: pytest.MonkeyPatch):
    """Guards against files read for every language or for a split that nobody asked for, and changes missed within a process."""
    read = []

    def counted(path: Path):
        read.append(path)
        return read_json_lines(path)

    read_json_lines = lines.read_json_lines
    monkeypatch.setattr(lines, "read_json_lines", counted)
    task = AfriQARetrieval()
    task.load_data()
    assert sorted(read) == sorted(files.path(*published) for published in PUBLISHED if published[1] != "test")
    files.write("hau", "dev", row("0", "Sabo?", "New"))
    for split in (task.load_split("hau-eng", "dev"), load("hau-eng")["hau-eng"]["dev"]):
        assert texts(split["queries"]) == {"0": "Sabo?"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "Egypt", "id": "1", "question_lang": "Ina?"}', r"json:2: the object has no 'context'"),
        (b'{"context": "Egypt", "id": "1", "question": "Ina?"}', r"json:2: the object has no 'question_lang'"),
        (b'{"context": "Egypt", "question_lang": "Ina?"}', r"json:2: the object has no 'id'"),
        (b'{"context": "Egypt", "id": "0", "question_lang": "Ina?"}', r"json:2: document id 'hau-dev-0' appears twice, .*:1;"),
        (b'{"context": "passage of hau dev", "id": "0", "question_lang": "Ina?"}', r"json:2: query id '0' appears twice, .*:1;"),
    ],
)  # fmt: skip
def test_broken_lines_are_refused_with_their_place(files: Files, line: bytes, message: str):
    """Guards against bad data that pass, or a traceback without file and line."""
    path = files.path("hau", "dev")
    path.write_bytes(path.read_bytes() + b"\n" + line)
    with refused(message):
        load("hau-eng")


@pytest.mark.long
def test_mteb_scores_every_language_on_the_splits_that_it_has(files: Files, tiny_model, tmp_path: Path):
    """Guards against a KeyError in MTEB at a language without dev, and scores by query that are lost or not the mean's."""
    files.write("hau", "dev", row("0", "Ina?", "Egypt"), row("1", "Wane?", "Libya"))
    task = mteb.get_task("AfriQARetrieval", languages=["hau", "yor"], eval_splits=["dev", "test"])
    mteb.evaluate(tiny_model(), task, cache=mteb.ResultCache(tmp_path), show_progress_bar=False)
    (file,) = tmp_path.rglob("AfriQARetrieval.json")
    written = mteb.TaskResult.from_disk(file).scores
    scores = {(split, each["hf_subset"]): each for split, entries in written.items() for each in entries}
    assert list(scores) == [("dev", "hau-eng"), ("test", "hau-eng"), ("test", "yor-eng")]
    assert scores["dev", "hau-eng"]["per_query"]["ndcg_at_10"].keys() == {"0", "1"}
    assert scores["test", "yor-eng"]["languages"] == ["yor-Latn", "eng-Latn"]
    for each in scores.values():
        for name in ("ndcg_at_10", "map_at_100"):
            assert fmean(each["per_query"][name].values()) == pytest.approx(each[name], abs=1e-5)


def records(code: str, part: str) -> list[dict]:
    path = REAL / code / f"gold_span_passages.afriqa.{code}.en.{part}.json"
    return [json.loads(line) for line in path.read_bytes().decode().split("\n") if line]


@pytest.mark.long
@with_real_data
def test_real_files_against_an_independent_count():
    """Guards against passages and questions lost or doubled, judgements on another passage, and languages mixed up."""
    passages = {
        record["context"].strip()
        for code, part in PUBLISHED
        if part != "test"
        for record in records(code, part)
        if record["context"] is not None
    }
    dataset = load()
    assert list(dataset) == SIX
    counts = {}
    for subset, splits in dataset.items():
        code = subset[:3]
        pairs = defaultdict(set)
        asked = set()
        for part in ("train", "dev"):
            for record in records(code, part):
                if record["context"] is not None:
                    pairs[record["question_lang"].strip()].add(record["context"].strip())
                    asked |= {record["question_lang"].strip()} if part == "dev" else set()
        split = splits["dev"]
        corpus, queries, relevant = texts(split["corpus"]), texts(split["queries"]), split["relevant_docs"]
        assert len(corpus) == len(split["corpus"]) == len(passages)
        assert len(queries) == len(split["queries"]) == len(asked)
        assert set(corpus.values()) == passages
        assert set(queries.values()) == asked
        assert queries.keys() == relevant.keys()
        for key, text in queries.items():
            assert {corpus[document] for document in relevant[key]} == pairs[text]
        assert all(text.strip() for text in [*corpus.values(), *queries.values()])
        counts[code] = (len(queries), sum(map(len, relevant.values())))
    assert len(passages) == 3110
    assert counts == {
        "bem": (235, 235),
        "hau": (222, 222),
        "ibo": (307, 307),
        "kin": (230, 230),
        "twi": (344, 346),
        "zul": (240, 240),
    }
