"""What a study found: means, slopes, interference and the approaches side by side, from the scores of its trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from optical_mteb.scores.significance import Replicate
from optical_mteb.study.analysis import Difference, Estimate, differences, group_of, less, mean, slope
from optical_mteb.study.cells import CellRecord
from optical_mteb.study.evaluation import METRICS
from optical_mteb.study.grid import ZERO_SHOT, Budget, Cell
from optical_mteb.study.jobs import Study
from optical_mteb.study.table import language_of

Point = tuple[str, str, int]
"""Approach, budget and number of pairs."""

LOW, HIGH, TRAINED, LATER, NEVER, ENGLISH = (
    "low-resource",
    "high-resource",
    "trained on",
    "not yet trained on",
    "never trained on",
    "English",
)
GROUPS = (LOW, HIGH, TRAINED, LATER, NEVER, ENGLISH)
"""Groups of query languages. The languages of the study, low- or high-resource, are the same at every number of pairs;
those trained on and those not yet trained on change with it."""

CHANGING = (TRAINED, LATER)


@dataclass(frozen=True)
class Mean:
    """A mean of the study.

    Attributes:
        approach: Name of the approach.
        budget: `per_pair` or `total`.
        pairs: Number of pairs.
        group: One of `GROUPS`.
        metric: Name of the score.
        estimate: Fractions of 1.
    """

    approach: str
    budget: str
    pairs: int
    group: str
    metric: str
    estimate: Estimate


@dataclass(frozen=True)
class Slope:
    """What a doubling of the pairs adds; of groups that change with the pairs, to the gain on zero-shot."""

    approach: str
    budget: str
    group: str
    metric: str
    estimate: Estimate


@dataclass(frozen=True)
class Contrast:
    """A difference between two trainings, on some queries.

    Attributes:
        approach: Name of the approach.
        budget: `per_pair` or `total`.
        what: What is set against what, in words.
        group: Group or language of the queries.
        metric: Name of the score.
        difference: Fractions of 1; p corrected by Holm within its table and metric.
    """

    approach: str
    budget: str
    what: str
    group: str
    metric: str
    difference: Difference


@dataclass(frozen=True)
class StudySummary:
    """All that a document of a study says.

    Attributes:
        means: Means by approach, budget, pairs, group and metric.
        slopes: Slopes.
        interference: Low-resource languages trained on, before and after pairs of high-resource languages joined.
        approaches: Each approach less each other one at the largest number of pairs.
        done: Trainings that are done.
        trainings: Trainings of the study.
    """

    means: list[Mean] = field(default_factory=list)
    slopes: list[Slope] = field(default_factory=list)
    interference: list[Contrast] = field(default_factory=list)
    approaches: list[Contrast] = field(default_factory=list)
    done: int = 0
    trainings: int = 0


def summarise(study: Study, records: Mapping[str, CellRecord]) -> StudySummary:
    """The statistics of what is done; a number of pairs of which a seed or an order is missing is left out."""
    scores = _Scores(study, records)
    return StudySummary(
        means=list(_means(scores)),
        slopes=list(_slopes(scores)),
        interference=list(_interference(scores)),
        approaches=list(_approaches(scores)),
        done=len(records),
        trainings=len(study.jobs),
    )


class _Scores:
    """Scores of a study's cells as replicates."""

    def __init__(self, study: Study, records: Mapping[str, CellRecord]) -> None:
        self.study = study
        self._parallel = {task.name: task.parallel for task in study.settings.tasks}
        self._records = records
        cells: dict[Point, list[Cell]] = {}
        for cell in study.cells:
            cells.setdefault((cell.approach, cell.budget, cell.pairs), []).append(cell)
        self.cells = {
            point: members
            for point, members in cells.items()
            if all(study.jobs[cell.training].fingerprint in records for cell in members)
        }

    @property
    def approaches(self) -> list[str]:
        return list(self.study.settings.approaches)

    @property
    def budgets(self) -> list[Budget]:
        return list(self.study.settings.budgets)

    def record(self, cell: Cell) -> CellRecord:
        return self._records[self.study.jobs[cell.training].fingerprint]

    def zero_shot(self) -> CellRecord | None:
        found = (members[0] for (approach, _, _), members in self.cells.items() if approach == ZERO_SHOT)
        cell = next(found, None)
        return None if cell is None else self.record(cell)

    def replicates(self, point: Point, metric: str, group: str) -> list[Replicate]:
        """A replicate for every order and seed of a point; none where a group is empty in one of them."""
        found = [
            self.replicate(self.record(cell), metric, self.member(cell, group)) for cell in self.cells.get(point, ())
        ]
        whole = [replicate for replicate in found if replicate is not None]
        return whole if len(whole) == len(found) else []

    def replicate(self, record: CellRecord, metric: str, member: Callable[[str], bool]) -> Replicate | None:
        """Scores of a training's queries in some languages; None where there are none."""
        values: list[float] = []
        sentences: list[str] = []
        for task, subsets in record.scores.items():
            for subset, metrics in subsets.items():
                if member(language_of(subset)):
                    values += metrics[metric]
                    where = task if self._parallel[task] else f"{task}/{subset}"
                    sentences += [f"{where}/{query}" for query in record.queries[task][subset]]
        return Replicate(np.array(values), sentences) if values else None

    def member(self, cell: Cell, group: str) -> Callable[[str], bool]:
        """Whether a language belongs to a group of a cell; a group may be a language by itself."""
        order, high = self.study.orders[cell.order], self.study.settings.high_resource
        named = {TRAINED: "trained", LATER: "later", NEVER: "never", ENGLISH: "english"}

        def belongs(language: str) -> bool:
            if group == LOW:
                return language in order and language not in high
            if group == HIGH:
                return language in high
            return language == group or group_of(language, order, cell.pairs) == named.get(group)

        return belongs


