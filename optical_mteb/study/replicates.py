"""The scores of a study's cells as replicates: what is set against what has the same orders and seeds on both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property

import numpy as np

from optical_mteb.errors import InputError
from optical_mteb.languages import family_of, find_language
from optical_mteb.scores.significance import Replicate
from optical_mteb.study.analysis import group_of, less
from optical_mteb.study.cells import CellRecord
from optical_mteb.study.grid import ZERO_SHOT, Budget, Cell
from optical_mteb.study.jobs import Study
from optical_mteb.study.table import language_of

Point = tuple[str, Budget, int]
"""Approach, budget and number of pairs."""

Key = tuple[str, int]
"""Order and seed."""

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

LOW_TRAINED = "low-resource, trained on"

MEASURE = "map_at_100"
"""Score that the statistics of a study are of: the measure of the paper."""

NAME = "MAP@100"
"""That score as readers know it."""

_STANDINGS = {TRAINED: "trained", LATER: "later", NEVER: "never", ENGLISH: "english"}
"""How a training stands to the languages of a group, as `group_of` says it."""


class StudyScores:
    """Scores of a study's trainings that are done.

    Attributes:
        study: The study.
    """

    def __init__(self, study: Study, records: Mapping[str, CellRecord]) -> None:
        self.study = study
        self._parallel = {task.name: task.parallel for task in study.settings.tasks}
        self._records = records
        self._cells: dict[Point, dict[Key, Cell]] = {}
        for cell in study.cells:
            point = (cell.approach, cell.budget, cell.pairs)
            self._cells.setdefault(point, {})[cell.order, cell.seed] = cell

    @property
    def approaches(self) -> list[str]:
        """Approaches of the study that train."""
        return [name for name in self.study.settings.approaches if name != ZERO_SHOT]

    @property
    def main_approaches(self) -> list[str]:
        """Those of which most orders and seeds are compared: the answer rests on them."""
        numbers = {
            name: max((len(self.curve_keys(name, budget)) for budget in self.study.settings.budgets), default=0)
            for name in self.approaches
        }
        return [name for name, number in numbers.items() if number and number == max(numbers.values())]

    @property
    def batch_approaches(self) -> list[str]:
        """Approaches that differ from the recipe in their batches alone."""
        overrides = self.study.settings.approaches
        return [
            n for n in self.approaches if overrides[n] and all(each.startswith("batches.") for each in overrides[n])
        ]

    @cached_property
    def zero_shot(self) -> CellRecord | None:
        """The record of the base, if it is done."""
        found = (job for training, job in self.study.jobs.items() if training.approach == ZERO_SHOT)
        return next((self._records.get(job.fingerprint) for job in found), None)

    @property
    def points(self) -> list[Point]:
        """Points of the curves of which everything is done."""
        return [point for point in self._cells if self.keys(point)]

    def curve_keys(self, approach: str, budget: Budget) -> list[Key]:
        """Orders and seeds that the study has at all numbers of pairs of an approach and budget."""
        sets = [keys for (name, other, _), keys in self._cells.items() if (name, other) == (approach, budget)]
        return [key for key in sets[0] if all(key in keys for keys in sets)] if sets else []

    def keys(self, point: Point) -> list[Key]:
        """Orders and seeds of a point of a curve; none unless all of them are done."""
        approach, budget, _ = point
        found = self.curve_keys(approach, budget)
        return found if all(self.record(point, key) is not None for key in found) else []

    def done(self, point: Point, order: str) -> list[Key]:
        """Seeds of an order that are done at a point, whether or not it is on a curve."""
        return [key for key in self._cells.get(point, ()) if key[0] == order and self.record(point, key) is not None]

    def record(self, point: Point, key: Key) -> CellRecord | None:
        """The record of a cell; that of the base for zero-shot, whatever the order and the seed."""
        if point[0] == ZERO_SHOT:
            return self.zero_shot
        cell = self._cells.get(point, {}).get(key)
        return None if cell is None else self._records.get(self.study.jobs[cell.training].fingerprint)

    def replicates(self, point: Point, group: str, keys: Sequence[Key] | None = None) -> list[Replicate]:
        """A replicate for every order and seed; none where a group is empty in one of them.

        Args:
            point: The point.
            group: One of `GROUPS`, of `breakdown`, or a language.
            keys: Orders and seeds; those of the point's curve by default.
        """
        every = [self._replicate(point, key, group) for key in (self.keys(point) if keys is None else keys)]
        found = [each for each in every if each is not None]
        return found if len(found) == len(every) else []

    def gains(self, point: Point, group: str, on: str) -> list[Replicate]:
        """Replicates less those of another approach, of the same orders and seeds, on the same queries.

        Less zero-shot, it is what is left when easier languages join a group.
        """
        other: Point = (on, *point[1:])
        keys = self.common_keys(point, other)
        own = self.replicates(point, group, keys)
        base = self.replicates(other, group, keys)
        return [less(*both) for both in zip(own, base, strict=True)] if own and base else []

    def common_keys(self, point: Point, other: Point) -> list[Key]:
        """Orders and seeds that two points both have; zero-shot has all."""
        keys = self.keys(point)
        return keys if other[0] == ZERO_SHOT else [key for key in keys if key in self.keys(other)]

    def tokens(self, point: Point, key: Key) -> float:
        """Tokens that a training read; 0 where it is not recorded."""
        record = self.record(point, key)
        return 0.0 if record is None else record.figures.get("tokens", 0.0)

    def language_means(self, record: CellRecord) -> dict[str, float]:
        """Mean score of the queries of each language."""
        values: dict[str, list[float]] = {}
        for subsets in record.scores.values():
            for subset, metrics in subsets.items():
                values.setdefault(language_of(subset), []).extend(metrics[MEASURE])
        return {language: float(np.mean(scores)) for language, scores in values.items()}

    @property
    def breakdown(self) -> list[str]:
        """The languages never trained on by family and by script, where there are several."""
        languages = sorted(
            {language_of(subset) for task in self.study.settings.tasks for subset in task.subsets}
            - {"eng", *next(iter(self.study.orders.values()))}
        )
        found = []
        for relation, name_of in RELATIONS.items():
            names = sorted({name for name in map(name_of, languages) if name is not None})
            found += [f"{NEVER}, {relation} {name}" for name in names] if len(names) > 1 else []
        return found

    def _replicate(self, point: Point, key: Key, group: str) -> Replicate | None:
        """The scores of a cell on the queries of a group; None where it is not done, or has none."""
        record = self.record(point, key)
        if record is None:
            return None
        values: list[float] = []
        sentences: list[str] = []
        for task, subsets in record.scores.items():
            for subset, metrics in subsets.items():
                if self._belongs(language_of(subset), group, key[0], point[2]):
                    values += metrics[MEASURE]
                    where = task if self._parallel[task] else f"{task}/{subset}"
                    sentences += [f"{where}/{query}" for query in record.queries[task][subset]]
        return Replicate(np.array(values), sentences, key[0]) if values else None

    def _belongs(self, language: str, group: str, order: str, pairs: int) -> bool:
        """Whether a language belongs to a group of a training on the first languages of an order."""
        languages, high = self.study.orders[order], self.study.settings.high_resource
        own = group_of(language, languages, pairs)
        if group == LOW:
            return language in languages and language not in high
        if group == LOW_TRAINED:
            return own == "trained" and language not in high
        if group == HIGH:
            return language in high
        if group.startswith(f"{NEVER}, "):
            shared = (f"{NEVER}, {relation} {name_of(language)}" for relation, name_of in RELATIONS.items())
            return own == "never" and group in shared
        return language == group or own == _STANDINGS.get(group)


@cache
def script_of(code: str) -> str | None:
    """Script (ISO 15924) that a language (ISO 639-3) is usually written in; None for one that is not listed."""
    try:
        return find_language(code).script
    except InputError:
        return None


RELATIONS: dict[str, Callable[[str], str | None]] = {"family": family_of, "script": script_of}
"""What related languages share, by which those that were never trained on are broken down, too."""
