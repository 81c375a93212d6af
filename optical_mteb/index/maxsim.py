"""MaxSim: the sum over a query's rows of the largest inner product with a row of the document.

Khattab and Zaharia, SIGIR 2020, section 3.3. Of texts with one row each it is the inner product. Products of many rows are
made at once: one with 16,384 rows is many times as fast as one for each document.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from optical_mteb.index.rows import Integers, Rows, Vectors

PRODUCTS_AT_ONCE = 1 << 22
"""Inner products that are in memory together."""

ROWS_AT_ONCE = 16_384
"""Rows of documents that are in memory as float32."""

NOTHING = -1
"""Position of a rank that no document has."""


def maxsim(queries: Rows, documents: Rows) -> NDArray[np.float32]:
    """Scores of all pairs, [queries, documents]; those of a document, or by a query, without a row are minus infinity."""
    if queries.one_each and documents.one_each:
        products: NDArray[np.float32] = queries.vectors @ as_float32(documents.vectors).T
        return products
    scores = np.full((len(queries), len(documents)), -np.inf, np.float32)
    asked, filled = np.flatnonzero(queries.lengths), np.flatnonzero(documents.lengths)
    if not len(asked):
        return scores
    starts, most = queries.offsets[asked], min(ROWS_AT_ONCE, PRODUCTS_AT_ONCE // len(queries.vectors))
    for part in runs(documents.lengths[filled], most):
        places = filled[part]
        first, last = documents.offsets[places[0]], documents.offsets[places[-1] + 1]
        of_rows = as_float32(documents.vectors[first:last]) @ queries.vectors.T
        best = np.maximum.reduceat(of_rows, documents.offsets[places] - first, axis=0)
        scores[np.ix_(asked, places)] = np.add.reduceat(best, starts, axis=1).T
    return scores


def best(scores: NDArray[np.float32], depth: int) -> tuple[NDArray[np.float32], Integers]:
    """The highest scores of each row and their columns, [n, min(depth, columns)], highest first; equals by column."""
    depth = min(depth, scores.shape[1])
    if not depth:
        return scores[:, :0], np.empty((len(scores), 0), np.int64)
    columns = np.sort(np.argpartition(-scores, depth - 1, axis=1)[:, :depth], axis=1)
    found = np.take_along_axis(scores, columns, 1)
    order = np.argsort(-found, axis=1, kind="stable")
    return np.take_along_axis(found, order, 1), np.take_along_axis(columns, order, 1)


def runs(lengths: Integers, most: int) -> list[slice]:
    """Runs of documents that have `most` rows together, but for one that has more by itself."""
    found, start, filled = [], 0, 0
    for number, length in enumerate(lengths.tolist()):
        if number > start and filled + length > most:
            found.append(slice(start, number))
            start, filled = number, 0
        filled += length
    return [*found, slice(start, len(lengths))] if len(lengths) else []


def as_float32(vectors: NDArray[Any]) -> Vectors:
    """Vectors as float32; those in float16 by FAISS, which is faster at it than numpy."""
    if vectors.dtype != np.float16 or not len(vectors):
        return np.asarray(vectors, np.float32)
    codec = faiss.ScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16)
    rows: Vectors = codec.decode(np.ascontiguousarray(vectors).view(np.uint8))
    return rows
