"""Searching the files of an index: FAISS finds documents by one vector each, and the best are scored with all their rows."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.faiss_file import read_index, rescored
from optical_mteb.index.forking import note_opened
from optical_mteb.index.kind import SCATTERED
from optical_mteb.index.manifest import FAISS_FILE, IndexManifest, Tuning
from optical_mteb.index.maxsim import NOTHING, best, maxsim
from optical_mteb.index.rows import Integers, Rows
from optical_mteb.index.spec import IndexSpec
from optical_mteb.index.stored_rows import removed_documents, stored_rows

BATCH = 1024
"""Queries that FAISS is given at once."""

SCORES_AT_ONCE = 1 << 24
"""Scores of documents that are in memory together where all of them are compared."""

Ranked = tuple[NDArray[np.float32], Integers]
"""Scores and positions of the best documents of each query, [n, depth], best first."""


class Searcher:
    """An opened index; any number of searches with any parameters.

    Attributes:
        spec: Of the index.
        count: Documents that it has.
        live: Of them, those that can be found.
        removed: Positions of the others.
        exact: Whether a search finds the best whatever it is told.
    """

    def __init__(self, folder: Path, manifest: IndexManifest) -> None:
        """Open the files of a folder memory-mapped; what the manifest says of its tuning counts for nothing.

        Raises:
            InputError: A file cannot be read, or is not what is expected.
        """
        note_opened()
        path, count, width = folder / FAISS_FILE, manifest.count, manifest.width
        self.spec = spec = IndexSpec.parse(manifest.spec)
        self.count, self.exact = count, spec.exact and not spec.refine
        self._metric, self._late = manifest.metric, manifest.late
        self._index = self._by_rows = read_index(path, spec, written_by=manifest.versions.get("faiss", ""))
        found = (self._index.d, self._index.ntotal, self._index.metric_type)
        if found != (width, count, faiss.METRIC_INNER_PRODUCT):
            raise InputError(
                f"{path}: holds {found[1]:,} vectors of {found[0]} components, expected {count:,} of {width} "
                "by inner product; copy or build the index again"
            )
        self._stored = self._late or spec.refine
        self._rows = stored_rows(folder, manifest) if self._stored else Rows.joined([], width)
        if spec.refine and not self._late:
            self._by_rows = rescored(self._index, self._rows.vectors)
        live = np.ones(count, bool)
        live[removed_documents(folder, manifest)] = False
        self.live, self.removed = int(live.sum()), np.flatnonzero(~live)
        self._selector: dict[str, faiss.IDSelector] = {}
        if self.live < count:
            self._bits = np.packbits(live, bitorder="little")
            self._selector = {"sel": faiss.IDSelectorBitmap(self._bits)}

    def search(self, queries: Rows, k: int, tuning: Tuning) -> Ranked:
        """The best documents of each query, best first; the queries are of length 1.

        Where the parameters find fewer than `min(k, documents)` for a query, they are widened until they do not.

        Returns:
            Scores and positions, [n, min(k, documents)]; `NOTHING` where even so none was found.
        """
        depth = min(k, self.live)
        if not self._late:
            return self._found(self._by_rows, queries, depth, tuning.kept(depth), tuning, needed=depth)
        compared = self._compared if self.exact else self._scored
        scores, positions = compared(queries, depth, tuning)
        if self._metric == "meanmaxsim":
            scores /= np.maximum(queries.lengths, 1)[:, None]
        return scores, positions

    def candidates(self, queries: Rows, number: int, tuning: Tuning, *, needed: int) -> Integers:
        """Positions of documents that would be scored again, most promising first, [n, min(number, documents)].

        The parameters are widened where fewer than the `needed` documents of a ranking are found.
        """
        number = min(number, self.live)
        return self._found(self._index, queries, number, number, tuning, needed=needed)[1]

    def efforts(self, depth: int) -> tuple[int, int]:
        """Least and most effort of a search for `depth` documents."""
        return self.spec.kind.efforts(depth, self.count)

    def work(self, tuning: Tuning) -> float:
        """Bytes that a search reads, estimated; the measure by which parameters are preferred, the same on any machine."""
        width: int = self._index.d
        effort = max(self._effort(tuning), self.efforts(tuning.kept(tuning.depth))[0])
        rows = len(self._rows.vectors) / self.count
        again = SCATTERED * 2 * width * rows * (tuning.candidates or 0)
        return self.spec.kind.read(effort, self.count) * self.spec.codec.size(width) + again

    def rows(self, positions: Integers) -> Rows:
        """The rows of documents as the index has them; those to score again with where it has them."""
        if self._stored:
            found = self._rows.at(positions)
            return Rows(found.vectors.astype(np.float32), found.lengths)
        return Rows.single(self.spec.kind.reconstruct(self._index, positions))

    def _effort(self, tuning: Tuning) -> int:
        effort: int | None = getattr(tuning, self.spec.kind.effort) if self.spec.kind.effort else None
        return effort or 1

    def _found(
        self, index: faiss.Index, queries: Rows, depth: int, kept: int, tuning: Tuning, *, needed: int
    ) -> Ranked:
        """The best documents by one vector each; of an index that scores again, the best of those kept."""
        vectors = queries.summaries()
        scores = np.full((len(vectors), depth), -np.inf, np.float32)
        positions = np.full((len(vectors), depth), NOTHING, np.int64)
        if not depth:
            return scores, positions
        least, most = self.efforts(kept)
        for start in range(0, len(vectors), BATCH):
            batch = np.ascontiguousarray(vectors[start : start + BATCH], np.float32)
            wanting, effort = np.arange(len(batch)), max(self._effort(tuning), least)
            while len(wanting):
                parameters = self.spec.kind.parameters(min(effort, most), **self._selector)
                if isinstance(index, faiss.IndexRefine):
                    parameters = faiss.IndexRefineSearchParameters(k_factor=kept / depth, base_index_params=parameters)
                found = index.search(batch[wanting], depth, params=parameters)
                scores[start + wanting], positions[start + wanting] = found
                wanting = wanting[positions[start + wanting, min(needed, depth) - 1] < 0]
                if effort >= most:
                    break
                effort *= 4
        return scores, positions

    def _scored(self, queries: Rows, depth: int, tuning: Tuning) -> Ranked:
        """The best documents of late interaction: found by one vector each, scored by MaxSim."""
        scores = np.full((len(queries), depth), -np.inf, np.float32)
        positions = np.full((len(queries), depth), NOTHING, np.int64)
        near = self.candidates(queries, tuning.kept(depth), tuning, needed=depth)
        for row, found in enumerate(near):
            documents = np.sort(found[found != NOTHING])
            if queries.lengths[row]:
                of_query = maxsim(queries[row : row + 1], self._rows.at(documents))
                (scores[row, : len(documents)],), (places,) = best(of_query, depth)
                positions[row, : len(documents)] = documents[places]
        return scores, positions

    def _compared(self, queries: Rows, depth: int, tuning: Tuning) -> Ranked:  # noqa: ARG002 - as `_scored`
        """The best documents of late interaction by comparing with all of them."""
        step = max(SCORES_AT_ONCE // self.count, 1)
        parts = []
        for start in range(0, len(queries), step):
            scores = maxsim(queries[start : start + step], self._rows)
            scores[:, self.removed] = -np.inf
            parts.append(best(scores, depth))
        if not parts:
            return np.empty((0, depth), np.float32), np.empty((0, depth), np.int64)
        scores, positions = (np.concatenate(each) for each in zip(*parts, strict=True))
        positions[np.isneginf(scores)] = NOTHING
        return scores, positions
