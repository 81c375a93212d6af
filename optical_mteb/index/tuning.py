"""Search parameters that reach a recall with little work, found on sample queries against exact search."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from optical_mteb.index.documents import Integers
from optical_mteb.index.manifest import Tuning
from optical_mteb.index.searcher import NOTHING, Searcher
from optical_mteb.index.shards import ShardStore, Vectors
from optical_mteb.index.spec import IndexSpec

REFINE_FACTORS = (1, 2, 4, 8, 16, 32)
"""Documents that are scored again, as multiples of those wanted."""
PLATEAU = 0.0005
"""Recall that doubling the work must gain while the target is not reached."""

TIE = 1e-5
"""Difference of scores that does not count: of two documents as good as each other, either may be found."""

COMPARED_AT_ONCE = 128
"""Queries whose documents are in memory together."""

SCATTERED = 4
"""Reading a vector from anywhere costs as much as so many in a row."""


def exact_scores(store: ShardStore, queries: Vectors, depth: int) -> NDArray[np.float32]:
    """Scores of the best documents by comparing with every vector, [n, depth], best first.

    One shard at a time is in memory.

    Args:
        store: The vectors.
        queries: [n, width].
        depth: Ranks; as many as there are documents with a vector at most.
    """
    best = np.full((len(queries), depth), -np.inf, np.float32)
    for number in range(len(store)):
        vectors = store.vectors(number).astype(np.float32)
        vectors = vectors[vectors.any(axis=1)]
        if not len(vectors):
            continue
        found, _ = faiss.knn(queries, vectors, min(depth, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)
        best = -np.sort(-np.concatenate([best, found], axis=1), axis=1)[:, :depth]
    return best


def recall(store: ShardStore, queries: Vectors, found: Integers, best: NDArray[np.float32]) -> float:
    """Share of the best documents that were found, mean over the queries.

    Args:
        store: The vectors.
        queries: [n, width].
        found: Positions, [n, depth].
        best: What `exact_scores` returned.
    """
    hits = np.zeros(found.shape, bool)
    for start in range(0, len(found), COMPARED_AT_ONCE):
        part = slice(start, start + COMPARED_AT_ONCE)
        rows = store.rows(np.maximum(found[part], 0).reshape(-1)).reshape(*found[part].shape, -1)
        scores = np.where(found[part] == NOTHING, -np.inf, np.einsum("ndw,nw->nd", rows, queries[part]))
        hits[part] = scores >= best[part, -1:] - TIE
    return float(hits.mean())


def tune(
    searcher: Searcher, spec: IndexSpec, store: ShardStore, queries: Vectors, *, target: float, depth: int, sample: str
) -> Tuning:
    """The parameters of least work whose recall on the sample is the target, or else is the highest.

    Args:
        searcher: The index, with all documents of the store.
        spec: Of the index.
        store: The vectors that it was built from.
        queries: Sample, [n, width].
        target: Recall to reach.
        depth: Ranks that the recall counts.
        sample: Where the queries came from, in words.
    """
    depth = min(depth, searcher.live)
    best = exact_scores(store, queries, depth)
    start = Tuning(target=target, depth=depth, queries=len(queries), sample=sample)

    def measured(tuning: Tuning) -> Tuning:
        _, found = searcher.search(queries, depth, tuning)
        return tuning.model_copy(update={"recall": round(recall(store, queries, found, best), 4)})

    def cost(tuning: Tuning) -> float:
        return work(spec, tuning, store.width, searcher.count)

    tried: list[Tuning] = []
    enough: list[Tuning] = []
    pools = {min(depth * factor, searcher.live) for factor in REFINE_FACTORS}
    for candidates in sorted(pools) if spec.refine else (None,):
        limit = min(map(cost, enough), default=math.inf)
        for attempt in _attempts(spec, start.model_copy(update={"candidates": candidates}), measured, searcher.count):
            tried.append(attempt)
            if cost(attempt) >= limit:
                break
        enough = [tuning for tuning in tried if tuning.recall >= target]
    highest = max(tuning.recall for tuning in tried)
    near = [tuning for tuning in tried if tuning.recall >= highest - PLATEAU]
    return min(enough or near, key=cost)


def work(spec: IndexSpec, tuning: Tuning, width: int, count: int) -> float:
    """Bytes that a search reads, estimated; the measure by which parameters are preferred, the same on any machine."""
    code = spec.code_size(width)
    again = SCATTERED * 2 * width * (tuning.candidates or 0)
    if spec.kind == "ivf":
        return (tuning.nprobe or 1) / spec.size * count * code + again
    if spec.kind == "hnsw":
        kept = max(tuning.ef_search or 1, tuning.candidates or tuning.depth)
        return SCATTERED * kept * spec.size * code + again
    return count * code + again


def _attempts(spec: IndexSpec, start: Tuning, measured: Callable[[Tuning], Tuning], count: int) -> Iterator[Tuning]:
    """Measured parameters for one number of candidates: work is doubled up to the target, then halved back towards it."""
    if spec.kind == "flat":
        yield measured(start)
        return
    # A graph keeps as many nodes in view as it returns, whatever it is told.
    kept = start.candidates or start.depth
    name, least, most = ("nprobe", 1, spec.size) if spec.kind == "ivf" else ("ef_search", kept, max(count, kept))
    value, below, before = least, 0, -1.0
    while True:
        attempt = measured(start.model_copy(update={name: value}))
        yield attempt
        if attempt.recall >= start.target:
            break
        if value >= most or (attempt.recall - before < PLATEAU and value >= 4 * least):
            return
        below, before, value = value, attempt.recall, min(2 * value, most)
    # Within an eighth of the least that would do.
    while value - below > max(value // 8, 1):
        middle = (below + value) // 2
        attempt = measured(start.model_copy(update={name: middle}))
        yield attempt
        below, value = (below, middle) if attempt.recall >= start.target else (middle, value)
