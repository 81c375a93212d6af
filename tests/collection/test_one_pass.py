"""Subsets that share their documents: what a model reads, and scores beside MTEB's own subset-by-subset path."""

import json
from collections import Counter
from importlib.util import find_spec

import mteb
import pytest
import torch
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.models.model_meta import ModelMeta
from mteb.models.search_wrappers import SearchEncoderWrapper
from mteb.models.sentence_transformer_wrapper import MultiVectorWrapper, SentenceTransformerEncoderWrapper
from mteb.timing import TimingStack
from torch.nn.functional import normalize

from optical_mteb.bases import as_late_interaction
from optical_mteb.collection import Entry, one_pass
from optical_mteb.collection.split import retrieval_split
from optical_mteb.collection.task import CollectionRetrieval
from optical_mteb.index.assembly import BuildSettings
from optical_mteb.index.search_model import indexed
from optical_mteb.tasks import CLDRNameRetrieval
from tests.conftest import build_tiny_model

DOCUMENTS = [f"{'quick brown fox jumps over lazy dogs'[number % 30 :]} {number * 7}" for number in range(60)]
SUBSETS = {
    "swh-eng": ["swh-Latn", "eng-Latn"],
    "eng-swh": ["eng-Latn", "swh-Latn"],
    "som-eng": ["som-Latn", "eng-Latn"],
    "eng-eng": ["eng-Latn"],
}


class SharedRetrieval(CollectionRetrieval):
    """Three subsets with the same documents, one with others; the ids of queries are the same in all."""

    metadata = CLDRNameRetrieval.metadata.model_copy(update={"name": "SharedRetrieval", "eval_langs": SUBSETS})
    pre_ranked = False

    def load_split(self, subset, split):
        number = list(SUBSETS).index(subset)
        texts = DOCUMENTS if subset.endswith("-eng") else DOCUMENTS[::-2]
        documents = [Entry(f"d{row}", text) for row, text in enumerate(texts)]
        queries = [Entry(f"q{row}", texts[row][number + 1 :]) for row in range(8 + number)]
        data = retrieval_split(subset, documents, queries, {query.id: {f"d{query.id[1:]}": 1} for query in queries})
        if self.pre_ranked:
            data["top_ranked"] = {query.id: [f"d{row}" for row in range(12)] for query in queries}
        return data


class PreRankedRetrieval(SharedRetrieval):
    """The same for models that rank a few documents of each query anew."""

    pre_ranked = True


class PairScorer:
    """A cross-encoder that counts the letters that a query and a document have in common."""

    mteb_model_meta = ModelMeta.create_empty(overwrites={"name": "tests/pairs", "revision": "1"})

    def predict(self, inputs1, inputs2, **_):
        pairs = zip(inputs1, inputs2, strict=True)
        return [len(set(q) & set(d)) / len(d) for a, b in pairs for q, d in zip(a["text"], b["text"], strict=True)]


class Searcher:
    """A model with a search of its own, which forgets its documents after one search."""

    mteb_model_meta = ModelMeta.create_empty(overwrites={"name": "tests/searcher", "revision": "1"})

    def index(self, corpus, *, hf_subset, **_):
        seen["documents"] += len(corpus)
        self.documents = {row["id"]: set(row["text"]) for row in corpus}

    def search(self, queries, *, top_k, top_ranked=None, **_):
        seen["queries"] += len(queries)
        documents, self.documents = self.documents, None
        return {row["id"]: {key: len(set(row["text"]) & had) for key, had in documents.items()} for row in queries}


seen = Counter()
MODELS = {
    "dense": lambda: SentenceTransformerEncoderWrapper(build_tiny_model()),
    "late interaction": lambda: MultiVectorWrapper(as_late_interaction(build_tiny_model())),
    "own search": Searcher,
    "wrapped": lambda: SearchEncoderWrapper(SentenceTransformerEncoderWrapper(build_tiny_model())),
    "index": lambda: indexed(build_tiny_model(), BuildSettings(spec="flat")),
    "bm25": lambda: mteb.get_model("mteb/baseline-bm25s"),
    "cross-encoder": PairScorer,
}
READ = {"dense": 90, "late interaction": 90, "own search": 150, "wrapped": 150, "index": 90}
"""Documents that are read where MTEB reads 210; one language alone is searched by itself, as BM25 reads it its own way."""


