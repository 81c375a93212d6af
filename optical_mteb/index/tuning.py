"""Search parameters that reach a recall with little work, found on sample queries against exact search.

A search finds candidates, and scores the best of them again. One search that finds many candidates tells the recall for any
number of them: a document that belongs to the best is found by the first so many, or it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from optical_mteb.index.manifest import Tuning
from optical_mteb.index.maxsim import best, maxsim
from optical_mteb.index.rows import Integers, Rows
from optical_mteb.index.searcher import Searcher
from optical_mteb.index.shards import ShardStore

CANDIDATES, LATE_CANDIDATES = 32, 256
"""Documents that are scored again at most, as a multiple of those wanted, by one row each or by many."""

PLATEAU = 0.0005
"""Recall that doubling the work must gain while the target is not reached."""

TIE = 1e-5
"""Difference of scores that does not count: of two documents as good as each other, either may be found."""

SPARE = 8
"""One candidate more for so many: what the sample needs is a little less than what other queries do."""


def best_documents(store: ShardStore, queries: Rows, depth: int) -> list[Integers]:
    """Positions of the documents that are as good as the `depth`-th, by comparing with every one; of each query.

    One shard at a time is in memory. `depth` is no more than the documents that can be compared.
    """
    # Of those as good as the last, as many again are known.
    known = 2 * depth
    scores, positions = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for number in range(len(store)):
        rows = store.rows(number)
        of_shard = maxsim(queries, rows)
        of_shard[:, rows.bare()] = -np.inf
        found, places = best(of_shard, known)
        scores, kept = best(np.concatenate([scores, found], axis=1), known)
        positions = np.take_along_axis(
            np.concatenate([positions, places + store.bounds(number)[0]], axis=1), kept, axis=1
        )
    # Every row of a query adds a rounding of its own.
    good = scores >= scores[:, depth - 1 : depth] - TIE * queries.lengths[:, None]
    return [row[chosen] for row, chosen in zip(positions, good, strict=True)]


def recall(found: Integers, good: list[Integers], depth: int) -> NDArray[np.float64]:
    """Share of the best `depth` documents among the first 1, 2, ... that were found, mean over the queries, [ranks].

    Args:
        found: Positions, [n, ranks].
        good: What `best_documents` gave.
        depth: Ranks that count.
    """
    hits = np.stack([np.isin(row, own) for row, own in zip(found, good, strict=True)])
    shares: NDArray[np.float64] = np.minimum(np.cumsum(hits, axis=1), depth).mean(axis=0) / depth
    return shares


def tune(searcher: Searcher, store: ShardStore, queries: Rows, start: Tuning) -> Tuning:
    """The parameters of little work whose recall on the sample is the target, or else is the highest.

    Args:
        searcher: The index.
        store: All its documents.
        queries: Sample, of one row at least each.
        start: The recall to reach, the ranks that it counts, and the sample, without parameters.
    """
    target, depth = start.target, start.depth
    good = best_documents(store, queries, depth)
    kind, again = searcher.spec.kind, searcher.spec.refine
    most = CANDIDATES if queries.one_each else LATE_CANDIDATES

    def measured(effort: int) -> Tuning:
        tuning = start.model_copy(update={kind.effort: effort} if kind.effort else {})
        number = min(most * depth, kind.most_found(effort, searcher.live)) if again else depth
        shares = recall(searcher.candidates(queries, number, tuning, needed=depth), good, depth)[depth - 1 :]
        enough = int(np.argmax(shares >= _floor(target, shares[-1])))
        spare = depth + enough + (depth + enough) // SPARE
        chosen = min(spare, depth - 1 + len(shares)) if again else depth
        update = {"candidates": chosen if again else None, "recall": round(float(shares[chosen - depth]), 4)}
        return tuning.model_copy(update=update)

    tried = list(_attempts(searcher, target, measured, *searcher.efforts(depth)))
    floor = _floor(target, max(tuning.recall for tuning in tried))
    enough = [tuning for tuning in tried if tuning.recall >= floor]
    chosen = min(enough, key=searcher.work)
    _, found = searcher.search(queries, depth, chosen)
    return chosen.model_copy(update={"recall": round(float(recall(found, good, depth)[-1]), 4)})


def _floor(target: float, highest: float) -> float:
    """The recall that is enough: the target, or about the highest where that is lower."""
    return target if highest >= target else highest - PLATEAU


def _attempts(
    searcher: Searcher, target: float, measured: Callable[[int], Tuning], least: int, most: int
) -> Iterator[Tuning]:
    """Measured parameters: the effort is doubled while that gains, then halved back towards the least work."""
    effort, before, kept = least, -1.0, None
    while True:
        attempt = measured(effort)
        yield attempt
        if attempt.recall >= target and (kept is None or searcher.work(attempt) < searcher.work(kept[1])):
            kept = (effort, attempt)
        elif kept is not None:
            break
        if effort >= most or (attempt.recall < target and attempt.recall - before < PLATEAU and effort >= 4 * least):
            break
        before, effort = attempt.recall, min(2 * effort, most)
    if kept is None:
        return
    # Within an eighth of the least that would do.
    value, below = kept[0], kept[0] // 2 if kept[0] > least else least - 1
    while value - below > max(value // 8, 1):
        middle = (below + value) // 2
        attempt = measured(middle)
        yield attempt
        below, value = (below, middle) if attempt.recall >= target else (middle, value)
