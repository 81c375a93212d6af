"""What an index is made of, as a spec that prints as it parses: `flat`, `hnsw32,sq8`, `ivf4096,pq48+refine`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from optical_mteb.errors import InputError
from optical_mteb.index.flat import Flat
from optical_mteb.index.hnsw import Hnsw
from optical_mteb.index.ivf import Ivf
from optical_mteb.index.kind import Kind

AUTO = "auto"
EXAMPLES = ("flat", "hnsw32", "hnsw32,sq8", "ivf4096", "ivf4096,sq8", "ivf4096,pq48", "ivf4096,pq192x4")
KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Flat, Hnsw, Ivf)}

POINTS_PER_LIST = 39
"""Vectors a list below which FAISS's k-means calls its centroids poorly placed."""

_SPEC = re.compile(
    r"(?P<kind>flat|(?:hnsw|ivf)(?=[1-9]))(?P<size>\d*)(,(?P<codec>sq8|pq(?P<parts>[1-9]\d*)(?P<fast>x4)?))?(?P<refine>\+refine)?"
)


@dataclass(frozen=True, slots=True)
class Codec:
    """How a vector is kept.

    Attributes:
        name: Empty for whole vectors, `sq8` for one byte a component, `pq` for a code for each of `parts` parts.
        parts: Parts of a vector for `pq`, else 0.
        bits: Bits of the code of a part: 8, or 4 (`x4`), whose tables fit into the registers of a processor, so that many
            vectors are compared at once (Andre, Kermarrec, Le Scouarnec, VLDB 2015).
    """

    name: Literal["", "sq8", "pq"] = ""
    parts: int = 0
    bits: Literal[4, 8] = 8

    def __str__(self) -> str:
        return f"pq{self.parts}{'x4' if self.bits == 4 else ''}" if self.parts else self.name

    @property
    def factory(self) -> str:
        """The codec in `faiss.index_factory`'s text."""
        # np: without the reordering of codes that only FAISS's Hamming search uses, and that takes most of the training.
        return {"": "Flat", "sq8": "SQ8", "pq": f"PQ{self.parts}x{'4fs' if self.bits == 4 else '8np'}"}[self.name]

    @property
    def centroids(self) -> int:
        """Centroids of each part of a product quantizer; 1 where there is none."""
        return 2**self.bits if self.parts else 1

    @property
    def sample_size(self) -> int:
        """Vectors that its ranges or centroids are fitted to."""
        return {"": 1, "sq8": 16_384, "pq": 32_768}[self.name]

    def size(self, width: int) -> int:
        """Bytes of the code of a vector of `width` components."""
        return {"": 4 * width, "sq8": width, "pq": -(-self.parts * self.bits // 8)}[self.name]


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """Structure, code and rescoring of an index; `str` gives what `parse` reads.

    Attributes:
        kind: `flat` compares with every vector, `hnsw` walks a graph, `ivf` looks into the nearest lists of vectors.
        codec: How a vector is kept.
        refine: Whether the best are scored again with float16 vectors.
    """

    kind: Kind
    codec: Codec = Codec()
    refine: bool = False

    @classmethod
    def parse(cls, text: str) -> IndexSpec:
        """The spec that a text names.

        Raises:
            InputError: It names none.
        """
        match = _SPEC.fullmatch(text)
        kind = KINDS[match["kind"]](int(match["size"] or 0)) if match else None
        name: Literal["", "sq8", "pq"] = "pq" if match and match["parts"] else "sq8" if match and match["codec"] else ""
        if not match or kind is None or name not in kind.codecs or (match["kind"] == "flat" and match["size"]):
            raise InputError(
                f"index spec {text!r}: expected {AUTO}, or one like {', '.join(EXAMPLES)}, each with +refine if wanted"
            )
        if match["fast"] and not match["refine"]:
            raise InputError(f"index spec {text!r}: codes of 4 bits find too little by themselves; use {text}+refine")
        return cls(kind, Codec(name, int(match["parts"] or 0), 4 if match["fast"] else 8), bool(match["refine"]))

    def __str__(self) -> str:
        codec = f",{self.codec}" if self.codec.name else ""
        return f"{self.kind}{codec}{'+refine' if self.refine else ''}"

    @property
    def factory(self) -> str:
        """The spec as `faiss.index_factory` takes it, rescoring aside."""
        return f"{self.kind.factory}{self.codec.factory}"

    @property
    def exact(self) -> bool:
        """Whether a search finds the best whatever it is told."""
        return self.kind.effort is None

    def check(self, width: int, count: int) -> None:
        """Check that the index can be built over `count` vectors of `width` components.

        Raises:
            InputError: It cannot; the text says what can.
        """
        parts = self.codec.parts
        if parts and width % parts:
            near = min(divisors(width), key=lambda each: abs(each - parts))
            raise InputError(
                f"index spec {self}: {width} components cannot be divided into {parts} parts; use pq{near}"
                f"{'x4' if self.codec.bits == 4 else ''}"
            )
        if self.kind.problem:
            raise InputError(f"index spec {self}: {self.kind.problem}")
        needed = max(self.kind.least_count, self.codec.centroids)
        if count < needed:
            raise InputError(
                f"index spec {self}: needs {needed:,} documents at least, found {count:,}; use flat or {AUTO}"
            )

    def size_warning(self, count: int) -> str:
        """One line about an index that can be built over `count` vectors but is ill-proportioned; empty if none is."""
        needed = max(self.kind.least_count, self.codec.centroids)
        if needed == 1 or count >= POINTS_PER_LIST * needed:
            return ""
        return (
            f"index spec {self}: {count:,} documents are few for it ({POINTS_PER_LIST * needed:,} would be enough); "
            f"{AUTO} may do better"
        )

    def memory(self, width: int, count: int) -> int:
        """Bytes of the index in memory, estimated; vectors for rescoring stay on disk."""
        return count * self.codec.size(width) + self.kind.memory(width, count)


def divisors(width: int) -> list[int]:
    """Numbers of parts of one size that a vector can be divided into, ascending."""
    return [parts for parts in range(1, width + 1) if width % parts == 0]
