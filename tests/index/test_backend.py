"""An index through MTEB: exact scores where the search is exact, documents encoded once, and scores kept apart."""

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from functools import cache

import mteb
import numpy as np
import pytest
import torch
from filelock import FileLock
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.models.search_wrappers import SearchEncoderWrapper
from mteb.models.sentence_transformer_wrapper import (
    MultiVectorWrapper,
    SentenceTransformerEncoderWrapper,
    SparseEncoderWrapper,
)
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

from optical_mteb.bases import as_late_interaction
from optical_mteb.errors import InputError
from optical_mteb.index import stored_corpus
from optical_mteb.index.assembly import BuildSettings
from optical_mteb.index.backend import FaissBackend
from optical_mteb.index.rows import unit
from optical_mteb.index.search_model import IndexedModel, indexed
from optical_mteb.registry import register, search_by_index
from optical_mteb.scores.results import find_results
from optical_mteb.storage import indexes_folder
from tests.conftest import build_tiny_model
from tests.index.conftest import flip, sentence
from tests.index.processes import hold_stored, in_process, killed_at

pytestmark = pytest.mark.long

DOCUMENTS, QUERIES, SHARD = 300, 40, 128
DOCUMENT_TEXTS = {f"d{number}": sentence(number) for number in range(DOCUMENTS)}
QUERY_TEXTS = {f"q{number}": " ".join(sentence(number).split()[::-1]) for number in range(QUERIES)}


class TinyRetrieval(AbsTaskRetrieval):
    """Queries that are documents with their words in another order; scores by query are kept, as our tasks do."""

    metadata = mteb.get_task("NFCorpus").metadata.model_copy(update={"name": "TinyRetrieval"})
    texts = DOCUMENT_TEXTS
    top_ranked = None

    def load_data(self, **_):
        from datasets import Dataset

        data = {
            "corpus": Dataset.from_dict({"id": list(self.texts), "text": list(self.texts.values())}),
            "queries": Dataset.from_dict({"id": list(QUERY_TEXTS), "text": list(QUERY_TEXTS.values())}),
            "relevant_docs": {query: {f"d{query[1:]}": 1} for query in QUERY_TEXTS},
            "top_ranked": self.top_ranked,
        }
        self.dataset = {"default": {"test": data}}
        self.data_loaded = True


@cache
def tiny(seed):
    """The tiny encoder of a seed."""
    return build_tiny_model(seed=seed)


def put_model(monkeypatch, name, revision, loader, **more):
    """Register a model for one test."""
    from mteb.models.model_implementations import MODEL_REGISTRY
    from mteb.models.model_meta import ModelMeta

    known = {"name": name, "revision": revision, "loader": loader} | more
    monkeypatch.setitem(MODEL_REGISTRY, name, ModelMeta.create_empty(overwrites=known))


def load_tiny(name, revision=None, device=None, **_):
    """The tiny encoder of a seed in mteb's wrapper."""
    return SentenceTransformerEncoderWrapper(tiny(int(revision)), device=device)


def load_late(name, device=None, **_):
    """The tiny encoder by late interaction in mteb's wrapper."""
    return MultiVectorWrapper(as_late_interaction(build_tiny_model()), device=device)


@pytest.fixture(autouse=True)
def encoded(monkeypatch):
    """How many documents each call encodes; with three registered models, two seeds and late interaction."""
    put_model(monkeypatch, "tests/tiny", "0", load_tiny)
    put_model(monkeypatch, "tests/other", "1", load_tiny)
    put_model(monkeypatch, "tests/late", "0", load_late, model_type=["late-interaction"])
    numbers = []
    for kind in (SentenceTransformer, MultiVectorEncoder):

        def counted(model, texts, encode=kind.encode_document, **more):
            numbers.append(len(texts))
            return encode(model, texts, **more)

        monkeypatch.setattr(kind, "encode_document", counted)
    return numbers


@pytest.fixture
def stock(monkeypatch):
    """The functions of mteb are its own again when the test ends."""
    for name in ("get_model", "evaluate"):
        monkeypatch.setattr(mteb, name, getattr(mteb, name))


