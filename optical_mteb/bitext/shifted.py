"""Published files whose translations stand some units before or after the English text that they translate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from optical_mteb.bitext.records import RawRecords, Record
from optical_mteb.errors import InputError


class Shift(BaseModel):
    """A range of units whose translations stand elsewhere in the file. Units are counted from 0, in the file's order.

    Attributes:
        first: First unit of the range.
        last: Last unit of the range.
        by: Where the translation stands: that of unit i in unit i + `by`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: int = Field(ge=0)
    last: int = Field(ge=0)
    by: int

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"{self}: last is before first; write the smaller number first")
        if self.by == 0:
            raise ValueError(f"{self}: by is 0, which shifts nothing; remove the range")
        if self.first + self.by < 0:
            raise ValueError(f"{self}: the translation of unit {self.first} would be before the file's first unit, 0")
        return self

    def __str__(self) -> str:
        return f"shift {{first = {self.first}, last = {self.last}, by = {self.by}}}"


def realign(records: RawRecords, shifts: Sequence[Shift], source: str) -> RawRecords:
    """Gives the units of the ranges their translations back.

    A translation that a unit of a range takes is no longer that of the unit in which it stands: a unit that is left
    without one has an empty translation.

    Args:
        records: All units of the file, in its order.
        shifts: Ranges that do not overlap.
        source: The file, for messages.

    Raises:
        InputError: A range reaches beyond the file.
    """
    units = list(records)
    takes_from = {i: i + shift.by for shift in shifts for i in range(shift.first, min(shift.last + 1, len(units)))}
    for shift in shifts:
        reached = max(shift.last, shift.last + shift.by)
        if reached >= len(units):
            raise InputError(
                f"{source}: {shift} reaches unit {reached}, but the file has {len(units)} units, counted from 0; "
                "correct the range, or take the edition of the file that it was written for"
            )
    taken = set(takes_from.values())
    for i, unit in enumerate(units):
        if not isinstance(unit, Record) or (i not in takes_from and i not in taken):
            yield unit
            continue
        holder = units[takes_from[i]] if i in takes_from else None
        yield replace(unit, translation=holder.translation if isinstance(holder, Record) else "")
