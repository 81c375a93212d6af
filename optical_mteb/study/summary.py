"""What a study found: means, slopes, the form of curves, relatedness and contrasts, from the scores of its trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from optical_mteb.scores.significance import Array, Replicate
from optical_mteb.study.analysis import Estimate, curve, mean, orders_needed, slope
from optical_mteb.study.cells import CellRecord
from optical_mteb.study.contrasts import FIXED, Added, Contrast, added, approaches, interference
from optical_mteb.study.grid import ZERO_SHOT, Budget
from optical_mteb.study.jobs import Study
from optical_mteb.study.relatedness import Relatedness, relatedness
from optical_mteb.study.replicates import CHANGING, GROUPS, RELATIONS, Point, StudyScores
from optical_mteb.study.saturation import FEWEST, Fit, fit_forms

AIM = 0.005
"""Width of a slope's interval that is narrow enough to be an answer."""


@dataclass(frozen=True)
class Mean:
    """A mean of the study.

    Attributes:
        approach: Name of the approach.
        budget: `per_pair` or `total`.
        pairs: Number of pairs.
        group: One of `GROUPS`, or a part of the languages never trained on.
        estimate: Fractions of 1.
    """

    approach: str
    budget: str
    pairs: int
    group: str
    estimate: Estimate


@dataclass(frozen=True)
class Slope:
    """What a doubling of the pairs adds; of groups that change with the pairs, to the gain on zero-shot.

    Attributes:
        approach: Name of the approach.
        budget: `per_pair` or `total`.
        group: One of `GROUPS`, or a part of the languages never trained on.
        estimate: Fractions of 1.
        orders: Orders of languages that it is from.
        orders_needed: Orders for an interval as wide as `AIM`, as `analysis.orders_needed` has them.
        fits: Forms of the curve, the best first; none of a curve that is short, or not of a main approach.
    """

    approach: str
    budget: str
    group: str
    estimate: Estimate
    orders: int
    orders_needed: float | None
    fits: list[Fit] = field(default_factory=list)


@dataclass(frozen=True)
class Related:
    """What it adds to a language that is not trained on that a training has a related one.

    Attributes:
        approach: Name of the approach.
        budget: `per_pair` or `total`.
        relation: One of `RELATIONS`.
        effect: Fractions of 1.
    """

    approach: str
    budget: str
    relation: str
    effect: Relatedness


@dataclass(frozen=True)
class StudySummary:
    """All that a document of a study says.

    Attributes:
        means: Means by approach, budget, pairs and group.
        breakdown: The same of the languages never trained on by family and by script, for the main approaches.
        slopes: Slopes, those of the breakdown last.
        steeper: Slopes of what other batches add to the recipe as it is; `approach` is the one of other batches.
        related: What a related language adds.
        interference: Low-resource languages trained on, before and after pairs of high-resource languages joined.
        added: What other batches add to the recipe as it is, by number of pairs.
        approaches: Each approach less each other one at the largest number of pairs.
        done: Trainings that are done.
        trainings: Trainings of the study.
    """

    means: list[Mean] = field(default_factory=list)
    breakdown: list[Mean] = field(default_factory=list)
    slopes: list[Slope] = field(default_factory=list)
    steeper: list[Slope] = field(default_factory=list)
    related: list[Related] = field(default_factory=list)
    interference: list[Contrast] = field(default_factory=list)
    added: list[Added] = field(default_factory=list)
    approaches: list[Contrast] = field(default_factory=list)
    done: int = 0
    trainings: int = 0

    def orders(self, approach: str) -> int:
        """Most orders of languages that a slope of an approach is from."""
        return max((each.orders for each in self.slopes if each.approach == approach), default=0)


