"""Searching the files of an index by vectors: the best positions and their scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.documents import Integers
from optical_mteb.index.faiss_file import read_index, rescored
from optical_mteb.index.forking import note_opened
from optical_mteb.index.manifest import FAISS_FILE, VECTORS_FILE, Tuning
from optical_mteb.index.shards import Vectors
from optical_mteb.index.spec import IndexSpec
from optical_mteb.index.vectors_file import mapped_vectors

BATCH = 1024
"""Queries that FAISS is given at once."""

NOTHING = -1
"""Position of a rank that no document has."""


class Searcher:
    """An opened index; any number of searches with any parameters."""

    def __init__(
        self,
        folder: Path,
        spec: IndexSpec,
        *,
        count: int,
        width: int,
        removed: Integers | None = None,
        written_by: str = "",
    ) -> None:
        """Open the files memory-mapped.

        Args:
            folder: Of the index.
            spec: Of the index.
            count: Documents that it has.
            width: Components of a vector.
            removed: Positions that are not to be found.
            written_by: Version of FAISS that wrote it, for the error message.

        Raises:
            InputError: A file cannot be read, or is not what is expected.
        """
        note_opened()
        path = folder / FAISS_FILE
        self._spec, self.count = spec, count
        self._index = read_index(path, spec, written_by=written_by)
        found = (self._index.d, self._index.ntotal, self._index.metric_type)
        if found != (width, count, faiss.METRIC_INNER_PRODUCT):
            raise InputError(
                f"{path}: holds {found[1]:,} vectors of {found[0]} components, expected {count:,} of {width} "
                "by inner product; copy or build the index again"
            )
        if spec.refine:
            self._vectors = mapped_vectors(folder / VECTORS_FILE, count, width)
            self._index = rescored(self._index, self._vectors)
        self._live = np.ones(count, bool)
        self._live[removed if removed is not None else []] = False
        self.live = int(self._live.sum())
        self._selector = None
        if self.live < count:
            self._bits = np.packbits(self._live, bitorder="little")
            self._selector = faiss.IDSelectorBitmap(self._bits)

    def search(self, queries: Vectors, k: int, tuning: Tuning) -> tuple[NDArray[np.float32], Integers]:
        """The best documents of each query, best first.

        Where the parameters find fewer than `min(k, documents)` for a query, they are widened until they do not.

        Args:
            queries: [n, width].
            k: Documents wanted; more than there are give all.
            tuning: Search parameters.

        Returns:
            Scores and positions, [n, min(k, documents)]; `NOTHING` where even so none was found.
        """
        depth = min(k, self.live)
        scores = np.full((len(queries), depth), -np.inf, np.float32)
        positions = np.full((len(queries), depth), NOTHING, np.int64)
        if not depth:
            return scores, positions
        for start in range(0, len(queries), BATCH):
            batch = np.ascontiguousarray(queries[start : start + BATCH], np.float32)
            wanting, effort = np.arange(len(batch)), 1
            while len(wanting):
                found = self._index.search(batch[wanting], depth, params=self._parameters(depth, tuning, effort))
                scores[start + wanting], positions[start + wanting] = found
                wanting = wanting[(positions[start + wanting] < 0).any(1)]
                if effort * self._effort(depth, tuning) >= self._most():
                    break
                effort *= 4
        return scores, positions

    def reconstruct(self, positions: Integers) -> Vectors:
        """The vectors at some positions, as the index has them, [n, width]; those to rescore with where it has them."""
        if self._spec.refine:
            return self._vectors[positions].astype(np.float32)
        if self._spec.kind == "ivf":
            self._index.make_direct_map()
        return np.stack([self._index.reconstruct(int(position)) for position in positions])

    @property
    def removed(self) -> Integers:
        """Positions that are not found."""
        return np.flatnonzero(~self._live)

    def _effort(self, depth: int, tuning: Tuning) -> int:
        if self._spec.kind == "ivf":
            return tuning.nprobe or 1
        return max(tuning.ef_search or 1, _candidates(depth, tuning)) if self._spec.kind == "hnsw" else 1

    def _most(self) -> int:
        return {"flat": 1, "ivf": self._spec.size, "hnsw": self.count}[self._spec.kind]

    def _parameters(self, depth: int, tuning: Tuning, widened: int) -> faiss.SearchParameters:
        effort = min(self._effort(depth, tuning) * widened, self._most())
        chosen: dict[str, Any] = {} if self._selector is None else {"sel": self._selector}
        if self._spec.kind == "ivf":
            parameters = faiss.SearchParametersIVF(nprobe=effort, **chosen)
        elif self._spec.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(efSearch=effort, **chosen)
        else:
            parameters = faiss.SearchParameters(**chosen)
        if self._spec.refine:
            return faiss.IndexRefineSearchParameters(
                k_factor=_candidates(depth, tuning) / depth, base_index_params=parameters
            )
        return parameters


def _candidates(depth: int, tuning: Tuning) -> int:
    """Documents to find before some are scored again, for `depth` of them wanted."""
    return max(depth, math.ceil((tuning.candidates or 0) * max(1.0, depth / tuning.depth)))
