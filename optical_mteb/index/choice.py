"""`auto`: the spec that fits a number of vectors, the memory and the recall."""

from __future__ import annotations

import math
import os
import re

from optical_mteb.errors import InputError
from optical_mteb.index.flat import Flat
from optical_mteb.index.ivf import Ivf
from optical_mteb.index.spec import AUTO, POINTS_PER_LIST, Codec, IndexSpec, divisors

FLAT_UP_TO = 50_000
"""Vectors up to which comparing with every one takes a few milliseconds."""

SQ8_RECALL = 0.98
"""Recall that one byte a component is trusted to reach by itself."""


def choose(
    count: int, width: int, *, memory: int | None, recall: float, tokens: int | None = None
) -> tuple[IndexSpec, str]:
    """Choose a spec; in one line, why it was chosen.

    The choice falls on the first that fits into memory of: exact search, where there are few vectors; lists of
    vectors with one byte a component or, for a recall that this does not reach, with 4 bits for every two, rescored,
    which are read faster; lists with product-quantized codes of fewer bytes, rescored.

    Args:
        count: Documents.
        width: Components of a vector.
        memory: Bytes that the index may take in memory; half of the machine's where it is None.
        recall: Share of the exact best that searching should find.
        tokens: Rows of all documents, for late interaction, where the best are always scored again; else None.

    Raises:
        InputError: No index fits.
    """
    memory = memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    late = tokens is not None
    flat = IndexSpec(Flat(), refine=late and (tokens or 0) > FLAT_UP_TO)
    if count <= FLAT_UP_TO and flat.memory(width, count) <= memory:
        rows = f"{tokens:,} tokens" if late and not flat.refine else f"{count:,} documents"
        again = ", scored again by MaxSim" if flat.refine else ""
        return flat, f"auto: {flat}, as {rows} are few enough for exact search{again}"
    candidates = _lists_of_codes(count, width, recall, late=late)
    for candidate in candidates:
        size = candidate.memory(width, count)
        if size <= memory:
            code = candidate.codec
            why = "one byte a component" if code.name == "sq8" else f"{code.size(width)} bytes a vector"
            again = f", rescored for recall {recall:g}" if candidate.refine else f" is enough for recall {recall:g}"
            return candidate, (
                f"auto: {candidate}, as {count:,} documents of {width} components fit {_gigabytes(memory)} with {why} "
                f"({_gigabytes(size)}){again}"
            )
    smallest = min(candidate.memory(width, count) for candidate in (flat, *candidates))
    raise InputError(
        f"index spec {AUTO}: {count:,} documents of {width} components need {_gigabytes(smallest)} of memory at least, "
        f"found a budget of {_gigabytes(memory)}; raise it by --memory"
    )


def _lists_of_codes(count: int, width: int, recall: float, *, late: bool) -> list[IndexSpec]:
    """Specs of lists to try, largest codes first."""
    lists = Ivf(_lists(count))
    byte = IndexSpec(lists, Codec("sq8"), refine=recall > SQ8_RECALL or late)
    if byte.refine and not width % 2:
        byte = IndexSpec(lists, Codec("pq", width // 2, 4), refine=True)
    # Bytes a vector: those that divide its components into parts of 4 to 16, most first.
    tried = [parts for parts in divisors(width) if 4 <= width // parts <= 16] or [1]
    coarse = [IndexSpec(lists, Codec("pq", parts), refine=True) for parts in reversed(tried)]
    return [byte, *(coarse if count >= coarse[0].codec.centroids else [])]


def _lists(count: int) -> int:
    """The power of two nearest to 4 √count, in proportion, and such that every list has enough vectors."""
    wanted = 2 ** round(math.log2(4 * math.sqrt(max(count, 1))))
    most = 2 ** int(math.log2(max(count // POINTS_PER_LIST, 1)))
    return int(min(wanted, most))


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