@pytest.fixture(autouse=True)
def _counted(monkeypatch):
    """Counts documents that a sentence-transformers model encodes."""
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    seen.clear()
    for kind in (SentenceTransformer, MultiVectorEncoder):

        def encode_document(self, inputs, encode=kind.encode_document, **kwargs):
            seen["documents"] += len(inputs)
            return encode(self, inputs, **kwargs)

        monkeypatch.setattr(kind, "encode_document", encode_document)


def stock(task, model, folder):
    """Scores and predictions by MTEB's own path."""
    task.load_data()
    timer = TimingStack()
    scores = AbsTaskRetrieval.evaluate(
        task, model, "test", encode_kwargs={"batch_size": 8}, prediction_folder=folder, timer=timer
    )
    return scores, json.loads((folder / task.prediction_file_name).read_text()), timer


def run(task, model, folder, cache=None):
    """Scores and predictions as `mteb run` has them."""
    [result] = mteb.evaluate(
        model,
        task,
        cache=cache,
        co2_tracker=False,
        show_progress_bar=False,
        encode_kwargs={"batch_size": 8},
        prediction_folder=folder,
    ).task_results
    scores = {row["hf_subset"]: row for row in result.scores["test"]}
    return scores, json.loads((folder / task.prediction_file_name).read_text()), result


@pytest.mark.long
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("task", [SharedRetrieval, PreRankedRetrieval])
def test_it_gives_what_subset_by_subset_gives(kind, task, tmp_path):
    """Guards against scores, predictions or records other than MTEB's own, and against documents read again."""
    if kind == "bm25" and not find_spec("bm25s"):
        pytest.skip("bm25s is not installed")
    if kind == "cross-encoder" and task is SharedRetrieval:
        pytest.skip("MTEB's cross-encoders rank what another model found")
    model = MODELS[kind]()
    expected, expected_predictions, timer = stock(task(), model, tmp_path / "stock")
    if kind != "index":  # whose store has what the first run read
        seen.clear()
    scores, predictions, result = run(task(), model, tmp_path / "shared")
    exact = kind not in {"index", "wrapped"}
    rounding = {"late interaction": 1e-5, "index": 1e-4, "wrapped": 1e-4}.get(kind, 0)
    for subset in SUBSETS:
        assert scores[subset].keys() >= expected[subset].keys()
        for name, value in expected[subset].items():
            if name != "per_query" and value is not None:
                assert scores[subset][name] == pytest.approx(value, abs=rounding, nan_ok=True), name
        for metric, values in expected[subset]["per_query"].items():
            assert scores[subset]["per_query"][metric] == pytest.approx(values, abs=rounding)
        for query, found in expected_predictions[subset]["test"].items():
            assert predictions[subset]["test"][query] == pytest.approx(found, abs=rounding)
    if kind in READ and task is SharedRetrieval:
        assert seen["documents"] == READ[kind]
    phases = {(phase["name"], phase["subset"]) for phase in result.evaluation_phases}
    if exact:
        assert {(p["name"], p["subset"]) for p in timer.phases if p["name"] != "Data loading"} <= phases


def test_maxsim_is_that_of_mteb(monkeypatch):
    """Guards against other scores than those of the wrapper that MTEB loads, wherever a block of documents ends."""
    of = torch.Generator().manual_seed(13)
    queries, documents = (
        [normalize(torch.randn(rows, 8, generator=of), dim=1) for rows in lengths]
        for lengths in ((3, 1, 5), (2, 7, 1, 1, 40, 6))
    )
    wrapper = MultiVectorWrapper(as_late_interaction(build_tiny_model()))
    expected = wrapper.similarity(queries, documents)
    assert expected.min() < 0
    for products in (1, 9 * 9, 1 << 22):
        monkeypatch.setattr(one_pass, "PRODUCTS", products)
        assert one_pass.maxsim(queries, documents).numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    assert one_pass.maxsim(queries, [*documents, torch.zeros(0, 8)]) is None
    assert one_pass.maxsim(queries[0], documents) is None