def summarise(study: Study, records: Mapping[str, CellRecord]) -> StudySummary:
    """The statistics of what is done; a number of pairs of which a seed or an order is missing is left out."""
    scores = StudyScores(study, records)
    return StudySummary(
        means=list(_means(scores, GROUPS, list(study.settings.approaches))),
        breakdown=list(_means(scores, scores.breakdown, [ZERO_SHOT, *scores.main_approaches])),
        slopes=[
            *_slopes(scores, GROUPS, scores.approaches),
            *_slopes(scores, scores.breakdown, scores.main_approaches),
        ],
        steeper=list(_steeper(scores)),
        related=list(_related(scores)),
        interference=list(interference(scores)),
        added=list(added(scores)),
        approaches=list(approaches(scores)),
        done=len(records),
        trainings=len(study.jobs),
    )


def _means(scores: StudyScores, groups: Sequence[str], names: Sequence[str]) -> Iterator[Mean]:
    for point in scores.points:
        for group in groups:
            replicates = scores.replicates(point, group) if point[0] in names else []
            if replicates:
                yield Mean(*point, group, mean(replicates))


def _slopes(scores: StudyScores, groups: Sequence[str], names: Sequence[str]) -> Iterator[Slope]:
    main = scores.main_approaches
    for budget in scores.study.settings.budgets:
        for approach in names:
            for group in groups:
                replicates = scores.gains if group in CHANGING else scores.replicates
                points = {pairs: replicates((approach, budget, pairs), group) for pairs in scores.study.settings.pairs}
                yield from _slope(points, approach, budget, group, fitted=approach in main)


def _steeper(scores: StudyScores) -> Iterator[Slope]:
    plain = scores.plain_approach
    for budget in scores.study.settings.budgets:
        for approach in scores.batch_approaches if plain else ():
            for group in FIXED:
                points = {
                    pairs: scores.gains((approach, budget, pairs), group, plain or "")
                    for pairs in scores.study.settings.pairs
                }
                yield from _slope(points, approach, budget, group, fitted=False)


def _slope(
    points: Mapping[int, Sequence[Replicate]], approach: str, budget: Budget, group: str, *, fitted: bool
) -> Iterator[Slope]:
    """The slope of what there is, if there are two numbers of pairs."""
    there = {pairs: found for pairs, found in points.items() if found}
    if len(there) < 2:
        return
    found = curve(there)
    fits = fit_forms(found) if fitted and group in GROUPS and len(found.pairs) >= FEWEST else []
    orders = found.by_cluster.shape[1]
    yield Slope(approach, budget, group, slope(found), orders, orders_needed(found, AIM), fits)


def _related(scores: StudyScores) -> Iterator[Related]:
    base = scores.zero_shot
    if base is None:
        return
    untrained = scores.language_means(base)
    for budget in scores.study.settings.budgets:
        for approach in scores.approaches:
            for relation, of in RELATIONS.items():
                layers = [
                    _layer(scores, (approach, budget, pairs), of, untrained)
                    for pairs in scores.study.settings.pairs
                    if scores.keys((approach, budget, pairs))
                ]
                effect = relatedness([gains for gains, _ in layers], [related for _, related in layers])
                if effect is not None:
                    yield Related(approach, budget, relation, effect)


def _layer(
    scores: StudyScores, point: Point, of: Callable[[str], str | None], untrained: Mapping[str, float]
) -> tuple[Array, NDArray[np.bool_]]:
    """Gains and relations at a number of pairs, `[languages, orders]`; the seeds of an order are averaged."""
    keys = scores.keys(point)
    orders = list(dict.fromkeys(order for order, _ in keys))
    languages = [name for name in untrained if name != "eng" and of(name) is not None]
    gains, related = np.full((len(languages), len(orders)), np.nan), np.zeros((len(languages), len(orders)), np.bool_)
    for column, order in enumerate(orders):
        trained = scores.study.orders[order][: point[2]]
        records = [scores.record(point, key) for key in keys if key[0] == order]
        means = [scores.language_means(record) for record in records if record is not None]
        for row, language in enumerate(languages):
            related[row, column] = of(language) in {of(name) for name in trained if name != language}
            if language not in trained:
                gains[row, column] = np.mean([each[language] for each in means]) - untrained[language]
    return gains, related
