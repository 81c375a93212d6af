"""What a study found: means, slopes, the form of curves, relatedness and contrasts, from the scores of its trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from optical_mteb.scores.significance import Array, Replicate
from optical_mteb.study.analysis import Estimate, Finding, curve, mean, orders_needed, slope
from optical_mteb.study.cells import CellRecord
from optical_mteb.study.contrasts import FIXED, Added, Contrast, added, approaches, interference
from optical_mteb.study.grid import ZERO_SHOT
from optical_mteb.study.jobs import Study
from optical_mteb.study.relatedness import Relatedness, relatedness
from optical_mteb.study.replicates import CHANGING, GROUPS, RELATIONS, Point, StudyScores
from optical_mteb.study.saturation import FEWEST, Fit, fit_forms

AIM = 0.005
"""Width of a slope's interval that is narrow enough to be an answer."""


@dataclass(frozen=True)
class Mean(Finding):
    """A mean of the study.

    Attributes:
        pairs: Number of pairs.
        group: One of `GROUPS`, or a part of the languages never trained on.
        estimate: Fractions of 1.
    """

    pairs: int
    group: str
    estimate: Estimate


@dataclass(frozen=True)
class Slope(Finding):
    """What a doubling of the pairs adds; of groups that change with the pairs, to the gain on zero-shot.

    Attributes:
        group: One of `GROUPS`, or a part of the languages never trained on.
        estimate: Fractions of 1.
        orders: Orders of languages that it is from.
        orders_needed: Orders for an interval as wide as `AIM`, as `analysis.orders_needed` has them.
        fits: Forms of the curve, the best first; none of a curve that is short, or not of a main approach.
    """

    group: str
    estimate: Estimate
    orders: int
    orders_needed: float | None
    fits: list[Fit]


@dataclass(frozen=True)
class Related(Finding):
    """What it adds to a language that is not trained on that a training has a related one.

    Attributes:
        relation: One of `RELATIONS`.
        effect: Fractions of 1.
    """

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

    means: list[Mean]
    breakdown: list[Mean]
    slopes: list[Slope]
    steeper: list[Slope]
    related: list[Related]
    interference: list[Contrast]
    added: list[Added]
    approaches: list[Contrast]
    done: int
    trainings: int

    def orders(self, approach: str) -> int:
        """Most orders of languages that a slope of an approach is from."""
        return max((each.orders for each in self.slopes if each.approach == approach), default=0)


def summarise(study: Study, records: Mapping[str, CellRecord]) -> StudySummary:
    """The statistics of what is done; a number of pairs of which a seed or an order is missing is left out."""
    scores = StudyScores(study, records)
    plain = study.settings.plain_approach
    return StudySummary(
        means=list(_means(scores, GROUPS, list(study.settings.approaches))),
        breakdown=list(_means(scores, scores.breakdown, [ZERO_SHOT, *scores.main_approaches])),
        slopes=[
            *_slopes(scores, GROUPS, scores.approaches),
            *_slopes(scores, scores.breakdown, scores.main_approaches),
        ],
        steeper=list(_slopes(scores, FIXED, scores.batch_approaches, plain)) if plain else [],
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


def _slopes(
    scores: StudyScores, groups: Sequence[str], names: Sequence[str], less: str | None = None
) -> Iterator[Slope]:
    """Slopes of scores, or of what they gain on another approach, where two numbers of pairs are done."""
    settings = scores.study.settings
    main = scores.main_approaches
    for budget, approach, group in product(settings.budgets, names, groups):
        on = less or (ZERO_SHOT if group in CHANGING else None)
        points: dict[int, list[Replicate]] = {}
        for pairs in settings.pairs:
            point: Point = (approach, budget, pairs)
            points[pairs] = scores.gains(point, group, on) if on else scores.replicates(point, group)
        there = {pairs: replicates for pairs, replicates in points.items() if replicates}
        if len(there) < 2:
            continue
        found = curve(there)
        fitted = less is None and approach in main and group in GROUPS and len(there) >= FEWEST
        fits = fit_forms(found) if fitted else []
        orders = found.by_cluster.shape[1]
        yield Slope(approach, budget, group, slope(found), orders, orders_needed(found, AIM), fits)


def _related(scores: StudyScores) -> Iterator[Related]:
    base = scores.zero_shot
    if base is None:
        return
    untrained = scores.language_means(base)
    settings = scores.study.settings
    for budget, approach, (relation, of) in product(settings.budgets, scores.approaches, RELATIONS.items()):
        layers = [
            _layer(scores, (approach, budget, pairs), of, untrained)
            for pairs in settings.pairs
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
