"""Ids, titles and texts of documents as Arrow tables; `documents.arrow` holds an index's, memory-mapped, by position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optical_mteb.errors import InputError, reason_of
from optical_mteb.index.rows import Integers

IDS = pa.schema([("id", pa.string())])
TEXTS = pa.schema([("id", pa.string()), ("title", pa.string()), ("text", pa.string())])


class Documents:
    """The documents of an index, by position. Opening reads the file's footer; rows are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Open a file that `write_documents` wrote.

        Raises:
            InputError: The file is none of that kind.
        """
        try:
            self.table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{path}: truncated or edited ({reason_of(error)}); copy or build the index again"
            ) from error
        if self.table.schema not in (IDS, TEXTS):
            raise InputError(f"{path}: has the columns {self.table.column_names}; copy or build the index again")
        self._starts = np.cumsum([0, *(len(chunk) for chunk in self.table.column("id").chunks)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def has_texts(self) -> bool:
        """Whether titles and texts are kept."""
        return bool(self.table.schema == TEXTS)

    def ids(self, positions: Integers) -> list[str]:
        """The ids of documents."""
        return self._rows("id", positions)

    def texts(self, positions: Integers) -> list[str]:
        """Titles and texts of documents as one; only where they are kept."""
        columns = [pa.array(self._rows(name, positions), pa.string()) for name in TEXTS.names]
        return as_read(pa.table(columns, schema=TEXTS))

    def positions(self, ids: Sequence[str]) -> dict[str, list[int]]:
        """Where documents of these ids stand, ascending; an id that nowhere stands is not a key."""
        found: dict[str, list[int]] = {}
        wanted = pa.array(ids, pa.string())
        for start, chunk in zip(self._starts[:-1], self.table.column("id").chunks, strict=True):
            for row in np.flatnonzero(pc.is_in(chunk, value_set=wanted)):
                found.setdefault(chunk[row].as_py(), []).append(int(start + row))
        return found

    def _rows(self, column: str, positions: Integers) -> list[str]:
        chunks = self.table.column(column).chunks
        found = np.empty(len(positions), dtype=object)
        owners = np.searchsorted(self._starts, positions, side="right") - 1
        order = np.argsort(owners, kind="stable")
        first = np.flatnonzero(np.diff(owners[order], prepend=-1))
        for group in np.split(order, first[1:]) if len(order) else ():
            owner = owners[group[0]]
            rows_of = chunks[owner].take(pa.array(positions[group] - self._starts[owner]))
            found[group] = rows_of.to_numpy(zero_copy_only=False)
        rows: list[str] = found.tolist()
        return rows


def as_read(documents: pa.Table) -> list[str]:
    """What a model reads of each document: as MTEB has it, title and text with a blank between."""
    columns = (documents[name].to_pylist() for name in ("title", "text"))
    return [f"{title} {text}".strip() for title, text in zip(*columns, strict=True)]


def write_documents(path: Path, schema: pa.Schema, parts: Iterable[pa.Table]) -> None:
    """Write a file that `Documents` reads, part by part; of each part, the columns of the schema: `IDS` or `TEXTS`.

    Raises:
        OSError: The file cannot be written.
    """
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for part in parts:
            writer.write_table(part.select(schema.names).cast(schema))