def evaluate(spec=None, *, model="tests/tiny", task=None, cache=None, recall=0.99, **kwargs):
    """The scores of a model on the tiny task; by an index where a spec is given."""
    meta = mteb.get_model_meta(model)
    settings = BuildSettings(spec=spec, recall=recall, shard_size=SHARD) if spec else None
    searched = indexed(meta, settings) if settings else meta
    return scores_of(searched, task, cache=cache, encode_kwargs=kwargs)


def scores_of(model, task=None, *, cache=None, **more):
    """What `mteb.evaluate` finds of a model, or its metadata, on the tiny task."""
    result = mteb.evaluate(
        model, task or TinyRetrieval(), cache=cache, co2_tracker=False, show_progress_bar=False, **more
    )
    return result.task_results[0].scores["test"][0]


def numbers(scores):
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def places():
    """Folders of corpora in the store."""
    return sorted(indexes_folder().glob("*/*"))


def inodes(folder):
    """What tells a file that was written again from one that was left alone."""
    return {path.relative_to(folder): path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def test_flat_has_the_exact_scores_and_a_graph_nearly():
    """Guards against vectors of half precision, prompts that are not the task's, and positions of other documents."""
    exact = numbers(evaluate())
    assert 0.3 < exact["ndcg_at_10"] < 1
    assert numbers(evaluate("flat")) == pytest.approx(exact, abs=1e-6, nan_ok=True)
    assert evaluate("hnsw32")["ndcg_at_10"] == pytest.approx(exact["ndcg_at_10"], abs=0.02)
    assert evaluate("ivf4,sq8+refine")["ndcg_at_10"] == pytest.approx(exact["ndcg_at_10"], abs=0.02)


def test_no_document_is_encoded_twice(encoded):
    """Guards against an index that is built for every run, and one that only the same spec and recall find again."""
    scores = evaluate("hnsw32")
    assert sum(encoded) == DOCUMENTS
    (place,) = places()
    before = inodes(place)
    assert numbers(evaluate("hnsw32")) == pytest.approx(numbers(scores), nan_ok=True)
    assert inodes(place) == before
    for spec, recall in (("hnsw32", 0.9), ("flat", 0.99), ("auto", 0.9), ("flat", 0.5)):
        evaluate(spec, recall=recall)
    assert sum(encoded) == DOCUMENTS
    names = sorted(path.name for path in place.iterdir() if path.is_dir())
    assert names == ["flat-1.0", "hnsw32-0.9", "hnsw32-0.99", "vectors"]


def test_late_interaction_goes_through_the_index_too(encoded):
    """Guards against other scores than MTEB's own MaxSim, and against documents that are encoded for every run."""
    exact = {task: numbers(evaluate(model="tests/late", task=task())) for task in (TinyRetrieval, RankedRetrieval)}
    assert 0.05 < exact[TinyRetrieval]["ndcg_at_10"] < 1
    encoded.clear()
    for task, scores in exact.items():
        found = numbers(evaluate("flat", model="tests/late", task=task()))
        assert found == pytest.approx(scores, abs=1e-6, nan_ok=True)
    found = evaluate("ivf4,sq8", model="tests/late")
    assert found["ndcg_at_10"] == pytest.approx(exact[TinyRetrieval]["ndcg_at_10"], abs=0.02)
    assert sum(encoded) == DOCUMENTS
    (place,) = places()
    assert {path.name for path in place.iterdir() if path.is_dir()} == {"flat-1.0", "ivf4,sq8+refine-0.99", "vectors"}


class ChangedRetrieval(TinyRetrieval):
    """The tiny task with another document in it."""

    texts = DOCUMENT_TEXTS | {"d7": "another text"}


class RenamedRetrieval(TinyRetrieval):
    """The same documents under the name of a task for which a model may have a prompt of its own."""

    metadata = TinyRetrieval.metadata.model_copy(update={"name": "SciFact"})


@pytest.mark.parametrize(
    ("changed", "encoded_again"),
    [
        ({"model": "tests/other"}, True),
        ({"task": ChangedRetrieval}, True),
        ({"task": RenamedRetrieval, "prompt": "title: "}, True),
        ({"truncate_dim": 16}, True),
        ({"task": RenamedRetrieval}, False),
        ({"batch_size": 8}, False),
    ],
    ids=["model", "text", "prompt", "encoding", "task", "batch size"],
)
def test_what_changes_a_vector_has_it_encoded_again(changed, encoded_again, monkeypatch, encoded):
    """Guards against vectors of another revision, text or prompt, and against encoding the same documents for each task."""
    changed = {key: value() if key == "task" else value for key, value in changed.items()}
    if "prompt" in changed:
        monkeypatch.setitem(tiny(0).prompts, "SciFact-document", changed.pop("prompt"))
    evaluate("flat")
    exact = numbers(evaluate(**changed))
    encoded.clear()
    assert numbers(evaluate("flat", **changed)) == pytest.approx(exact, abs=1e-6, nan_ok=True)
    assert sum(encoded) == encoded_again * DOCUMENTS
    assert len(places()) == 1 + encoded_again


def test_exact_and_approximate_scores_share_no_file(tmp_path, encoded):
    """Guards against a result of one that is taken for the other's, and settings that a comparison does not find."""
    cache = mteb.ResultCache(tmp_path)
    exact = evaluate(cache=cache)
    assert sum(encoded) == DOCUMENTS
    for spec, recall in (("hnsw32", 0.99), ("hnsw32", 0.5), ("flat", 0.99)):
        evaluate(spec, cache=cache, recall=recall)
    assert sum(encoded) == 2 * DOCUMENTS
    evaluate(cache=cache), evaluate("hnsw32", cache=cache)
    assert sum(encoded) == 2 * DOCUMENTS
    plain = tmp_path / "results" / "tests__tiny" / "0"
    folders = [plain, *(plain / "experiments").iterdir()]
    names = ["0", "index_flat", "index_hnsw32__recall_0.5", "index_hnsw32__recall_0.99"]
    assert sorted(path.name for path in folders) == names
    for folder in folders:
        found = json.loads((folder / "TinyRetrieval.json").read_text())["scores"]["test"][0]
        assert numbers(found)["ndcg_at_10"] == pytest.approx(exact["ndcg_at_10"], abs=0.05)
    assert find_results(str(plain / "experiments" / names[3]), tmp_path).settings == "index = hnsw32, recall = 0.99"


def test_a_model_given_by_its_metadata_is_kept_apart_too(stock, monkeypatch, tmp_path):
    """Guards against approximate scores in the exact ones' file, by OPTICAL_MTEB_INDEX: mteb looks there before it loads a model."""
    cache = mteb.ResultCache(tmp_path)
    exact = evaluate(cache=cache)
    monkeypatch.setenv("OPTICAL_MTEB_INDEX", "hnsw8")
    register()
    register()
    evaluate(cache=cache)
    plain = tmp_path / "results" / "tests__tiny" / "0"
    assert (plain / "experiments" / "index_hnsw8__recall_0.99" / "TinyRetrieval.json").is_file()
    assert len(places()) == 1
    monkeypatch.delenv("OPTICAL_MTEB_INDEX")
    kept = json.loads((plain / "TinyRetrieval.json").read_text())["scores"]["test"][0]
    assert numbers(kept)["ndcg_at_10"] == pytest.approx(exact["ndcg_at_10"])


def test_a_sentence_transformer_is_known_by_its_weights(stock):
    """Guards against a model from nowhere whose index is taken for that of other weights."""
    search_by_index("flat")
    for seed in (3, 4, 3):
        model = build_tiny_model(seed=seed)
        model.model_card_data.model_id = "tests/in-memory"
        scores_of(model)
    assert len(places()) == 2


def test_a_damaged_shard_is_encoded_again(caplog, encoded):
    """Guards against scores by damaged vectors, and all documents encoded again for one shard."""
    scores = numbers(evaluate("flat"))
    (place,) = places()
    flip(place / "vectors" / "000001" / "vectors.npy", -200)
    (place / "vectors" / "000002" / "manifest.json").unlink()
    with caplog.at_level(logging.WARNING, "mteb.optical_mteb"):
        assert numbers(evaluate("ivf4")).keys() == scores.keys()
    assert sum(encoded) == DOCUMENTS + (DOCUMENTS - SHARD)
    said = [record.message for record in caplog.records if record.name == "mteb.optical_mteb"]
    assert [line.partition("vectors/")[2] for line in said] == [
        "000001/vectors.npy: has changed since it was written; encodes its documents again"
    ]


@pytest.mark.parametrize("part", ["index.faiss", "documents.arrow", "manifest.json", "no documents.arrow", "removed"])
def test_a_damaged_index_is_built_again_from_the_vectors(part, caplog, monkeypatch, encoded):
    """Guards against scores by a damaged or edited index, large ones too, a traceback for it, and documents encoded again."""
    monkeypatch.setattr("optical_mteb.index.faiss_index.CHECKED_AT_OPENING", 0)
    scores = numbers(evaluate("flat"))
    (place,) = places()
    folder = place / "flat-1.0"
    if part == "removed":
        from optical_mteb.index.changes import remove_documents

        remove_documents(folder, ["d0", "d1"])
    elif part.startswith("no "):
        (folder / part[3:]).unlink()
    else:
        flip(folder / part, -200)
    with caplog.at_level(logging.WARNING, "mteb.optical_mteb"):
        assert numbers(evaluate("flat")) == pytest.approx(scores, nan_ok=True)
    assert sum(encoded) == DOCUMENTS
    (record,) = [record for record in caplog.records if record.name == "mteb.optical_mteb"]
    assert record.message.startswith(str(folder))
    assert record.message.endswith("; builds the index again from the vectors")
    assert "\n" not in record.message


def test_a_store_that_may_only_be_read_needs_no_lock(monkeypatch, encoded):
    """Guards against an evaluation that ends because the lock of another account's store cannot be taken."""
    evaluate("flat")
    encoded.clear()
    monkeypatch.setattr(stored_corpus.os, "access", lambda path, mode: False)
    monkeypatch.setattr(stored_corpus, "FileLock", None)
    evaluate("flat")
    assert encoded == []


def test_another_process_is_waited_for_but_not_one_that_was_killed(caplog, encoded):
    """Guards against two processes that write into one place, and a lock that outlives its process."""
    evaluate("flat")
    (place,) = places()
    assert in_process(killed_at, "stored_corpus:ShardStore", 1, hold_stored, place) == -9
    (place / "vectors" / "000001" / "manifest.json").unlink()
    held, meanwhile = threading.Event(), []

    def hold():
        with FileLock(place / ".lock"):
            held.set()
            time.sleep(0.7)
            meanwhile.append(sum(encoded))

    threading.Thread(target=hold).start()
    held.wait()
    with caplog.at_level(logging.WARNING, "mteb.optical_mteb"):
        evaluate("flat")
    assert [*meanwhile, sum(encoded)] == [DOCUMENTS, DOCUMENTS + SHARD]
    assert f"{place}: another process encodes or indexes these documents; waits for it" in caplog.messages


@pytest.mark.slow
def test_stock_command_in_another_process_encodes_nothing(tmp_path, own_home):
    """Guards against OPTICAL_MTEB_INDEX without effect on the stock command, and documents known again within one process only."""
    from optical_mteb.bases import base_revision
    from optical_mteb.students import student_path
    from tests.test_registry import sidecar_of

    folder = student_path("tiny-student")
    tiny(0).save_pretrained(str(folder), create_model_card=False)
    sidecar_of(base_revision(str(folder))).write(folder)
    register()
    (task,) = mteb.get_tasks(tasks=["CLDRNameRetrieval"], languages=["som"])
    task.load_data()
    about = {"task_metadata": task.metadata, "hf_split": "test", "hf_subset": "som-eng"}
    model = indexed(mteb.get_model("tiny-student", device="cpu"), BuildSettings("hnsw32"))
    model.index(task.dataset["som-eng"]["test"]["corpus"], encode_kwargs={"batch_size": 64}, **about)
    (place,) = places()
    before = inodes(place / "vectors")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "mteb", "run", "-m", "tiny-student", "-t", "CLDRNameRetrieval", "-l", "som"),
            *("--output-folder", str(tmp_path), "--no-co2-tracker"),
        ],
        env=os.environ | {"OPTICAL_MTEB_INDEX": "hnsw32"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert inodes(place / "vectors") == before
    assert places() == [place]
    assert (place / "hnsw32-0.99" / "manifest.json").is_file()
    (result,) = tmp_path.rglob("CLDRNameRetrieval.json")
    assert result.parent.name == "index_hnsw32__recall_0.99"


def unloadable(*_, **__):
    raise AssertionError("a model is loaded")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index", "hnsw"], "index spec 'hnsw': expected auto, or one like flat"),
        (["--index", ""], "index spec '': expected auto, or one like flat"),
        (["--recall", "0.9"], "--recall 0.9: is for searches by an index; name one"),
        (["--index", "hnsw32", "--recall", "1.5"], "recall 1.5: expected a share"),
    ],
)
def test_a_wrong_option_is_one_line_before_anything_is_loaded(command, monkeypatch, stock, arguments, message):
    """Guards against a spec that is found to be wrong once a model is there, and a recall that has no effect."""
    monkeypatch.setattr("mteb.models.model_meta.ModelMeta.load_model", unloadable)
    code, output, errors = command("run", *arguments, "-m", "tests/tiny", "-t", "CLDRNameRetrieval")
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"optical-mteb: error: {message}")


