"""Moses format: two text files, line n of one is the translation of line n of the other (OPUS, HornMT, ALT)."""

from __future__ import annotations

from pathlib import Path

from optical_mteb.bitext.lines import count_lines, read_lines
from optical_mteb.bitext.records import Malformed, RawRecords, Record
from optical_mteb.errors import InputError


def read_moses(english: Path, translation: Path) -> RawRecords:
    """Pairs of lines; a line that is blank on a side comes as a record with an empty text.

    The id is `ARTICLE:LINE`: a line that is blank on both sides ends an article (OPUS), which are counted from 0, lines
    from 1. So `*[05]:*` are the lines of the articles whose number 5 divides.

    Raises:
        InputError: The files differ in their number of lines, found before the first record is read.
    """
    counts = count_lines(english), count_lines(translation)
    if counts[0] != counts[1]:
        raise InputError(
            f"{english} has {counts[0]} lines and {translation} {counts[1]}: line-aligned files have the same number; "
            "take both from the same release"
        )
    article, begun = 0, False
    for (number, left), (_, right) in zip(read_lines(english), read_lines(translation), strict=True):
        malformed = next((side for side in (left, right) if isinstance(side, Malformed)), None)
        yield malformed or Record(f"{article}:{number}", str(left), str(right), number)
        blank = malformed is None and not str(left).strip() and not str(right).strip()
        article += blank and begun
        begun = not blank
