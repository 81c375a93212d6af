"""Scores of trainings that were run again, against the table of a study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from optical_mteb.study.table import TableRow

TOLERANCE = 0.005
"""Largest difference of a mean score from the table's: threads and processors round otherwise, and add up otherwise."""

IN_BFLOAT16 = 0.02
"""The same where either was computed in bfloat16: another number of threads makes 0.006, and float32 0.012, of a difference."""


@dataclass(frozen=True)
class Agreement:
    """How far scores are from a table's.

    Attributes:
        compared: Scores that both have.
        furthest: The two rows that differ most for their tolerance; None where nothing was compared.
    """

    compared: int
    furthest: tuple[TableRow, TableRow] | None

    @property
    def difference(self) -> float:
        """What they differ by, a fraction of 1."""
        return abs(self.furthest[0].value - self.furthest[1].value) if self.furthest else 0.0

    @property
    def tolerance(self) -> float:
        """What the two rows may differ by, a fraction of 1."""
        return _tolerance(*self.furthest) if self.furthest else TOLERANCE

    @property
    def holds(self) -> bool:
        """Whether there are scores to compare, and none is further off than its tolerance."""
        return self.compared > 0 and self.difference <= self.tolerance

    def __str__(self) -> str:
        """In one line."""
        if self.furthest is None:
            return "none of these trainings is in that table"
        own, known = self.furthest
        return (
            f"{self.compared:,} scores compared; the furthest off is {own.task} {own.subset} {own.metric}: "
            f"{100 * own.value:.2f} here in {own.precision}, {100 * known.value:.2f} in the table in {known.precision} "
            f"(tolerance {100 * self.tolerance:g} points)"
        )


def agree(rows: Iterable[TableRow], table: Sequence[TableRow]) -> Agreement:
    """Compare the scores of trainings with those of the same trainings in a table.

    A training is known again by its approach, languages, steps and seed: fingerprints change when recipes gain keys.

    Args:
        rows: Rows of what was run.
        table: Rows of the table.
    """
    known = {_key(row): row for row in table}
    own = {_key(row): row for row in rows}
    pairs = [(row, known[key]) for key, row in own.items() if key in known]
    return Agreement(
        len(pairs), max(pairs, key=lambda pair: abs(pair[0].value - pair[1].value) / _tolerance(*pair), default=None)
    )


def _key(row: TableRow) -> tuple[str | int, ...]:
    seed = row.seed if row.steps else 0
    return (row.approach, row.trained, row.steps, seed, row.task, row.subset, row.metric)


def _tolerance(own: TableRow, known: TableRow) -> float:
    return TOLERANCE if own.precision == known.precision == "float32" else IN_BFLOAT16
