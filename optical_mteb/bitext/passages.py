"""Passages: runs of consecutive sentences of one document, joined on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from optical_mteb.bitext.corpus import Pair
from optical_mteb.errors import InputError


def passages(pairs: Sequence[Pair], *, shortest: int = 2, longest: int = 4, seed: int = 0) -> list[Pair]:
    """Cut the documents of a bitext into passages; no sentence is in two of them.

    A document is told by the record ids, `DOCUMENT:NUMBER`, as TICO-19's `tuid` and line-aligned files have them. A
    sentence that was left out ends a passage.

    Args:
        pairs: Pairs in the order of their sources.
        shortest: Fewest sentences of a passage.
        longest: Most sentences of a passage; how many one has is drawn.
        seed: Seed of the lengths.

    Returns:
        Passages as pairs of their language and source, with the id `DOCUMENT:FIRST-LAST`; none where no record id
        tells a document.

    Raises:
        InputError: The lengths are not possible ones.
    """
    if not 2 <= shortest <= longest:
        raise InputError(f"passages of {shortest} to {longest} sentences: expected 2 or more, the larger number last")
    rng = np.random.default_rng(seed)
    found = []
    for run in _runs(pairs):
        start = 0
        while len(run) - start >= shortest:
            chosen = run[start : start + int(rng.integers(shortest, longest + 1))]
            start += len(chosen)
            if len(chosen) >= shortest:
                found.append(_joined(chosen))
    return found


def _runs(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Sentences that follow each other in their document, as long as nothing is missing between them."""
    run: list[Pair] = list(pairs[:1])
    for before, pair in pairwise(pairs):
        if not _follows(before, pair):
            yield run
            run = []
        run.append(pair)
    if run:
        yield run


def _follows(before: Pair, pair: Pair) -> bool:
    if (before.source, before.language) != (pair.source, pair.language):
        return False
    (document, number), (next_document, next_number) = _place(before), _place(pair)
    return document is not None and document == next_document and next_number == number + 1


def _place(pair: Pair) -> tuple[str | None, int]:
    """Document and number of a sentence; None where its id does not tell them."""
    document, colon, number = pair.id.rpartition(":")
    return (document, int(number)) if colon and number.isdecimal() else (None, 0)


def _joined(run: Sequence[Pair]) -> Pair:
    document, first = _place(run[0])
    return Pair(
        english=" ".join(pair.english for pair in run),
        translation=" ".join(pair.translation for pair in run),
        language=run[0].language,
        source=run[0].source,
        id=f"{document}:{first}-{_place(run[-1])[1]}",
    )
