"""Text normalisation and the test that two sides can be translations of each other."""

from __future__ import annotations

import unicodedata

_BYTE_ORDER_MARK = "\ufeff"
_SLACK = 20
# Hangul fillers and the empty Braille cell count as letter or symbol, and variation selectors as marks.
_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f" + "".join(map(chr, range(0xFE00, 0xFE10))))


def clean(text: str) -> str:
    """The text in Unicode NFC, every run of white space one blank, none at the ends.

    Byte order marks are dropped; a text that shows nothing at all is empty.
    """
    cleaned = " ".join(unicodedata.normalize("NFC", text.replace(_BYTE_ORDER_MARK, "")).split())
    return cleaned if any(map(_shows, cleaned)) else ""


def _shows(character: str) -> bool:
    return character not in _INVISIBLE and unicodedata.category(character) not in ("Cc", "Cf", "Zs")


def same_text(text: str) -> str:
    """What two texts, as `clean` leaves them, share that say the same: case and punctuation at the ends do not count.

    A text of punctuation alone stays as it is, but for case.
    """
    folded = unicodedata.normalize("NFC", text.casefold())
    start, end = 0, len(folded)
    while start < end and _is_punctuation(folded[start]):
        start += 1
    while end > start and _is_punctuation(folded[end - 1]):
        end -= 1
    return folded[start:end] or folded


def _is_punctuation(character: str) -> bool:
    return character.isspace() or unicodedata.category(character).startswith("P")


def lengths_agree(english: str, translation: str, *, max_ratio: float) -> bool:
    """Whether the longer side has at most `max_ratio * shorter + 20` characters.

    The 20 let short names pass ("UK" and a spelled-out country name); sentences of usual length feel the ratio only.
    Scripts whose characters are syllables (Ethiopic) stay within a ratio of 2.
    """
    shorter, longer = sorted((len(english), len(translation)))
    return longer <= max_ratio * shorter + _SLACK
