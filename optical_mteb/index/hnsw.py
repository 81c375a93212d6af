"""`hnsw32`: a graph of 32 links a node, walked towards the query (Malkov and Yashunin, TPAMI 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import faiss

from optical_mteb.index.kind import SCATTERED, Kind

EF_CONSTRUCTION = 100
"""Nodes that are kept in view while one is linked into a graph; FAISS's own 40 makes poorer graphs."""


@dataclass(frozen=True, slots=True)
class Hnsw(Kind):
    """A graph; its effort is the number of nodes that are kept in view."""

    name: ClassVar[str] = "hnsw"
    codecs: ClassVar[tuple[str, ...]] = ("", "sq8")
    effort: ClassVar[str | None] = "ef_search"
    open_flags: ClassVar[int] = faiss.IO_FLAG_MMAP_IFC

    @property
    def problem(self) -> str:
        return "a graph needs 2 links a node at least; hnsw32 is common" if self.size < 2 else ""

    def memory(self, width: int, count: int) -> int:
        # 4 bytes for each of 2 M links on the lowest level, few above; level and offset.
        return count * (4 * 2 * self.size + 4 * self.size // 8 + 12)

    def efforts(self, depth: int, count: int) -> tuple[int, int]:
        # A graph keeps as many nodes in view as it returns, whatever it is told.
        return depth, max(count, depth)

    def most_found(self, effort: int, count: int) -> int:
        return min(effort, count)

    def read(self, effort: int, count: int) -> float:
        return SCATTERED * effort * self.size

    def parameters(self, effort: int, **selector: faiss.IDSelector) -> faiss.SearchParameters:
        return faiss.SearchParametersHNSW(efSearch=effort, **selector)

    def form(self, index: faiss.Index) -> tuple[int, int] | None:
        if not isinstance(index, faiss.IndexHNSW):
            return None
        return index.hnsw.nb_neighbors(1), faiss.downcast_index(index.storage).code_size

    def prepare(self, index: faiss.Index, seed: int) -> None:
        index.hnsw.efConstruction = EF_CONSTRUCTION

    def grown(self, index: faiss.Index, count: int) -> list[tuple[Any, int]]:
        own = faiss.downcast_index(index.storage)
        # A node has twice its links on the lowest level, and one in `size` nodes as many again above.
        return [(own.codes, count * own.code_size), (index.hnsw.neighbors, count * (2 * self.size + 2))]
