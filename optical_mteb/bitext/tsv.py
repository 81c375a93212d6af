"""Tab-separated text without quoting (Tatoeba's exports, page-aligned stories)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from optical_mteb.bitext.lines import read_lines
from optical_mteb.bitext.records import Malformed, RawRecords, Record
from optical_mteb.errors import InputError


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
