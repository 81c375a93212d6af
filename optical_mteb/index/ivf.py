"""`ivf4096`: 4,096 lists of vectors, of which a search reads the nearest (Sivic and Zisserman, ICCV 2003)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import faiss
import numpy as np

from optical_mteb.index.kind import Kind
from optical_mteb.index.rows import Integers, Vectors

SEEN_PER_LIST = 64
"""Vectors a list that k-means sees: more cost time, and place the centroids hardly better."""

DECODED_AT_ONCE = 8192
"""Vectors of the sample that are in memory as float32."""


@dataclass(frozen=True, slots=True)
class Ivf(Kind):
    """Lists; its effort is the number of them that are read."""

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

    def grown(self, index: faiss.Index, count: int) -> list[tuple[Any, int]]:
        # Lists grow one by one, and are small.
        return []

    def reconstruct(self, index: faiss.Index, positions: Integers) -> Vectors:
        index.make_direct_map()
        return Kind.reconstruct(self, index, positions)
