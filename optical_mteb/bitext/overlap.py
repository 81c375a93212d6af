"""Pairs of a bitext that a test collection has, too: equal sentences, and runs of 13 words for longer texts.

Thirteen words are what GPT-3's authors take a text to be known by (Brown et al., 2020, appendix C).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from optical_mteb.bitext.corpus import Pair

WORDS = 13
"""Length of a run of words that tells a text."""

SHORTEST = 4
"""Words of a sentence in a longer text, at least; a text of its own may be shorter."""

_SENTENCE_END = re.compile(r"(?<=[.!?。।؟።])\s+|\n+")
_FACTOR = 0x9E3779B97F4A7C15

Hashes = NDArray[np.uint64]


class Sides:
    """Both sides of the pairs of a bitext, to look texts up in.

    Case, punctuation and white space make no difference. Languages that are written without spaces are told by whole
    sentences alone.

    Args:
        pairs: The pairs.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        owners: dict[str, list[int]] = {}
        for number, pair in enumerate(pairs):
            for text in (pair.english, pair.translation):
                owners.setdefault(text, []).append(number)
        self._whole: dict[str, list[int]] = {}
        for text, numbers in owners.items():
            self._whole.setdefault(normalized(text), []).extend(numbers)
        self._whole.pop("", None)
        self._owners = list(self._whole.values())
        runs, places = _runs(normal.split() for normal in self._whole)
        order = np.argsort(runs, kind="stable")
        self._runs, self._places = runs[order], places[order]

    def shared_with(self, texts: Iterable[str]) -> set[int]:
        """Numbers of the pairs of which a side is one of these texts or a sentence in one, or shares 13 words with one.

        Args:
            texts: Queries and documents of a collection.
        """
        normal = {text: normalized(text) for text in texts}
        sentences = set(normal.values())
        for text in normal:
            sentences.update(each for each in map(normalized, _sentences(text)) if each.count(" ") >= SHORTEST - 1)
        shared = set(chain.from_iterable(self._whole[each] for each in sentences & self._whole.keys()))
        runs, _ = _runs(each.split() for each in set(normal.values()))
        for place in np.unique(self._places[np.isin(self._runs, runs)]):
            shared.update(self._owners[place])
        return shared


class _Blanks(dict[int, int]):
    """A table for `str.translate` that turns punctuation and symbols into blanks, filled as characters come."""

    def __missing__(self, code: int) -> int:
        self[code] = ord(" ") if unicodedata.category(chr(code))[0] in "PSZC" else code
        return self[code]


_BLANKS = _Blanks()


def normalized(text: str) -> str:
    """A text in lower case, its words apart by one blank, without punctuation and symbols."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().translate(_BLANKS).split())


def _sentences(text: str) -> Iterator[str]:
    parts = _SENTENCE_END.split(text)
    return iter(parts if len(parts) > 1 else ())


def _runs(texts: Iterable[Sequence[str]]) -> tuple[Hashes, NDArray[np.int64]]:
    """Hash of every run of 13 words of the texts, and the number of its text; shorter texts have none."""
    words: list[int] = []
    lengths = []
    for text in texts:
        words.extend(map(hash, text))
        lengths.append(len(text))
    own = np.array(words, np.int64).view(np.uint64)
    count = max(len(own) - WORDS + 1, 0)
    runs = np.zeros(count, np.uint64)
    for offset in range(WORDS):
        runs = runs * np.uint64(_FACTOR) + own[offset : offset + count]
    numbers = np.repeat(np.arange(len(lengths)), lengths)
    within = numbers[:count] == numbers[WORDS - 1 : WORDS - 1 + count]
    return runs[within], numbers[:count][within]
