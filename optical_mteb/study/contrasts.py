"""Trainings of a study set against each other on the same queries: interference, approaches, and what batches add."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeVar

import numpy as np

from optical_mteb.scores.significance import Array, Replicate
from optical_mteb.study.analysis import Difference, Finding, differences
from optical_mteb.study.replicates import ENGLISH, HIGH, LOW, LOW_TRAINED, NEVER, Point, StudyScores

FIXED = (LOW, HIGH, NEVER, ENGLISH)
"""Groups that have the same languages at every number of pairs."""

_MOST_NAMES = 4
"""Languages that a line names; of more it says how many."""

_Found = TypeVar("_Found")
_Sides = list[tuple[Callable[[Difference], _Found], list[Replicate], list[Replicate]]]
"""What is set against what: what a difference becomes, and the replicates before and after."""


@dataclass(frozen=True)
class Contrast(Finding):
    """A difference between two trainings, on some queries.

    Attributes:
        what: What is set against what, in words.
        group: Group or language of the queries.
        difference: Fractions of 1; p corrected by Holm within its table.
    """

    what: str
    group: str
    difference: Difference


@dataclass(frozen=True)
class Added(Finding):
    """What an approach of other batches adds to the recipe as it is, at a number of pairs.

    Attributes:
        pairs: Number of pairs.
        equal: `steps`, or `tokens` where the recipe's scores are moved to the number of tokens that the approach read.
        tokens: Tokens that the approach read, by those that the recipe did.
        group: Group of the queries.
        difference: Fractions of 1; p corrected by Holm within its table.
    """

    pairs: int
    equal: str
    tokens: float
    group: str
    difference: Difference


def interference(scores: StudyScores) -> Iterator[Contrast]:
    """Low-resource languages trained on, after a step that adds high-resource pairs alone less before it.

    Each language by itself, and all of them together.
    """
    settings = scores.study.settings
    high = set(settings.high_resource)
    sides: _Sides[Contrast] = []
    for budget in settings.budgets:
        for approach in scores.approaches:
            for before, after in pairwise(sorted(settings.pairs)):
                for order, languages in scores.study.orders.items():
                    joined, trained = languages[before:after], languages[:before]
                    low = [each for each in trained if each not in high]
                    if not joined or not set(joined) <= high or not low:
                        continue
                    points: list[Point] = [(approach, budget, number) for number in (before, after)]
                    keys = [key for key in scores.done(points[0], order) if key in scores.done(points[1], order)]
                    what = f"{_names(joined)} join {_names(trained)}"
                    for group in [LOW_TRAINED, *low] if len(low) > 1 else low:
                        pair = [scores.replicates(point, group, keys) for point in points]
                        if all(pair):
                            sides.append((partial(Contrast, approach, budget, what, group), pair[0], pair[1]))
    yield from _tested(sides)


def approaches(scores: StudyScores) -> Iterator[Contrast]:
    """Each approach less each one before it, at the largest number of pairs, over the orders and seeds that both have."""
    most = max(scores.study.settings.pairs)
    every = list(scores.study.settings.approaches)
    sides: _Sides[Contrast] = []
    for budget in scores.study.settings.budgets:
        for approach in scores.approaches:
            for other in every[: every.index(approach)]:
                points: list[Point] = [(name, budget, most) for name in (other, approach)]
                keys = scores.common_keys(points[1], points[0])
                for group in FIXED:
                    before, after = (scores.replicates(point, group, keys) for point in points)
                    if before and after:
                        sides.append((partial(Contrast, approach, budget, f"less {other}", group), before, after))
    yield from _tested(sides)


def added(scores: StudyScores) -> Iterator[Added]:
    """What the approaches of other batches add to the recipe as it is, at each number of pairs.

    At equal tokens, the recipe's score of a query is moved by s log(t), where t is the tokens that the approach read by
    those that the recipe did, and s what a unit of the logarithm of tokens is worth to that query: the recipe's
    difference between its two budgets by that of their logarithms, averaged over what has both.
    """
    plain = scores.study.settings.plain_approach
    if plain is None:
        return
    sides: _Sides[Added] = []
    for group in FIXED:
        worth = _worth_of_tokens(scores, plain, group)
        for budget in scores.study.settings.budgets:
            for approach in scores.batch_approaches:
                for pairs in sorted(scores.study.settings.pairs):
                    points: tuple[Point, Point] = ((plain, budget, pairs), (approach, budget, pairs))
                    keys = scores.common_keys(points[1], points[0])
                    before, after = (scores.replicates(point, group, keys) for point in points)
                    if not before or not after:
                        continue
                    ratios = [scores.tokens(points[1], key) / max(scores.tokens(points[0], key), 1) for key in keys]
                    ratio = float(np.mean(ratios))
                    sides.append((partial(Added, approach, budget, pairs, "steps", ratio, group), before, after))
                    if worth is not None and all(ratios):
                        moved = [
                            Replicate(each.scores + worth * np.log(ratio), each.sentences, each.cluster)
                            for each, ratio in zip(before, ratios, strict=True)
                        ]
                        sides.append((partial(Added, approach, budget, pairs, "tokens", ratio, group), moved, after))
    yield from _tested(sides)


def _worth_of_tokens(scores: StudyScores, approach: str, group: str) -> Array | None:
    """What a unit of the logarithm of the tokens adds to each query of a group; None where budgets do not differ."""
    found = []
    for first, second in pairwise(scores.study.settings.budgets):
        for pairs in scores.study.settings.pairs:
            points: tuple[Point, Point] = ((approach, first, pairs), (approach, second, pairs))
            for key in scores.common_keys(points[0], points[1]):
                tokens = [scores.tokens(point, key) for point in points]
                one, other = (scores.replicates(point, group, [key]) for point in points)
                if one and other and all(tokens) and tokens[0] != tokens[1]:
                    found.append((other[0].scores - one[0].scores) / np.log(tokens[1] / tokens[0]))
    return np.mean(found, axis=0) if found else None


def _names(languages: Sequence[str]) -> str:
    return " ".join(languages) if len(languages) <= _MOST_NAMES else f"{len(languages)} languages"


def _tested(sides: _Sides[_Found]) -> Iterator[_Found]:
    found = differences([(before, after) for _, before, after in sides])
    return (make(difference) for (make, _, _), difference in zip(sides, found, strict=True))
