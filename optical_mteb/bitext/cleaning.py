"""Text normalisation and the test that two sides can be translations of each other."""

from __future__ import annotations

import unicodedata


def clean(text: str) -> str:
    """The text in Unicode NFC, every run of white space one blank, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def lengths_agree(english: str, translation: str, *, max_ratio: float, slack: int = 20) -> bool:
    """Whether the longer side has at most `max_ratio * shorter + slack` characters.

    The slack lets short names pass ("UK" and a spelled-out country name); sentences of usual length feel the ratio only.
    Scripts whose characters are syllables (Ethiopic) stay within a ratio of 2.

    Args:
        english: One side.
        translation: Other side.
        max_ratio: Longest allowed side as a multiple of the other.
        slack: Characters that the longer side may have on top.
    """
    shorter, longer = sorted((len(english), len(translation)))
    return longer <= max_ratio * shorter + slack