def _means(scores: _Scores) -> Iterator[Mean]:
    for (approach, budget, pairs), metric, group in _everywhere(scores):
        replicates = scores.replicates((approach, budget, pairs), metric, group)
        if replicates:
            yield Mean(approach, budget, pairs, group, metric, mean(replicates))


def _everywhere(scores: _Scores) -> Iterator[tuple[Point, str, str]]:
    for metric in METRICS:
        for point in scores.cells:
            for group in GROUPS:
                yield point, metric, group


def _slopes(scores: _Scores) -> Iterator[Slope]:
    base = scores.zero_shot()
    for metric in METRICS:
        for budget in scores.budgets:
            for approach in scores.approaches:
                for group in GROUPS:
                    if approach == ZERO_SHOT or (group in CHANGING and base is None):
                        continue
                    points = {
                        pairs: _gains(scores, (approach, budget, pairs), metric, group, base)
                        if group in CHANGING and base is not None
                        else scores.replicates((approach, budget, pairs), metric, group)
                        for pairs in scores.study.settings.pairs
                    }
                    there = {pairs: replicates for pairs, replicates in points.items() if replicates}
                    if len(there) > 1:
                        yield Slope(approach, budget, group, metric, slope(there))


def _gains(scores: _Scores, point: Point, metric: str, group: str, base: CellRecord) -> list[Replicate]:
    """Replicates less zero-shot on the same queries: what is left when easier languages join a group."""
    gains = []
    for cell, own in zip(scores.cells.get(point, ()), scores.replicates(point, metric, group), strict=False):
        other = scores.replicate(base, metric, scores.member(cell, group))
        if other is not None:
            gains.append(less(own, other))
    return gains


def _interference(scores: _Scores) -> Iterator[Contrast]:
    settings = scores.study.settings
    high = set(settings.high_resource)
    numbers = sorted(settings.pairs)
    for metric in METRICS:
        named: list[tuple[str, Budget, str, str]] = []
        sides: list[tuple[list[Replicate], list[Replicate]]] = []
        for budget in scores.budgets:
            for approach in (name for name in scores.approaches if name != ZERO_SHOT):
                for before, after in pairwise(numbers):
                    for order, languages in scores.study.orders.items():
                        joined, trained = languages[before:after], languages[:before]
                        if not joined or not set(joined) <= high:
                            continue
                        for language in (each for each in trained if each not in high):
                            pair = [
                                _of_order(scores, (approach, budget, pairs), order, metric, language)
                                for pairs in (before, after)
                            ]
                            if all(pair):
                                what = f"{' '.join(joined)} join {' '.join(trained)}"
                                named.append((approach, budget, what, language))
                                sides.append((pair[0], pair[1]))
        for (approach, budget, what, language), found in zip(named, _tested(sides), strict=True):
            yield Contrast(approach, budget, what, language, metric, found)


def _of_order(scores: _Scores, point: Point, order: str, metric: str, language: str) -> list[Replicate]:
    cells = [cell for cell in scores.cells.get(point, ()) if cell.order == order]
    found = [scores.replicate(scores.record(cell), metric, language.__eq__) for cell in cells]
    return [replicate for replicate in found if replicate is not None]


def _approaches(scores: _Scores) -> Iterator[Contrast]:
    most = max(scores.study.settings.pairs)
    for metric in METRICS:
        named: list[tuple[str, Budget, str, str]] = []
        sides: list[tuple[list[Replicate], list[Replicate]]] = []
        for budget in scores.budgets:
            for approach in (name for name in scores.approaches if name != ZERO_SHOT):
                for other in scores.approaches[: scores.approaches.index(approach)]:
                    for group in (LOW, HIGH, NEVER, ENGLISH):
                        before, after = (
                            scores.replicates((name, budget, most), metric, group) for name in (other, approach)
                        )
                        if before and after:
                            named.append((approach, budget, f"less {other}", group))
                            sides.append((before, after))
        for (approach, budget, what, group), found in zip(named, _tested(sides), strict=True):
            yield Contrast(approach, budget, what, group, metric, found)


def _tested(sides: Sequence[tuple[list[Replicate], list[Replicate]]]) -> list[Difference]:
    return differences(sides) if sides else []
