"""Tab-separated text without quoting (Tatoeba's exports, page-aligned stories), and a head that was not announced."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from optical_mteb.bitext.lines import read_lines
from optical_mteb.bitext.records import Malformed, RawRecords, Record
from optical_mteb.errors import InputError

_ENGLISH = frozenset({"en", "eng", "english", "source", "src"})
_TRANSLATION = frozenset({"target", "tgt", "trg", "translation"})


def read_tsv(
    path: Path,
    *,
    english_column: str | int = 0,
    translation_column: str | int = 1,
    id_column: str | int | None = None,
    header: bool = False,
    keep_columns: Sequence[str] = (),
) -> RawRecords:
    """Rows of the file; quotes are text. A blank line comes as a record with two empty texts.

    The first row sets the number of columns; a later row with another number is malformed.

    Args:
        path: The file.
        english_column: Column of the English side: a name where there is a header, a 0-based number anywhere.
        translation_column: Column of the other side.
        id_column: Column of the record id; the line number stands in for it.
        header: Whether the first line names the columns.
        keep_columns: Columns whose values the records carry.

    Raises:
        InputError: A column does not exist.
    """
    columns: int | None = None
    for number, line in read_lines(path):
        if isinstance(line, Malformed):
            yield line
            continue
        if not line.strip(" "):
            yield Record(str(number), "", "", number)
            continue
        cells = line.split("\t")
        if columns is None:
            columns = len(cells)
            names = cells if header else None
            where = f"{path}:{number}"
            english, translation = (
                _index(column, cells, names, where) for column in (english_column, translation_column)
            )
            record_id = None if id_column is None else _index(id_column, cells, names, where)
            kept = {name: _index(name, cells, names, where) for name in keep_columns}
            if header:
                continue
        if len(cells) != columns:
            yield Malformed(f"{path}:{number}", f"{len(cells)} columns, expected {columns} as on the first line")
        else:
            yield Record(
                str(number) if record_id is None else cells[record_id],
                cells[english],
                cells[translation],
                number,
                {name: cells[index] for name, index in kept.items()},
            )


def _index(column: str | int, cells: Sequence[str], names: Sequence[str] | None, where: str) -> int:
    if isinstance(column, str) and names is not None:
        if column not in names:
            raise InputError(f"{where}: no column {column!r}; the header has {', '.join(names)}")
        return names.index(column)
    if isinstance(column, str) and not column.isdecimal():
        raise InputError(f"{where}: column {column!r} is a name; set header = true or give its 0-based number")
    if int(column) >= len(cells):
        raise InputError(f"{where}: no column {column}; the line has {len(cells)}, counted from 0")
    return int(column)


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
