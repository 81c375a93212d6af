"""Late interaction: documents whose tokens are near the query's, found by FAISS and scored by exact MaxSim.

MaxSim is the sum over the query's tokens of the largest inner product with a token of the document (Khattab and
Zaharia, SIGIR 2020, section 3.3). Which of the documents found are worth scoring is told by the inner products that
FAISS returned, where the ones it did not return count as much as the least that it did (Lee et al., NeurIPS 2023, XTR,
section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from optical_mteb.index.documents import Integers
from optical_mteb.index.manifest import OFFSETS_FILE, VECTORS_FILE, Tuning
from optical_mteb.index.searcher import NOTHING, Searcher
from optical_mteb.index.shards import Vectors
from optical_mteb.index.tokens_shards import read_offsets
from optical_mteb.index.vectors_file import mapped_vectors

TOKENS_AT_ONCE = 16_384
"""Tokens of documents whose vectors are in memory as float32."""

QUERIES_AT_ONCE = 64
"""Queries whose tokens FAISS is given at once."""


class MaxSimSearcher:
    """The documents of an index of tokens, ranked by MaxSim.

    Attributes:
        count: Documents.
        live: Documents that have a token, which can be found.
        offsets: First token of each document, and the one past the last of all, [count + 1].
    """

    def __init__(self, folder: Path, tokens: Searcher, *, count: int, width: int, mean: bool = False) -> None:
        """Open the files memory-mapped.

        Args:
            folder: Of the index.
            tokens: Finds tokens.
            count: Documents.
            width: Components of a vector.
            mean: Divide scores by the number of the query's tokens.

        Raises:
            InputError: A file cannot be read, or is not what is expected.
        """
        self._tokens, self.count, self._mean = tokens, count, mean
        self.offsets = read_offsets(folder / OFFSETS_FILE, count, tokens.count)
        self._vectors = mapped_vectors(folder / VECTORS_FILE, tokens.count, width)
        self.filled = np.flatnonzero(np.diff(self.offsets))
        self.live = len(self.filled)

    def search(self, queries: Sequence[Vectors], k: int, tuning: Tuning) -> tuple[NDArray[np.float32], Integers]:
        """The best documents of each query, best first.

        Where the parameters find fewer than `min(k, documents)` for a query, they are widened until they do not.

        Args:
            queries: Token vectors, [tokens, width] each.
            k: Documents wanted; more than there are give all.
            tuning: Search parameters.

        Returns:
            Scores and positions, [n, min(k, documents with a token)]; `NOTHING` where even so none was found.
        """
        depth = min(k, self.live)
        scores = np.full((len(queries), depth), -np.inf, np.float32)
        positions = np.full((len(queries), depth), NOTHING, np.int64)
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            part = queries[start : start + QUERIES_AT_ONCE]
            for row, (query, documents) in enumerate(zip(part, self._candidates(part, depth, tuning), strict=True)):
                found = self.maxsim(query, documents)
                # Of equals the first, whatever the order in which they were found.
                best = np.lexsort((documents, -found))[:depth]
                scores[start + row, : len(best)], positions[start + row, : len(best)] = found[best], documents[best]
        return scores, positions

    def maxsim(self, query: Vectors, documents: Integers) -> NDArray[np.float32]:
        """Exact scores of documents by their float16 vectors, [n].

        Args:
            query: Token vectors, [tokens, width].
            documents: Positions of documents that have a token.
        """
        lengths = self.offsets[documents + 1] - self.offsets[documents]
        scores = np.empty(len(documents), np.float32)
        for part in parts(lengths, TOKENS_AT_ONCE):
            tokens = decoded(self._vectors[_ranges(self.offsets[documents[part]], lengths[part])])
            scores[part] = sum_of_best(query, tokens, np.cumsum(lengths[part]) - lengths[part])
        return scores / np.float32(len(query)) if self._mean and len(query) else scores

    def vectors_of(self, document: int) -> Vectors:
        """The token vectors of a document, [tokens, width]."""
        return self._vectors[self.offsets[document] : self.offsets[document + 1]].astype(np.float32)

    def _candidates(self, queries: Sequence[Vectors], depth: int, tuning: Tuning) -> list[Integers]:
        """Documents to score for each query; `depth` of them at least, where so many are found."""
        share = max(1.0, depth / tuning.depth)
        near = math.ceil((tuning.tokens or 1) * share)
        kept = max(depth, math.ceil((tuning.candidates or 0) * share))
        found: list[Integers] = [np.empty(0, np.int64) for _ in queries]
        wanting = [number for number, query in enumerate(queries) if len(query)] if depth else []
        while wanting:
            near = min(near, self._tokens.count)
            for number, documents in zip(wanting, self._near([queries[n] for n in wanting], near, tuning), strict=True):
                found[number] = documents[:kept]
            wanting = [number for number in wanting if len(found[number]) < depth]
            if near == self._tokens.count:
                break
            near *= 4
        return found

    def _near(self, queries: Sequence[Vectors], near: int, tuning: Tuning) -> list[Integers]:
        """Documents of the `near` tokens nearest to each token of a query, those first that promise the best scores."""
        lengths = [len(query) for query in queries]
        alone = tuning.model_copy(update={"depth": near, "candidates": None})
        scores, tokens = self._tokens.search(np.concatenate(queries), near, alone)
        owners = np.searchsorted(self.offsets, tokens, side="right") - 1
        owners[tokens == NOTHING] = NOTHING
        ends = np.cumsum(lengths)[:-1]
        both = zip(np.split(scores, ends), np.split(owners, ends), strict=True)
        return [promising(*pair) for pair in both]


def promising(scores: NDArray[np.float32], owners: Integers) -> Integers:
    """Documents by the tokens of theirs that were found, those first whose scores are estimated to be best.

    Args:
        scores: Of the tokens found for each token of a query, best first, [tokens, n].
        owners: Documents that they are in, `NOTHING` where none was found.
    """
    rows, columns = np.nonzero(owners != NOTHING)
    if not len(rows):
        return np.empty(0, np.int64)
    least = np.where(owners != NOTHING, scores, np.inf).min(axis=1)
    documents, gains = owners[rows, columns], scores[rows, columns] - least[rows]
    # The best comes first for each token of the query, and `unique` keeps the first.
    _, first = np.unique(documents * len(owners) + rows, return_index=True)
    found, places = np.unique(documents[first], return_inverse=True)
    order = np.argsort(-np.bincount(places, gains[first]), kind="stable")
    ranked: Integers = found[order]
    return ranked


def sum_of_best(query: Vectors, tokens: Vectors, starts: Integers) -> NDArray[np.float32]:
    """MaxSim of a query with documents, [n].

    Args:
        query: Token vectors, [m, width].
        tokens: Of the documents, one after the other, [tokens, width].
        starts: First token of each document, [n]; each has one at least.
    """
    best: NDArray[np.float32] = np.maximum.reduceat(query @ tokens.T, starts, axis=1)
    summed: NDArray[np.float32] = best.sum(axis=0)
    return summed


def parts(lengths: Integers, most: int) -> list[slice]:
    """Runs of documents that have `most` tokens together, but for one that has more by itself."""
    found, start, filled = [], 0, 0
    for number, length in enumerate(lengths.tolist()):
        if number > start and filled + length > most:
            found.append(slice(start, number))
            start, filled = number, 0
        filled += length
    return [*found, slice(start, len(lengths))] if len(lengths) else []


def decoded(vectors: NDArray[np.float16]) -> Vectors:
    """float16 vectors as float32, by FAISS, which is faster at it than numpy."""
    codec = faiss.ScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16)
    rows: Vectors = codec.decode(np.ascontiguousarray(vectors).view(np.uint8))
    return rows


def _ranges(starts: Integers, lengths: Integers) -> Integers:
    """All positions of runs that begin at `starts`."""
    before = np.cumsum(lengths) - lengths
    ranges: Integers = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    return ranges
