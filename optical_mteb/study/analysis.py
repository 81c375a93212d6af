"""What a study's scores say: groups of languages, means and slopes with intervals, differences with p-values.

A replicate is one training of an order of languages and a seed, scored on queries; a query belongs to an English source
sentence, whose translations are queries in other languages. Where replicates of different numbers of pairs are put in
relation, they are of the same orders and seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from optical_mteb.scores.significance import (
    HIERARCHICAL_RESAMPLES,
    Array,
    Replicate,
    hierarchical_means,
    holm,
    percentile_intervals,
    randomisation_tests,
    sums_by_id,
)

Group = Literal["trained", "later", "never", "english"]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95% percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """One side less the other.

    Attributes:
        estimate: The mean difference.
        p: Two-sided paired randomisation test over sentences, queries averaged over replicates, corrected by Holm.
    """

    estimate: Estimate
    p: float


def group_of(language: str, order: Sequence[str], pairs: int) -> Group:
    """How a training on the first `pairs` languages of an order stands to a query language (ISO 639-3)."""
    if language == "eng":
        return "english"
    if language not in order:
        return "never"
    return "trained" if order.index(language) < pairs else "later"


def mean(replicates: Sequence[Replicate], *, resamples: int = HIERARCHICAL_RESAMPLES, seed: int = 0) -> Estimate:
    """Mean over replicates of the mean over their queries, with a hierarchical bootstrap interval.

    Args:
        replicates: Replicates.
        resamples: Resamples.
        seed: Their seed.

    Raises:
        ValueError: There is none.
    """
    return _estimate(_value(replicates), hierarchical_means([replicates], resamples=resamples, seed=seed)[0])


def slope(
    points: Mapping[int, Sequence[Replicate]], *, resamples: int = HIERARCHICAL_RESAMPLES, seed: int = 0
) -> Estimate:
    """Least-squares slope of the mean per doubling of the pairs; all numbers of pairs share the draws of a resample.

    Args:
        points: Replicates by number of pairs, in the same order.
        resamples: Resamples.
        seed: Their seed.

    Raises:
        ValueError: There are fewer than two numbers of pairs, or not as many replicates of each.
    """
    if len(points) < 2 or min(points) < 1:
        raise ValueError(f"a slope needs two numbers of pairs or more, all positive; there are {sorted(points)}")
    doublings = np.log2(np.array(sorted(points), dtype=np.float64))
    centred = doublings - doublings.mean()
    weights = centred / (centred @ centred)
    ordered = [points[pairs] for pairs in sorted(points)]
    value = float(weights @ np.array([_value(replicates) for replicates in ordered]))
    return _estimate(value, weights @ hierarchical_means(ordered, resamples=resamples, seed=seed))


def differences(
    sides: Sequence[tuple[Sequence[Replicate], Sequence[Replicate]]],
    *,
    resamples: int = HIERARCHICAL_RESAMPLES,
    seed: int = 0,
) -> list[Difference]:
    """The second side of each pair less the first; Holm's family is all of them.

    Args:
        sides: Replicates before and after, of the same orders and seeds, on the same queries.
        resamples: Resamples of an interval.
        seed: Their seed.

    Raises:
        ValueError: Two sides have not the same queries.
    """
    changes = [[less(*pair) for pair in zip(after, before, strict=True)] for before, after in sides]
    adjusted = holm(randomisation_tests([_by_sentence(each) for each in changes], seed=seed))
    return [
        Difference(mean(each, resamples=resamples, seed=seed), float(p))
        for each, p in zip(changes, adjusted, strict=True)
    ]


def less(replicate: Replicate, other: Replicate) -> Replicate:
    """A replicate less another one, query by query.

    Raises:
        ValueError: They are of different queries.
    """
    if list(replicate.sentences) != list(other.sentences):
        raise ValueError("the two sides are of different queries")
    return Replicate(replicate.scores - other.scores, replicate.sentences)


def _by_sentence(replicates: Sequence[Replicate]) -> Array:
    """Sums over the queries of each sentence: a sentence takes one sign, and its queries keep their weight."""
    averaged = np.mean([replicate.scores for replicate in replicates], axis=0)
    return sums_by_id(replicates[0].sentences, averaged)


def _value(replicates: Sequence[Replicate]) -> float:
    if not replicates:
        raise ValueError("no replicates to average")
    return float(np.mean([replicate.scores.mean() for replicate in replicates]))


def _estimate(value: float, resampled: Array) -> Estimate:
    low, high = percentile_intervals(resampled[None])[0]
    return Estimate(value, float(low), float(high))
