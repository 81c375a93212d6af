"""`flat`: compares with every vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import faiss

from optical_mteb.index.kind import Kind


@dataclass(frozen=True, slots=True)
class Flat(Kind):
    """Exact search."""

    name: ClassVar[str] = "flat"
    codecs: ClassVar[tuple[str, ...]] = ("",)
    effort: ClassVar[str | None] = None
    open_flags: ClassVar[int] = faiss.IO_FLAG_MMAP_IFC

    @property
    def factory(self) -> str:
        return ""

    def memory(self, width: int, count: int) -> int:
        return 0

    def efforts(self, depth: int, count: int) -> tuple[int, int]:
        return 1, 1

    def read(self, effort: int, count: int) -> float:
        return count

    def parameters(self, effort: int, **selector: faiss.IDSelector) -> faiss.SearchParameters:
        return faiss.SearchParameters(**selector)

    def form(self, index: faiss.Index) -> tuple[int, int] | None:
        return (0, index.code_size) if isinstance(index, faiss.IndexFlat) else None
