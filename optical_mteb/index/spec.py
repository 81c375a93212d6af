"""What an index is made of, as a spec that prints as it parses: `flat`, `hnsw32,sq8`, `ivf4096,pq48+refine`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

from optical_mteb.errors import InputError

AUTO = "auto"
EXAMPLES = ("flat", "hnsw32", "hnsw32,sq8", "ivf4096", "ivf4096,sq8", "ivf4096,pq48", "ivf4096,pq192x4")

POINTS_PER_LIST = 39
"""Vectors a list below which FAISS's k-means calls its centroids poorly placed."""

_SPEC = re.compile(
    r"(?P<kind>flat|hnsw(?P<links>[1-9]\d*)|ivf(?P<lists>[1-9]\d*))(,(?P<codec>sq8|pq(?P<parts>[1-9]\d*)(?P<fast>x4)?))?(?P<refine>\+refine)?"
)


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """Structure, code and rescoring of an index; `str` gives what `parse` reads.

    Attributes:
        kind: `flat` compares with every vector, `hnsw` walks a graph, `ivf` looks into the nearest lists of vectors.
        size: Links of a node for `hnsw`, lists for `ivf`, 0 for `flat`.
        codec: How a vector is kept: whole, as one byte a component, or as a code for each of `parts` parts.
        parts: Parts of a vector for `pq`, else 0.
        bits: Bits of the code of a part: 8, or 4 (`x4`), whose tables fit into the registers of a processor, so that many
            vectors are compared at once (Andre, Kermarrec, Le Scouarnec, VLDB 2015).
        refine: Whether the best are scored again with float16 vectors.
    """

    kind: Literal["flat", "hnsw", "ivf"]
    size: int = 0
    codec: Literal["whole", "sq8", "pq"] = "whole"
    parts: int = 0
    bits: Literal[4, 8] = 8
    refine: bool = False

    @classmethod
    def parse(cls, text: str) -> IndexSpec:
        """The spec that a text names.

        Raises:
            InputError: It names none.
        """
        match = _SPEC.fullmatch(text)
        codec = (match["codec"] or "") if match else ""
        kind = re.sub(r"\d", "", match["kind"]) if match else ""
        if not match or (codec and kind == "flat") or (codec.startswith("pq") and kind != "ivf"):
            raise InputError(
                f"index spec {text!r}: expected {AUTO}, or one like {', '.join(EXAMPLES)}, each with +refine if wanted"
            )
        if match["fast"] and not match["refine"]:
            raise InputError(f"index spec {text!r}: codes of 4 bits find too little by themselves; use {text}+refine")
        return cls(
            kind=kind,  # type: ignore[arg-type]
            size=int(match["links"] or match["lists"] or 0),
            codec="pq" if match["parts"] else "sq8" if codec else "whole",
            parts=int(match["parts"] or 0),
            bits=4 if match["fast"] else 8,
            refine=bool(match["refine"]),
        )

    def __str__(self) -> str:
        codec = {"whole": "", "sq8": ",sq8", "pq": f",pq{self.parts}{'x4' if self.bits == 4 else ''}"}[self.codec]
        return f"{self.kind}{self.size or ''}{codec}{'+refine' if self.refine else ''}"

    def factory(self) -> str:
        """The spec as `faiss.index_factory` takes it, rescoring aside."""
        # np: without the reordering of codes that only FAISS's Hamming search uses, and that takes most of the training.
        product = f"PQ{self.parts}x4fs" if self.bits == 4 else f"PQ{self.parts}x8np"
        codec = {"whole": "Flat", "sq8": "SQ8", "pq": product}[self.codec]
        return codec if self.kind == "flat" else f"{self.kind.upper()}{self.size},{codec}"

    @property
    def centroids(self) -> int:
        """Centroids of each part of a product quantizer; 1 where there is none."""
        return 2**self.bits if self.codec == "pq" else 1

    def code_size(self, width: int) -> int:
        """Bytes of the code of a vector of `width` components."""
        return {"whole": 4 * width, "sq8": width, "pq": -(-self.parts * self.bits // 8)}[self.codec]

    def check(self, width: int, count: int, what: str = "documents") -> None:
        """Check that the index can be built over `count` vectors of `width` components.

        Args:
            width: Components.
            count: Vectors.
            what: What they are of, for the error message.

        Raises:
            InputError: It cannot; the text says what can.
        """
        if self.codec == "pq" and width % self.parts:
            near = min(_divisors(width), key=lambda parts: abs(parts - self.parts))
            raise InputError(
                f"index spec {self}: {width} components cannot be divided into {self.parts} parts; use pq{near}"
                f"{'x4' if self.bits == 4 else ''}"
            )
        if self.kind == "hnsw" and self.size < 2:
            raise InputError(f"index spec {self}: a graph needs 2 links a node at least; hnsw32 is common")
        needed = max(self.size if self.kind == "ivf" else 1, self.centroids)
        if count < needed:
            raise InputError(
                f"index spec {self}: needs {needed:,} {what} at least, found {count:,}; use flat or {AUTO}"
            )

    def doubt(self, count: int, what: str = "documents") -> str:
        """One line about an index that can be built over `count` vectors but is ill-proportioned; empty if none is."""
        needed = POINTS_PER_LIST * max(
            self.size if self.kind == "ivf" else 0, self.centroids if self.codec == "pq" else 0
        )
        if count >= needed:
            return ""
        return f"index spec {self}: {count:,} {what} are few for it ({needed:,} would be enough); {AUTO} may do better"

    def memory(self, width: int, count: int) -> int:
        """Bytes of the index in memory, estimated; vectors for rescoring stay on disk."""
        code = self.code_size(width)
        # HNSW: 4 bytes for each of 2 M links on the lowest level, few above; level and offset. IVF: a 64-bit position.
        around = {"flat": 0, "hnsw": 4 * 2 * self.size + 4 * self.size // 8 + 12, "ivf": 8}[self.kind]
        return count * (code + around) + (4 * width * self.size if self.kind == "ivf" else 0)


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen spec and, in one line, why it was chosen."""

    spec: IndexSpec
    reason: str


FLAT_UP_TO = 50_000
"""Documents up to which comparing with every vector takes a few milliseconds."""

SQ8_RECALL = 0.98
"""Recall that one byte a component is trusted to reach by itself."""


def choose(count: int, width: int, *, memory: int, recall: float, tokens: bool = False) -> Choice:
    """Choose a spec.

    The choice falls on the first that fits into memory of: exact search, where there are few documents; lists of
    vectors with one byte a component or, for a recall that this does not reach, with 4 bits for every two, rescored,
    which are read faster; lists with product-quantized codes of fewer bytes, rescored.

    Args:
        count: Documents.
        width: Components of a vector.
        memory: Bytes that the index may take in memory.
        recall: Share of the exact best that searching should find.
        tokens: Whether it is tokens that are counted and indexed; their documents are scored again in any case.

    Raises:
        InputError: No index fits.
    """
    flat = IndexSpec("flat")
    lists = _lists(count)
    what = "tokens" if tokens else "documents"
    by_list = f"{count:,} {what} of {width} components"
    if count <= FLAT_UP_TO and flat.memory(width, count) <= memory:
        return Choice(flat, f"auto: {flat}, as {count:,} {what} are few enough for exact search")
    byte = IndexSpec("ivf", lists, "sq8")
    if recall > SQ8_RECALL and not tokens:
        byte = (
            IndexSpec("ivf", lists, "pq", width // 2, bits=4, refine=True)
            if not width % 2
            else replace(byte, refine=True)
        )
    product = IndexSpec("ivf", lists, "pq", refine=not tokens)
    coarse = [replace(product, parts=parts) for parts in _parts(width)] if count >= product.centroids else []
    for candidate in (byte, *coarse):
        size = candidate.memory(width, count)
        if size <= memory:
            size_of_code = candidate.code_size(width)
            why = "one byte a component" if candidate.codec == "sq8" else f"{size_of_code} bytes a vector"
            again = f", rescored for recall {recall:g}" if candidate.refine else f" is enough for recall {recall:g}"
            again = ", documents scored by MaxSim" if tokens else again
            return Choice(
                candidate,
                f"auto: {candidate}, as {by_list} fit {_gigabytes(memory)} with {why} ({_gigabytes(size)}){again}",
            )
    smallest = min(candidate.memory(width, count) for candidate in (flat, byte, *coarse))
    raise InputError(
        f"index spec {AUTO}: {by_list} need {_gigabytes(smallest)} of memory at least, "
        f"found a budget of {_gigabytes(memory)}; raise it by --memory"
    )


def _lists(count: int) -> int:
    """The power of two nearest to 4 √count, in proportion, and such that every list has enough vectors."""
    wanted = 2 ** round(math.log2(4 * math.sqrt(max(count, 1))))
    most = 2 ** int(math.log2(max(count // POINTS_PER_LIST, 1)))
    return int(min(wanted, most))


def _parts(width: int) -> list[int]:
    """Bytes a vector to try: those that divide its components into parts of 4 to 16, most first."""
    tried = [parts for parts in _divisors(width) if 4 <= width // parts <= 16]
    return sorted(tried or [1], reverse=True)


def _divisors(width: int) -> list[int]:
    return [parts for parts in range(1, width + 1) if width % parts == 0]


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2g} GB" if size >= 1e8 else f"{size / 1e6:.2g} MB"


def parse_memory(text: str) -> int:
    """Bytes that a text like `4GB` or `500 MB` names, in powers of 1,000.

    Raises:
        InputError: It names none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)B", text)
    if match is None or not float(match[1]):
        raise InputError(f"memory {text!r}: expected a number and a unit, as 4GB or 500MB")
    return int(float(match[1]) * 1000 ** " kMGT".index(match[2] or " "))
