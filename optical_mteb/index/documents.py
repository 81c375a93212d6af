"""`documents.arrow`: ids of documents by position, and their titles and texts where they are kept; memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from optical_mteb.errors import InputError

Integers = NDArray[np.int64]
"""Positions of documents."""

IDS = pa.schema([("id", pa.string())])
TEXTS = pa.schema([("id", pa.string()), ("title", pa.string()), ("text", pa.string())])


class Documents:
    """The documents of an index, by position. Opening reads the file's footer; rows are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Args:
            path: What `writing` wrote.

        Raises:
            InputError: The file is none of that kind.
        """
        try:
            self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{path}: truncated or edited ({_one_line(error)}); copy or build the index again"
            ) from error
        if self._table.schema not in (IDS, TEXTS):
            raise InputError(f"{path}: has the columns {self._table.column_names}; copy or build the index again")
        self._starts = np.cumsum([0, *(len(chunk) for chunk in self._table.column("id").chunks)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def has_texts(self) -> bool:
        """Whether titles and texts are kept."""
        return bool(self._table.schema == TEXTS)

    def ids(self, positions: Integers) -> list[str]:
        """The ids of documents."""
        return self._rows("id", positions)

    def texts(self, positions: Integers) -> list[str]:
        """Titles and texts of documents as one; only where they are kept."""
        columns = (self._rows("title", positions), self._rows("text", positions))
        return [f"{title} {text}".strip() for title, text in zip(*columns, strict=True)]

    def positions(self, ids: Sequence[str]) -> dict[str, list[int]]:
        """Where documents of these ids stand, ascending; an id that nowhere stands is not a key."""
        found: dict[str, list[int]] = {}
        wanted = pa.array(ids, pa.string())
        for start, chunk in zip(self._starts[:-1], self._table.column("id").chunks, strict=True):
            for row in np.flatnonzero(pc.is_in(chunk, value_set=wanted)):
                found.setdefault(chunk[row].as_py(), []).append(int(start + row))
        return found

    def batches(self) -> list[pa.RecordBatch]:
        """All documents."""
        batches: list[pa.RecordBatch] = self._table.to_batches()
        return batches

    def _rows(self, column: str, positions: Integers) -> list[str]:
        chunks = self._table.column(column).chunks
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


@contextmanager
def writing(path: Path, schema: pa.Schema) -> Iterator[Any]:
    """A writer of a file that `Documents` reads, batch by batch.

    Args:
        path: The file.
        schema: `IDS` or `TEXTS`.

    Raises:
        OSError: The file cannot be written.
    """
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        yield writer


def as_batch(ids: Sequence[str], titles: Sequence[str], texts: Sequence[str], schema: pa.Schema) -> pa.RecordBatch:
    """Documents as a batch; titles and texts are left out where the schema has none."""
    columns = {"id": ids, "title": titles, "text": texts}
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
