"""Scores of trainings that were run again, against the table of a study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from optical_mteb.study.table import TableRow

TOLERANCE = 0.005
"""Largest difference of a mean score from the table's: threads and processors round otherwise, and add up otherwise."""

IN_BFLOAT16 = 0.02
"""The same where either was computed in bfloat16: another number of threads makes 0.006, and float32 0.012, of a difference."""


def agree(rows: Iterable[TableRow], table: Sequence[TableRow]) -> tuple[bool, str]:
    """Compare the scores of trainings with those of the same trainings in a table.

    A training is known again by its approach, languages, steps and seed: fingerprints change when recipes gain keys.

    Returns:
        Whether there are scores to compare, and none is further off than its tolerance; and that in one line.
    """
    in_table = {_key(row): row for row in table}
    pairs = [(row, in_table[key]) for key, row in {_key(row): row for row in rows}.items() if key in in_table]
    if not pairs:
        return False, "none of these trainings is in that table"
    own, known = max(pairs, key=lambda pair: abs(pair[0].value - pair[1].value) / _tolerance(*pair))
    tolerance = _tolerance(own, known)
    return abs(own.value - known.value) <= tolerance, (
        f"{len(pairs):,} scores compared; the furthest off is {own.task} {own.subset} {own.metric}: "
        f"{100 * own.value:.2f} here in {own.precision}, {100 * known.value:.2f} in the table in {known.precision} "
        f"(tolerance {100 * tolerance:g} points)"
    )


def _key(row: TableRow) -> tuple[str | int, ...]:
    seed = row.seed if row.steps else 0
    return (row.approach, row.trained, row.steps, seed, row.task, row.subset, row.metric)


def _tolerance(own: TableRow, known: TableRow) -> float:
    return TOLERANCE if own.precision == known.precision == "float32" else IN_BFLOAT16
