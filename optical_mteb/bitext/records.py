"""What every reader yields: a raw record, or the place and the reason of a malformed one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Record:
    """One English text and its translation as the publisher's file has them.

    Attributes:
        id: The publisher's record id, or the line number where there is none.
        english: English side, untouched.
        translation: Other side, untouched.
        line: 1-based line of the file, or row of the data set.
        columns: Values of the columns that `keep` looks at, by column name.
    """

    id: str
    english: str
    translation: str
    line: int
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Malformed:
    """A record that cannot be read.

    Attributes:
        where: `file:line`.
        what: What was found and what was expected.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


RawRecords = Iterator[Record | Malformed]