def test_only_missing_subsets_are_run(tmp_path, monkeypatch):
    """Guards against results that a resumed run replaces, and against a search that is too large for the memory."""
    cache = mteb.ResultCache(tmp_path / "results")
    whole, _, _ = run(SharedRetrieval(), Searcher(), tmp_path / "whole")
    half = SharedRetrieval()
    half.hf_subsets = ["eng-swh", "som-eng"]
    run(half, Searcher(), tmp_path / "half", cache)
    seen.clear()
    monkeypatch.setattr(one_pass, "HITS", 0)
    scores, predictions, _ = run(SharedRetrieval(), Searcher(), tmp_path / "half", cache)
    assert seen == {"documents": 120, "queries": 8 + 11}
    assert {subset: row["main_score"] for subset, row in scores.items()} == pytest.approx(
        {subset: row["main_score"] for subset, row in whole.items()}, abs=1e-6
    )
    assert predictions.keys() - {"mteb_model_meta"} == SUBSETS.keys()


@pytest.mark.long
def test_vectors_are_forgotten(monkeypatch):
    """Guards against vectors of other weights or settings in a task that is evaluated twice, and kept for nothing."""
    task, model = SharedRetrieval(), MODELS["dense"]()
    task.load_data()
    for _ in range(2):
        seen.clear()
        task.evaluate(model, "test", encode_kwargs={"batch_size": 8})
        assert seen["documents"] == 90
        assert task._pass is None
    for subsets, read in ((["swh-eng"], 60), (["swh-eng"], 60), (["som-eng"], 0), (["eng-swh"], 30), (["eng-eng"], 0)):
        seen.clear()
        task.evaluate(model, "test", subsets, encode_kwargs={"batch_size": 8})
        assert seen["documents"] == read
    assert task._pass is None
    task.evaluate(model, "test", ["swh-eng"], encode_kwargs={"batch_size": 8})
    seen.clear()
    task.evaluate(model, "test", ["som-eng"], encode_kwargs={"batch_size": 4})
    assert seen["documents"] == 60
    monkeypatch.setattr(one_pass, "LARGEST", 50)
    seen.clear()
    task.evaluate(model, "test", encode_kwargs={"batch_size": 8})
    assert seen["documents"] == 210


class FromEnglishRetrieval(SharedRetrieval):
    """The same English queries for documents in two languages."""

    def load_split(self, subset, split):
        texts = DOCUMENTS[:: -2 if subset == "eng-swh" else -3]
        documents = [Entry(f"d{row}", text) for row, text in enumerate(texts)]
        queries = [Entry(f"q{row}", text[2:]) for row, text in enumerate(DOCUMENTS[:9])]
        return retrieval_split(subset, documents, queries, {query.id: {f"d{query.id[1:]}": 1} for query in queries})


def test_queries_that_subsets_share_are_read_once(tmp_path, monkeypatch):
    """Guards against English queries that are encoded anew for every language of the documents."""
    from sentence_transformers import SentenceTransformer

    def encode_query(self, inputs, encode=SentenceTransformer.encode_query, **kwargs):
        seen["queries"] += len(inputs)
        return encode(self, inputs, **kwargs)

    monkeypatch.setattr(SentenceTransformer, "encode_query", encode_query)
    monkeypatch.setattr(
        FromEnglishRetrieval,
        "metadata",
        SharedRetrieval.metadata.model_copy(
            update={"eval_langs": {name: ["eng-Latn", f"{name[4:]}-Latn"] for name in ("eng-swh", "eng-som")}}
        ),
    )
    model = MODELS["dense"]()
    expected, _, _ = stock(FromEnglishRetrieval(), model, tmp_path / "stock")
    assert seen == {"documents": 50, "queries": 18}
    seen.clear()
    scores, _, _ = run(FromEnglishRetrieval(), model, tmp_path / "shared")
    assert seen == {"documents": 50, "queries": 9}
    assert {name: row["ndcg_at_10"] for name, row in scores.items()} == {
        name: row["ndcg_at_10"] for name, row in expected.items()
    }