def test_a_wrong_spec_of_the_stock_command_is_found_before_anything_is_loaded(monkeypatch, stock):
    """Guards against a spec that is found to be wrong once a model is there."""
    monkeypatch.setattr("mteb.models.model_meta.ModelMeta.load_model", unloadable)
    search_by_index("hnsw")
    with pytest.raises(InputError, match="index spec"):
        mteb.get_model("tests/tiny")
    with pytest.raises(InputError, match="index spec"):
        scores_of(mteb.get_model_meta("tests/tiny"))


def test_the_command_keeps_its_own_options_to_itself(monkeypatch, stock):
    """Guards against options that mteb is handed, or does not get, and --index without effect."""
    from typer.testing import CliRunner

    from optical_mteb import cli

    handed = []

    def main():
        handed.append(sys.argv)
        scores_of(mteb.get_model_meta("tests/tiny"))

    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr("mteb.cli.main", main)
    monkeypatch.setenv("OPTICAL_MTEB_INDEX", "flat")
    monkeypatch.setattr(BuildSettings, "shard_size", SHARD)
    given = "run -m tests/tiny --recall 0.5 -t CLDRNameRetrieval NTREXRetrieval --index=hnsw8 -l som --batch-size 8"
    assert CliRunner().invoke(cli.app, given).exit_code == 0
    kept = "mteb run -m tests/tiny -t CLDRNameRetrieval NTREXRetrieval -l som --batch-size 8 --verbosity 1"
    assert [" ".join(words) for words in handed] == [kept]
    assert [path.name for path in places()[0].glob("hnsw*")] == ["hnsw8-0.5"]


