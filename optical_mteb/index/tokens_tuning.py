"""Search parameters of late interaction, found on sample queries against exhaustive MaxSim."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from optical_mteb.index.manifest import Tuning
from optical_mteb.index.shards import Vectors
from optical_mteb.index.spec import IndexSpec
from optical_mteb.index.tokens_search import MaxSimSearcher, decoded, parts
from optical_mteb.index.tokens_shards import TokenShards
from optical_mteb.index.tuning import PLATEAU, SCATTERED, TIE, work

TOKEN_SAMPLE = 100
"""Queries that search parameters are tuned on: comparing one with all documents costs as much as its tokens do."""

LEAST_TOKENS = 16
"""Tokens found for each token of a query, from which more are tried."""

LEAST_NODES = 16
"""Nodes kept in view, for `hnsw`, from which more are tried."""

PRODUCTS_AT_ONCE = 1 << 24
"""Inner products that are in memory together."""


def best_scores(shards: TokenShards, queries: Sequence[Vectors], depth: int) -> NDArray[np.float32]:
    """MaxSim of the best documents by comparing with every token, [n, depth], best first.

    Args:
        shards: The documents.
        queries: Token vectors, [tokens, width] each, of one token at least.
        depth: Ranks; as many as there are documents with a token at most.
    """
    best = np.full((len(queries), depth), -np.inf, np.float32)
    tokens = np.concatenate(queries)
    starts = np.cumsum([0, *(len(query) for query in queries[:-1])])
    for number in range(len(shards)):
        vectors = np.ascontiguousarray(shards.vectors(number), np.float16)
        places = shards.documents(number)
        filled = np.flatnonzero(np.diff(places))
        lengths = np.diff(places)[filled]
        for part in parts(lengths, PRODUCTS_AT_ONCE // len(tokens)):
            first = places[filled[part]]
            rows = decoded(vectors[first[0] : first[-1] + lengths[part][-1]])
            of_tokens = np.maximum.reduceat(tokens @ rows.T, first - first[0], axis=1)
            scores = np.add.reduceat(of_tokens, starts, axis=0)
            best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :depth]
    return best


def tune_tokens(
    searcher: MaxSimSearcher,
    spec: IndexSpec,
    shards: TokenShards,
    queries: Sequence[Vectors],
    *,
    target: float,
    depth: int,
    sample: str,
) -> Tuning:
    """The parameters of little work whose recall on the sample is the target, or else is the highest.

    All are doubled together up to the target; then one after the other is made smaller as long as it is reached.

    Args:
        searcher: The index, with all documents of the shards; its scores are not divided.
        spec: Of the index.
        shards: What it was built from.
        queries: Sample, [tokens, width] each, of one token at least.
        target: Recall to reach.
        depth: Ranks that the recall counts.
        sample: Where the queries came from, in words.
    """
    depth = min(depth, searcher.live)
    least = best_scores(shards, queries, depth)[:, -1:]
    # Every token of a query adds a rounding of its own.
    ties = TIE * np.array([[len(query)] for query in queries], np.float32)

    def measured(tuning: Tuning) -> Tuning:
        scores, _ = searcher.search(queries, depth, tuning)
        return tuning.model_copy(update={"recall": round(float((scores >= least - ties).mean()), 4)})

    def cost(tuning: Tuning) -> float:
        return _work(spec, tuning, shards, float(np.mean([len(query) for query in queries])))

    start = Tuning(target=target, depth=depth, queries=len(queries), sample=sample)
    limits = _limits(spec, depth, searcher.live, shards.total)
    tried = list(_grown(start, limits, measured))
    enough = [tuning for tuning in tried if tuning.recall >= target]
    if enough:
        return _shrunk(enough[0], limits, measured)
    highest = max(tuning.recall for tuning in tried)
    return min((tuning for tuning in tried if tuning.recall >= highest - PLATEAU), key=cost)


def _limits(spec: IndexSpec, depth: int, documents: int, tokens: int) -> dict[str, tuple[int, int]]:
    """Least and most of each parameter."""
    limits = {
        "candidates": (depth, documents),
        "tokens": (min(LEAST_TOKENS, tokens), tokens),
    }
    if spec.kind == "ivf":
        limits["nprobe"] = (1, spec.size)
    if spec.kind == "hnsw":
        limits["ef_search"] = (min(LEAST_NODES, tokens), tokens)
    return limits


def _grown(start: Tuning, limits: dict[str, tuple[int, int]], measured: Callable[[Tuning], Tuning]) -> Iterator[Tuning]:
    """Measured parameters, each twice those before, up to the target or to where recall no longer grows."""
    values = {name: least for name, (least, _) in limits.items()}
    before, stalled = -1.0, 0
    while True:
        attempt = measured(start.model_copy(update=values))
        yield attempt
        stalled = stalled + 1 if attempt.recall - before < PLATEAU else 0
        grown = {name: min(2 * value, limits[name][1]) for name, value in values.items()}
        if attempt.recall >= start.target or stalled == 2 or grown == values:
            return
        before, values = max(before, attempt.recall), grown


def _shrunk(enough: Tuning, limits: dict[str, tuple[int, int]], measured: Callable[[Tuning], Tuning]) -> Tuning:
    """Parameters that reach the target as well, each within an eighth of the least that does beside the others."""
    for name, (least, _) in limits.items():
        below, value = least - 1, getattr(enough, name)
        while value - below > max(value // 8, 1):
            middle = (below + value) // 2
            attempt = measured(enough.model_copy(update={name: middle}))
            if attempt.recall >= enough.target:
                enough, value = attempt, middle
            else:
                below = middle
    return enough


def _work(spec: IndexSpec, tuning: Tuning, shards: TokenShards, query: float) -> float:
    """Bytes that a search reads, estimated."""
    alone = tuning.model_copy(update={"candidates": None, "depth": tuning.tokens})
    scored = (tuning.candidates or 0) * shards.total / max(len(shards.offsets) - 1, 1)
    return query * work(spec, alone, shards.width, shards.total) + SCATTERED * 2 * shards.width * scored
