"""Tuning: recall by a plain count, and parameters of little work that reach it."""

import numpy as np
import pytest

from optical_mteb.index.manifest import Tuning
from optical_mteb.index.rows import Rows
from optical_mteb.index.searcher import Searcher
from optical_mteb.index.spec import IndexSpec
from optical_mteb.index.tuning import best_documents, recall, tune
from tests.index.conftest import write_shards


@pytest.fixture
def store(tmp_path):
    """Writes vectors as shards."""
    return lambda vectors: write_shards(tmp_path / "shards", vectors, 300)


def test_the_best_of_all_shards(store, collection):
    """Guards against the best of one shard alone, and against zeros that beat negative scores."""
    vectors = collection.vectors.copy()
    vectors[::3] = 0
    kept = np.flatnonzero(vectors.any(axis=1))
    for depth in (1, 10, 500):
        found = best_documents(store(vectors), Rows.single(collection.queries), depth)
        expected = collection.best(depth, among=kept)
        assert [set(row) - set(own) for row, own in zip(expected, found, strict=True)] == [set()] * 40


def test_recall_is_the_share_of_the_best_that_was_found(store, collection):
    """Guards against ranks that are compared one by one, empty ranks that count, and candidates that are not."""
    best = collection.best(30)
    good = best_documents(store(collection.vectors), Rows.single(collection.queries), 10)
    assert recall(best[:, :10], good, 10)[-1] == 1
    assert recall(best[:, 9::-1], good, 10) == pytest.approx(np.arange(1, 11) / 10)
    assert recall(best[:, 2:12], good, 10)[-1] == pytest.approx(0.8, abs=0.002)
    # The first 12 candidates have 6 of the best, all 20 have them all.
    mixed = np.concatenate([best[:, 20:26], best[:, :6], best[:, 26:30], best[:, 6:10]], axis=1)
    assert recall(mixed, good, 10)[[11, 19]] == pytest.approx([0.6, 1.0])
    gone = best[:, :10].copy()
    gone[:, 7:] = -1
    gone[1::2] = -1
    assert recall(gone, good, 10)[-1] == pytest.approx(0.35)


def test_a_document_as_good_as_the_last_is_as_good(store):
    """Guards against a recall below 1 where copies of a document take each other's place."""
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    good = best_documents(store(vectors), Rows.single(np.array([[1, 0]], np.float32)), 2)
    assert recall(np.array([[2, 1]]), good, 2)[-1] == 1
    assert recall(np.array([[2, 3]]), good, 2)[-1] == 0.5


class Stub(Searcher):
    """A searcher whose recall follows from its parameters, and which counts what it is asked."""

    def __init__(self, spec, collection, share):
        self.spec, self.best, self.share, self.asked = IndexSpec.parse(spec), collection.best(2000), share, []
        self.count = self.live = 2000
        self._index, self._rows = type("Index", (), {"d": 32}), Rows.single(collection.vectors)

    def candidates(self, queries, number, tuning, *, needed):
        self.asked.append(tuning)
        right = round(self.share(tuning) * 100)
        wrong = self.best[:, 300:2000]
        # With every right one, as many wrong ones are found.
        mixed = np.stack([self.best[:, :right], wrong[:, :right]], axis=2).reshape(40, -1) if self.spec.refine else None
        first = self.best[:, :right] if mixed is None else mixed
        return np.concatenate([first, wrong[:, right:]], axis=1)[:, :number]

    def search(self, queries, k, tuning):
        found = self.candidates(queries, tuning.kept(k), tuning, needed=k)
        # Scored again, the right ones come first.
        rows = [
            sorted(row, key=lambda place, own=own: place not in own)
            for row, own in zip(found, self.best[:, :100], strict=True)
        ]
        return None, np.array(rows)[:, :k]


def tuned(store, collection, spec, share, target=0.9):
    searcher = Stub(spec, collection, share)
    start = Tuning(target=target, depth=100, queries=40, sample="queries")
    return tune(searcher, store(collection.vectors), Rows.single(collection.queries), start), searcher.asked


def test_the_least_effort_that_reaches_the_target(store, collection):
    """Guards against twice the work that would do: powers of two alone."""
    tuning, asked = tuned(store, collection, "ivf1024", lambda tuning: min(0.2 + tuning.nprobe / 125, 1))
    # 87 lists find 89.6 of 100, rounded; an eighth more is near enough.
    assert 87 <= tuning.nprobe <= 98
    assert (tuning.target, tuning.depth, tuning.queries, tuning.sample) == (0.9, 100, 40, "queries")
    assert len(asked) < 15
    tuning, _ = tuned(store, collection, "hnsw32", lambda tuning: min(0.2 + tuning.ef_search / 1250, 1))
    assert (tuning.nprobe, tuning.candidates) == (None, None)
    assert 870 <= tuning.ef_search <= 979


def test_a_target_out_of_reach_takes_what_gains_nothing_more(store, collection):
    """Guards against all lists, or a search without end, for a recall that the codes cannot have."""
    tuning, asked = tuned(store, collection, "ivf1024,pq8", lambda tuning: min(tuning.nprobe / 10, 0.5))
    assert (tuning.recall, tuning.nprobe) == (0.5, 8)
    assert max(each.nprobe for each in asked) <= 32


def test_no_more_is_scored_again_than_the_recall_needs(store, collection):
    """Guards against a search for each number of candidates, and against more candidates than are needed."""
    tuning, asked = tuned(store, collection, "ivf64,pq8+refine", lambda tuning: min(tuning.nprobe / 8, 1), target=0.99)
    # 99 right ones are among the first 197, and an eighth is to spare.
    assert (tuning.candidates, tuning.recall) == (197 + 197 // 8, 1)
    assert 8 <= tuning.nprobe <= 9
    assert len(asked) < 10


def test_work_grows_with_every_parameter(collection):
    """Guards against parameters that are preferred although they read more."""
    start = Tuning(target=0.9, depth=10, nprobe=4, ef_search=40, candidates=20)
    ivf, graph = (Stub(spec, collection, None) for spec in ("ivf64,pq8+refine", "hnsw32+refine"))
    # 4 of 64 lists of 2,000 codes of 8 bytes, and 20 vectors of 64 bytes, anywhere.
    assert ivf.work(start) == 4 / 64 * 2000 * 8 + 4 * 64 * 20
    for searcher, change in ((ivf, "nprobe"), (ivf, "candidates"), (graph, "ef_search")):
        assert searcher.work(start.model_copy(update={change: 2 * getattr(start, change)})) > searcher.work(start)