def test_models_without_vectors_are_refused():
    """Guards against an exact search in the place of the index that was asked for, and a traceback."""
    sparse = object.__new__(SparseEncoderWrapper)
    sparse.mteb_model_meta = mteb.get_model_meta("tests/tiny").model_copy(update={"model_type": ["sparse"]})
    cross_encoder = mteb.get_model("mteb/baseline-random-cross-encoder")
    for model, found in ((cross_encoder, "cross-encoder"), (sparse, "sparse")):
        with pytest.raises(InputError) as caught:
            indexed(model, BuildSettings("flat"))
        line = rf"model .*: does not give one vector a text or a token \(found: {found}\).*"
        assert re.fullmatch(line, str(caught.value))


def test_a_model_that_compares_lengths_too_is_refused(monkeypatch):
    """Guards against scores by the angle for a model that is made for the dot product of vectors of several lengths."""

    def longer(model, *args, **kwargs):
        vectors = encode(model, *args, **kwargs)
        return vectors * np.arange(1, len(vectors) + 1, dtype=np.float32)[:, None]

    encode = SentenceTransformer.encode_document
    monkeypatch.setattr(SentenceTransformer, "encode_document", longer)
    exact = numbers(evaluate())
    assert numbers(evaluate("flat")) == pytest.approx(exact, abs=1e-6, nan_ok=True)
    monkeypatch.setattr(
        SentenceTransformerEncoderWrapper, "similarity", lambda self, a, b: torch.as_tensor(a) @ torch.as_tensor(b).T
    )
    with pytest.raises(InputError, match="compares vectors by more than the angle"):
        evaluate("flat", model="tests/other")
    monkeypatch.setattr(SentenceTransformer, "encode_document", encode)
    assert evaluate("flat", model="tests/other")["ndcg_at_10"] > 0


