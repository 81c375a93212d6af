"""What a kind of index declares; each has a file of its own: `flat`, `hnsw`, `ivf`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import faiss
import numpy as np

from optical_mteb.index.rows import Integers, Vectors

SCATTERED = 4
"""Reading a vector from anywhere costs as much as so many in a row."""


@dataclass(frozen=True, slots=True)
class Kind(ABC):
    """The structure of an index.

    Attributes:
        size: The number in the spec: links of a node for `hnsw`, lists for `ivf`; 0 for none.
        name: The word in the spec.
        codecs: Codecs that it takes.
        effort: The field of `Tuning` that says how far a search looks; None where it looks at everything.
        open_flags: How FAISS maps a file of the kind.
    """

    size: int = 0
    name: ClassVar[str]
    codecs: ClassVar[tuple[str, ...]]
    effort: ClassVar[str | None]
    open_flags: ClassVar[int]

    def __str__(self) -> str:
        return f"{self.name}{self.size or ''}"

    @property
    def factory(self) -> str:
        """What stands before the codec in `faiss.index_factory`'s text."""
        return f"{self.name.upper()}{self.size},"

    @property
    def least_count(self) -> int:
        """Vectors that it needs at least."""
        return 1

    @property
    def problem(self) -> str:
        """Why no index of this size can be built; empty where one can."""
        return ""

    @abstractmethod
    def memory(self, width: int, count: int) -> int:
        """Bytes in memory beside the codes."""

    @abstractmethod
    def efforts(self, depth: int, count: int) -> tuple[int, int]:
        """Least and most effort of a search for `depth` of `count` vectors."""

    def most_found(self, effort: int, count: int) -> int:  # noqa: ARG002
        """Vectors that a search of an effort ranks at most, of `count`."""
        return count

    @abstractmethod
    def read(self, effort: int, count: int) -> float:
        """Vectors that a search reads, in a row; those read from anywhere count `SCATTERED` times."""

    @abstractmethod
    def parameters(self, effort: int, **selector: faiss.IDSelector) -> faiss.SearchParameters:
        """What FAISS is told for a search of an effort."""

    @abstractmethod
    def form(self, index: faiss.Index) -> tuple[int, int] | None:
        """Size and bytes of a code of an index of this kind; None for one of another kind."""

    def prepare(self, index: faiss.Index, seed: int) -> None:  # noqa: B027 - most have nothing to set
        """Set what FAISS is to know before it trains or adds."""

    def place(self, index: faiss.Index, sample: Any) -> None:  # noqa: B027, ANN401 - as float16 or float32
        """Fit the structure to a sample, [n, width]; the codes are fitted afterwards."""

    def sample_size(self) -> int:
        """Vectors that `place` takes."""
        return 0

    def grown(self, index: faiss.Index, count: int) -> list[tuple[Any, int]]:
        """FAISS's arrays that grow as vectors are added, and their size for `count`; none where they grow in parts."""
        return [(index.codes, count * index.code_size)]

    def reconstruct(self, index: faiss.Index, positions: Integers) -> Vectors:
        """The vectors at some positions, as an index has them, [n, width]."""
        rows: Vectors = index.reconstruct_batch(np.ascontiguousarray(positions, np.int64))
        return rows
