"""The kinds of index: `flat` compares with every vector, `hnsw` walks a graph, `ivf` reads the nearest lists of vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import faiss
import numpy as np

from optical_mteb.index.rows import Integers, Vectors

SCATTERED = 4
"""Reading a vector from anywhere costs as much as so many in a row."""

EF_CONSTRUCTION = 100
"""Nodes that are kept in view while one is linked into a graph; FAISS's own 40 makes poorer graphs."""

SEEN_PER_LIST = 64
"""Vectors a list that k-means sees: more cost time, and place the centroids hardly better."""

DECODED_AT_ONCE = 8192
"""Vectors of k-means' sample that are in memory as float32."""


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
        return f"{self.name.upper()}{self.size}," if self.size else ""

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

    def most_found(self, effort: int, count: int) -> int:
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
        return []

    def reconstruct(self, index: faiss.Index, positions: Integers) -> Vectors:
        """The vectors at some positions, as an index has them, [n, width]."""
        if isinstance(index, faiss.IndexIVF):
            index.make_direct_map()
        rows: Vectors = index.reconstruct_batch(np.ascontiguousarray(positions, np.int64))
        return rows


@dataclass(frozen=True, slots=True)
class Flat(Kind):
    """`flat`: exact search."""

    name: ClassVar[str] = "flat"
    codecs: ClassVar[tuple[str, ...]] = ("",)
    effort: ClassVar[str | None] = None
    open_flags: ClassVar[int] = faiss.IO_FLAG_MMAP_IFC

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

    def grown(self, index: faiss.Index, count: int) -> list[tuple[Any, int]]:
        return [(index.codes, count * index.code_size)]


@dataclass(frozen=True, slots=True)
class Hnsw(Kind):
    """`hnsw32`: a graph of 32 links a node, walked towards the query (Malkov and Yashunin, TPAMI 2020).

    Its effort is the number of nodes that are kept in view.
    """

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


@dataclass(frozen=True, slots=True)
class Ivf(Kind):
    """`ivf4096`: 4,096 lists of vectors, of which a search reads the nearest (Sivic and Zisserman, ICCV 2003).

    Its effort is the number of lists that are read.
    """

    name: ClassVar[str] = "ivf"
    codecs: ClassVar[tuple[str, ...]] = ("", "sq8", "pq")
    effort: ClassVar[str | None] = "nprobe"
    open_flags: ClassVar[int] = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY

    @property
    def least_count(self) -> int:
        return self.size

    def memory(self, width: int, count: int) -> int:
        # A 64-bit position a vector, and the centroids.
        return 8 * count + 4 * width * self.size

    def efforts(self, depth: int, count: int) -> tuple[int, int]:
        return 1, self.size

    def read(self, effort: int, count: int) -> float:
        return effort / self.size * count

    def parameters(self, effort: int, **selector: faiss.IDSelector) -> faiss.SearchParameters:
        return faiss.SearchParametersIVF(nprobe=effort, **selector)

    def form(self, index: faiss.Index) -> tuple[int, int] | None:
        return (index.nlist, index.code_size) if isinstance(index, faiss.IndexIVF) else None

    def prepare(self, index: faiss.Index, seed: int) -> None:
        index.cp.seed = seed
        # Fewer than it likes are said in one line when an index is built.
        index.cp.min_points_per_centroid = 1

    def sample_size(self) -> int:
        return SEEN_PER_LIST * self.size

    def place(self, index: faiss.Index, sample: Any) -> None:  # noqa: ANN401 - as float16
        width = sample.shape[1]
        index.cp.decode_block_size = DECODED_AT_ONCE
        as_float16 = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_fp16)
        # FAISS leaves lists that have their centroids as they are, and trains the codes.
        faiss.Clustering(width, self.size, index.cp).train_encoded(sample.view(np.uint8), as_float16, index.quantizer)
