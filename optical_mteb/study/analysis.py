"""What a study's scores say: groups of languages, means and slopes with intervals, differences with p-values.

A replicate is one training of an order of languages and a seed, scored on queries; a query belongs to an English source
sentence, whose translations are queries in other languages. The seeds of an order are a cluster. Where replicates of
different numbers of pairs are put in relation, they are of the same orders and seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from optical_mteb.scores.significance import (
    Array,
    Replicate,
    clusters,
    hierarchical_means,
    holm,
    percentile_intervals,
    randomisation_tests,
    replicate_weights,
    sums_by_id,
)

Group = Literal["trained", "later", "never", "english"]

NORMAL_WIDTH = 2 * 1.959964
"""Width of a 95% interval of a normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95% percentile interval."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """Of the interval."""
        return self.high - self.low


@dataclass(frozen=True)
class Finding:
    """Something about the trainings of one approach and budget.

    Attributes:
        approach: Name of the approach.
        budget: `per_pair` or `total`.
    """

    approach: str
    budget: str


@dataclass(frozen=True)
class Difference:
    """One side less the other.

    Attributes:
        estimate: The mean difference.
        p: Two-sided paired randomisation test over sentences, queries averaged over replicates, corrected by Holm.
    """

    estimate: Estimate
    p: float


@dataclass(frozen=True)
class Curve:
    """Means by number of pairs, and those of resamples.

    Attributes:
        pairs: Numbers of pairs, ascending, `[p]`.
        values: Means, `[p]`.
        resampled: Means of resamples, `[p, resamples]`; all numbers of pairs share the draws.
        by_cluster: Means of each order of languages, `[p, orders]`.
    """

    pairs: tuple[int, ...]
    values: Array
    resampled: Array
    by_cluster: Array

    @property
    def doublings(self) -> Array:
        """Logarithms of the numbers of pairs to the base 2, `[p]`."""
        return np.log2(np.array(self.pairs, dtype=np.float64))


def group_of(language: str, order: Sequence[str], pairs: int) -> Group:
    """How a training on the first `pairs` languages of an order stands to a query language (ISO 639-3)."""
    if language == "eng":
        return "english"
    if language not in order:
        return "never"
    return "trained" if order.index(language) < pairs else "later"


def mean(replicates: Sequence[Replicate]) -> Estimate:
    """Mean over replicates of the mean over their queries, with a hierarchical bootstrap interval."""
    return estimate(_value(replicates), hierarchical_means([replicates])[0])


def curve(points: Mapping[int, Sequence[Replicate]]) -> Curve:
    """Means by number of pairs, of two numbers or more; all of them share the draws of a resample.

    Raises:
        ValueError: There are not as many replicates of each.
    """
    pairs = tuple(sorted(points))
    ordered = [points[number] for number in pairs]
    members = clusters(ordered[0])
    by_cluster = [
        [np.mean([replicates[place].scores.mean() for place in places]) for places in members] for replicates in ordered
    ]
    values = np.array([_value(replicates) for replicates in ordered])
    return Curve(pairs, values, hierarchical_means(ordered), np.array(by_cluster))


def slope(curve: Curve) -> Estimate:
    """Least-squares slope of the mean per doubling of the pairs, with the interval of the slopes of the resamples."""
    weights = _slope_weights(curve)
    return estimate(float(weights @ curve.values), weights @ curve.resampled)


def orders_needed(curve: Curve, width: float) -> float | None:
    """Orders of languages, one seed each, with which the interval of the slope would be this wide.

    The variance of the slope is that between orders, divided by their number, and a rest from the queries that all
    orders share (analysis of variance of a two-way layout, Cochran 1977, section 10.3). More orders divide the first.
    The width is that of a 95% interval, as if the slope were normally distributed.

    Returns:
        None where it cannot be said from one order, or the queries alone make it wider.
    """
    number = curve.by_cluster.shape[1]
    if number < 2:
        return None
    weights = _slope_weights(curve)
    between = float(np.var(weights @ curve.by_cluster, ddof=1))
    total = (slope(curve).width / NORMAL_WIDTH) ** 2
    # A bootstrap of n orders has (n - 1) / n of the variance of their mean.
    rest = max(0.0, total - between * (number - 1) / number**2)
    left = (width / NORMAL_WIDTH) ** 2 - rest
    return between / left if left > 0 else None


def differences(sides: Sequence[tuple[Sequence[Replicate], Sequence[Replicate]]]) -> list[Difference]:
    """The second side of each pair less the first; Holm's family is all of them.

    Args:
        sides: Replicates before and after, of the same orders and seeds, on the same queries.

    Raises:
        ValueError: Two sides have not the same queries.
    """
    changes = [[less(*pair) for pair in zip(after, before, strict=True)] for before, after in sides]
    adjusted = holm(randomisation_tests([_by_sentence(each) for each in changes]))
    return [Difference(mean(each), float(p)) for each, p in zip(changes, adjusted, strict=True)]


def less(replicate: Replicate, other: Replicate) -> Replicate:
    """A replicate less another one, query by query.

    Raises:
        ValueError: They are of different queries.
    """
    if list(replicate.sentences) != list(other.sentences):
        raise ValueError("the two sides are of different queries")
    return Replicate(replicate.scores - other.scores, replicate.sentences, replicate.cluster)


def estimate(value: float, resampled: Array) -> Estimate:
    """A number with the percentile interval of those of resamples, `[resamples]`."""
    low, high = percentile_intervals(resampled[None].copy())[0]
    return Estimate(value, float(low), float(high))


def _slope_weights(curve: Curve) -> Array:
    """What each mean weighs in the least-squares slope."""
    centred = curve.doublings - curve.doublings.mean()
    weights: Array = centred / (centred @ centred)
    return weights


def _by_sentence(replicates: Sequence[Replicate]) -> Array:
    """Sums over the queries of each sentence: a sentence takes one sign, and its queries keep their weight."""
    averaged = replicate_weights(replicates) @ np.stack([replicate.scores for replicate in replicates])
    return sums_by_id(replicates[0].sentences, averaged)


def _value(replicates: Sequence[Replicate]) -> float:
    return float(replicate_weights(replicates) @ np.array([replicate.scores.mean() for replicate in replicates]))
