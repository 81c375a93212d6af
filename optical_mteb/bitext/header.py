"""A first row that names the columns although the recipe does not say so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from optical_mteb.bitext.records import Malformed, RawRecords, Record

_ENGLISH = frozenset({"en", "eng", "english", "source", "src"})
_TRANSLATION = frozenset({"target", "tgt", "trg", "translation"})


def without_header(records: RawRecords, path: Path, language: str) -> Iterator[Record | Malformed]:
    """The records of a table; a first one that names its columns (`en`, `text_swh`) comes as malformed, with what to do.

    Args:
        records: What was read.
        path: The file.
        language: ISO 639-3 code of the other side.
    """
    for first in records:
        if isinstance(first, Record) and _names_columns(first, language):
            named = f"{first.english!r} and {first.translation!r} name columns and are no texts; set header = true"
            yield Malformed(f"{path}:{first.line}", named)
        else:
            yield first
        break
    yield from records


def _names_columns(record: Record, language: str) -> bool:
    english, translation = _words(record.english), _words(record.translation)
    if english.isdisjoint(_ENGLISH):
        return False
    return not translation.isdisjoint(_TRANSLATION | {language}) or not translation.isdisjoint(_languages())


def _words(name: str) -> frozenset[str]:
    """The words of a column's name, none where a blank stands between them: that is a text."""
    return frozenset() if " " in name.strip() else frozenset(re.split(r"[\W_]+", name.strip().casefold()))


@lru_cache(maxsize=1)
def _languages() -> frozenset[str]:
    """Codes and English names of all languages."""
    from babel import Locale

    named = Locale("en").languages.items()
    return frozenset(word.casefold() for code, name in named for word in (code, name)) - _ENGLISH