def test_too_few_documents_are_refused_before_they_are_encoded(encoded):
    """Guards against documents encoded for an index that cannot be built."""
    with pytest.raises(InputError, match="needs 4,096 documents at least, found 300; use flat or auto"):
        evaluate("ivf4096")
    assert encoded == []


PRE_RANKED = {query: [f"d{(int(query[1:]) + step) % DOCUMENTS}" for step in range(0, 60, 3)] for query in QUERY_TEXTS}


class RankedRetrieval(TinyRetrieval):
    """Only some documents are to be ranked for a query."""

    top_ranked = PRE_RANKED


@pytest.mark.parametrize("spec", ["flat", "ivf4,sq8"])
def test_pre_ranked_documents_are_compared_one_by_one(spec):
    """Guards against places among the pre-ranked documents that are taken for places in the corpus, and codes of them."""
    assert numbers(evaluate(spec, task=RankedRetrieval())) == pytest.approx(
        numbers(evaluate(task=RankedRetrieval())), abs=1e-6, nan_ok=True
    )


def test_mtebs_own_wrapper_takes_the_backend(collection):
    """Guards against documents of one part alone, scores worst first, and an index that is not found again."""
    backend = FaissBackend(BuildSettings("flat", shard_size=512))
    wrapper = SearchEncoderWrapper(mteb.get_model("tests/tiny"), index_backend=backend)
    cosines = unit(collection.queries, range(40)) @ unit(collection.vectors, range(2000)).T
    best = np.argsort(-cosines, axis=1)[:, :10]
    written = []
    for _ in range(2):
        backend.add_documents(collection.vectors[:900], collection.ids[:900])
        backend.add_documents(torch.from_numpy(collection.vectors[900:]), collection.ids[900:])
        scores, positions = backend.search(collection.queries * 3, 10, wrapper.similarity)
        np.testing.assert_array_equal(positions, best)
        np.testing.assert_allclose(scores, np.take_along_axis(cosines, best, axis=1), atol=1e-6)
        backend.clear()
        (place,) = places()
        written.append(inodes(place))
    assert written[0] == written[1]
    with pytest.raises(InputError, match="there is no document to search"):
        backend.search(collection.queries, 10, wrapper.similarity)
    wrapper.index_backend = FaissBackend(BuildSettings("hnsw32"))
    assert scores_of(wrapper)["ndcg_at_10"] == pytest.approx(evaluate()["ndcg_at_10"], abs=0.02)


def test_an_indexed_model_is_not_indexed_twice():
    """Guards against a wrapper around a wrapper."""
    model = indexed(mteb.get_model("tests/tiny"), BuildSettings("flat"))
    assert isinstance(model, IndexedModel)
    assert indexed(model, BuildSettings("hnsw32")) is model
