"""The rows of a comparison: a subset or a group of subsets, two means, and what their queries say of the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from optical_mteb.scores.per_query import PairedScores
from optical_mteb.scores.significance import (
    Array,
    bootstrap_intervals,
    effect_size,
    holm,
    randomisation_tests,
    sums_by_id,
)


@dataclass(frozen=True)
class Significance:
    """What the scores of single queries say about a difference of means.

    Attributes:
        queries: Number of pairs of scores.
        low: Lower bound of the 95% bootstrap interval of the difference, a fraction of 1.
        high: Upper bound.
        p_value: Of the two-sided paired randomisation test.
        adjusted: The p-value after Holm's correction; None for a group, which is not a member of the family.
        wins: Queries that the model scores higher on than the baseline.
        ties: Queries that both score alike on.
        losses: Queries that the baseline scores higher on.
        effect_size: Standardised mean difference of the pairs, d_z; None where it is not defined.
    """

    queries: int
    low: float
    high: float
    p_value: float
    adjusted: float | None
    wins: int
    ties: int
    losses: int
    effect_size: float | None


@dataclass(frozen=True)
class Row:
    """One score of two models on one subset, or the mean over a group of subsets.

    Attributes:
        task: MTEB's name of the task.
        metric: Name of the score.
        name: The subset, or the group.
        is_group: Whether it is a mean over subsets.
        baseline: Score of the baseline, a fraction of 1.
        model: Score of the model.
        significance: None where a side has no scores by query.
    """

    task: str
    metric: str
    name: str
    is_group: bool
    baseline: float
    model: float
    significance: Significance | None = None

    @property
    def difference(self) -> float:
        """Model minus baseline."""
        return self.model - self.baseline


@dataclass(frozen=True)
class Units:
    """What the tests of a row take.

    Attributes:
        differences: Of every pair of scores, `[n]`.
        signed: Differences of the units whose sign is random under the null hypothesis, `[units]`.
        resampled: Values of the units that are resampled, `[units]`; their mean is the difference.
    """

    differences: Array
    signed: Array
    resampled: Array


def group_row(name: str, rows: Sequence[Row]) -> Row:
    """The mean of the rows of some subsets, each with the same weight."""
    baseline, model = (fmean(getattr(row, side) for row in rows) for side in ("baseline", "model"))
    return Row(rows[0].task, rows[0].metric, name, True, baseline, model)


def units_of(pairs: Sequence[PairedScores]) -> Units:
    """A query id is a unit, with what it adds to the mean over the subsets, each of which has the same weight.

    Subsets that ask the same queries in several languages are not independent of each other, hence one unit for what
    has one id. Values that are resampled are centred by subset, so that a resample keeps the subsets' weights: the
    resampling is stratified to first order where subsets share no id, and that of their mean differences where they
    share all.
    """
    differences = [each.differences for each in pairs]
    if len(pairs) == 1:
        return Units(*differences, *differences, *differences)
    ids = [query for each in pairs for query in each.queries]
    count = len(set(ids))
    weights = [count / (len(pairs) * len(each.queries)) for each in pairs]
    signed = sums_by_id(ids, np.concatenate([w * d for w, d in zip(weights, differences, strict=True)]))
    centred = sums_by_id(ids, np.concatenate([w * (d - d.mean()) for w, d in zip(weights, differences, strict=True)]))
    return Units(np.concatenate(differences), signed, signed.mean() + centred)


def tested(rows: Sequence[tuple[Row, Units | None]]) -> list[Row]:
    """The rows with their significance, where there are units to test.

    Holm's family is all subsets among the rows, for each metric by itself.
    """
    testable = [(row, units) for row, units in rows if units is not None]
    intervals = bootstrap_intervals([units.resampled for _, units in testable])
    p_values = randomisation_tests([units.signed for _, units in testable])
    adjusted: dict[int, float] = {}
    for metric in {row.metric for row, _ in testable}:
        family = [k for k, (row, _) in enumerate(testable) if row.metric == metric and not row.is_group]
        adjusted.update(zip(family, holm(p_values[family]).tolist(), strict=True))
    found = (
        Significance(
            queries=len(units.differences),
            low=float(intervals[k, 0]),
            high=float(intervals[k, 1]),
            p_value=float(p_values[k]),
            adjusted=adjusted.get(k),
            wins=int((units.differences > 0).sum()),
            ties=int((units.differences == 0).sum()),
            losses=int((units.differences < 0).sum()),
            effect_size=effect_size(units.resampled),
        )
        for k, (_, units) in enumerate(testable)
    )
    return [row if units is None else replace(row, significance=next(found)) for row, units in rows]
