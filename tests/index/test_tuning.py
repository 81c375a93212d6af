"""Tuning: recall by a plain count, and parameters of little work that reach it."""

import numpy as np
import pytest

from optical_mteb.index.documents import as_batch
from optical_mteb.index.manifest import Tuning
from optical_mteb.index.shards import ShardKey, ShardStore
from optical_mteb.index.spec import IndexSpec
from optical_mteb.index.tuning import exact_scores, recall, tune, work


@pytest.fixture
def store(tmp_path, collection):
    """The collection as shards."""
    store = ShardStore(tmp_path / "shards", ShardKey(fingerprint="f", count=2000, shard_size=300, texts=False))
    for number in range(len(store)):
        start, stop = store.bounds(number)
        store.write(number, collection.vectors[start:stop], as_batch(collection.ids[start:stop], [], [], store.schema))
    return store


def test_exact_scores_over_all_shards(store, collection):
    """Pins the best of one shard alone."""
    expected = -np.sort(-(collection.queries @ collection.vectors.T), axis=1)
    for depth in (1, 10, 500):
        assert exact_scores(store, collection.queries, depth) == pytest.approx(expected[:, :depth], abs=1e-5)


def test_recall_is_the_share_of_the_best_that_was_found(store, collection, monkeypatch):
    """Pins ranks that are compared one by one, empty ranks that count, and queries of another part."""
    monkeypatch.setattr("optical_mteb.index.tuning.COMPARED_AT_ONCE", 7)
    best = collection.best(12)
    scores = exact_scores(store, collection.queries, 10)
    assert recall(store, collection.queries, best[:, :10], scores) == 1
    assert recall(store, collection.queries, best[:, 9::-1], scores) == 1
    assert recall(store, collection.queries, best[:, 2:12], scores) == pytest.approx(0.8, abs=0.002)
    gone = best[:, :10].copy()
    gone[:, 7:] = -1
    assert recall(store, collection.queries, gone, scores) == pytest.approx(0.7)
    gone[1::2] = -1
    assert recall(store, collection.queries, gone, scores) == pytest.approx(0.35)


def test_a_document_as_good_as_the_last_is_as_good(tmp_path):
    """Pins a recall below 1 where copies of a document take each other's place."""
    store = ShardStore(tmp_path / "shards", ShardKey(fingerprint="f", count=4, shard_size=4, texts=False))
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    store.write(0, vectors, as_batch("abcd", [], [], store.schema))
    query = np.array([[1, 0]], np.float32)
    scores = exact_scores(store, query, 2)
    assert recall(store, query, np.array([[2, 1]]), scores) == 1
    assert recall(store, query, np.array([[2, 3]]), scores) == 0.5


class Stub:
    """A searcher whose recall follows from its parameters, and which counts what it is asked."""

    def __init__(self, collection, found):
        self.best, self.found, self.asked = collection.best(2000), found, []
        self.count = self.live = 2000

    def search(self, queries, k, tuning):
        self.asked.append(tuning)
        right = round(self.found(tuning) * k)
        positions = np.concatenate([self.best[:, :right], self.best[:, 2000 - (k - right) :]], axis=1)
        return None, positions


def tuned(store, collection, spec, found, target=0.9, depth=100):
    searcher = Stub(collection, found)
    tuning = tune(
        searcher, IndexSpec.parse(spec), store, collection.queries, target=target, depth=depth, sample="queries"
    )
    return tuning, searcher.asked


def test_the_least_effort_that_reaches_the_target(store, collection):
    """Pins twice the work that would do: powers of two alone."""
    tuning, asked = tuned(store, collection, "ivf1024", lambda tuning: min(0.2 + tuning.nprobe / 125, 1))
    # 87 lists find 89.6 of 100, rounded; an eighth more is near enough.
    assert 87 <= tuning.nprobe <= 98
    assert (tuning.target, tuning.depth, tuning.queries, tuning.sample) == (0.9, 100, 40, "queries")
    assert len(asked) < 15
    tuning, _ = tuned(store, collection, "hnsw32", lambda tuning: min(0.2 + tuning.ef_search / 1250, 1))
    assert (tuning.nprobe, tuning.candidates) == (None, None)
    assert 870 <= tuning.ef_search <= 979


def test_a_target_out_of_reach_takes_what_gains_nothing_more(store, collection):
    """Pins all lists, or a search without end, for a recall that the codes cannot have."""
    tuning, asked = tuned(store, collection, "ivf1024,pq8", lambda tuning: min(tuning.nprobe / 10, 0.5))
    assert (tuning.recall, tuning.nprobe) == (0.5, 8)
    assert max(each.nprobe for each in asked) <= 32


def test_rescoring_more_is_weighed_against_looking_further(store, collection):
    """Pins a search for the lists with one number of candidates alone, and more candidates than are needed."""

    def found(tuning):
        return min(tuning.nprobe / 8, 1) * min(tuning.candidates / 400, 1)

    tuning, _ = tuned(store, collection, "ivf64,pq8+refine", found, target=0.99)
    assert (tuning.candidates, tuning.nprobe, tuning.recall) == (400, 8, 1)


def test_nothing_is_tuned_where_all_is_compared(store, collection):
    """Pins parameters of an exact search."""
    tuning, asked = tuned(store, collection, "flat", lambda tuning: 1)
    assert tuning == Tuning(target=0.9, recall=1, depth=100, queries=40, sample="queries")
    assert len(asked) == 1


def test_work_grows_with_every_parameter():
    """Pins parameters that are preferred although they read more."""
    ivf, graph = IndexSpec.parse("ivf64,pq8+refine"), IndexSpec.parse("hnsw32")
    start = Tuning(target=0.9, depth=10, nprobe=4, ef_search=40, candidates=20)
    cost = {spec: work(spec, start, 32, 2000) for spec in (ivf, graph)}
    # 4 of 64 lists of 2,000 codes of 8 bytes, and 20 vectors of 64 bytes, anywhere.
    assert cost[ivf] == 4 / 64 * 2000 * 8 + 4 * 64 * 20
    for spec, change in ((ivf, "nprobe"), (ivf, "candidates"), (graph, "ef_search")):
        more = start.model_copy(update={change: 2 * getattr(start, change)})
        assert work(spec, more, 32, 2000) > cost[spec]
