"""Scores of one model on one task: means by subset and, where the result has them, scores of every query, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mteb import TaskResult
from numpy.typing import NDArray

from optical_mteb.errors import InputError
from optical_mteb.scores.results import ModelResults

ROUNDING = 1e-5
"""Largest distance of a stored mean from the mean of its queries: MTEB rounds means to five digits, all else to six."""

EQUAL_BELOW = 1e-6
"""Two scores of a query that differ by less are equal: MTEB rounds them to six digits."""

Metrics = Mapping[str, float]
QueryScores = Mapping[str, float]


class MissingScoreError(InputError):
    """A result has no such split or score, as results on tasks of another type."""


@dataclass(frozen=True)
class Scores:
    """Scores of one model on one split of a task, as fractions of 1.

    Attributes:
        results: Where they are from.
        task: MTEB's name of the task.
        split: Split of the task.
        path: The file that they are from.
        data_revision: Revision of the task's data.
        values: Mean by subset and metric.
        per_query: Score by subset, metric and query; without the subsets and metrics that have none.
    """

    results: ModelResults
    task: str
    split: str
    path: Path
    data_revision: str
    values: dict[str, Metrics]
    per_query: dict[str, dict[str, QueryScores]] = field(default_factory=dict)


@dataclass(frozen=True)
class PairedScores:
    """Scores of the same queries by two models.

    Attributes:
        queries: Ids, sorted, `[n]`.
        baseline: Scores of the baseline, `[n]`.
        model: Scores of the other model, `[n]`.
    """

    queries: list[str]
    baseline: NDArray[np.float64]
    model: NDArray[np.float64]

    @property
    def differences(self) -> NDArray[np.float64]:
        """Model minus baseline, `[n]`, exactly zero where the scores are equal."""
        differences = self.model - self.baseline
        differences[np.abs(differences) < EQUAL_BELOW] = 0
        return differences


def read_scores(results: ModelResults, task: str, metrics: Sequence[str], *, split: str = "test") -> Scores:
    """Read and check one result file.

    Args:
        results: Where a model's results are.
        task: Name of the task.
        metrics: Names of the scores, as in `ndcg_at_10`.
        split: Split of the task.

    Raises:
        InputError: The file is damaged, or of another task, or has a subset twice; a score is no number, or the scores
            of the queries do not agree with their mean.
        MissingScoreError: There is no such split or score.
    """
    path = results.path(task)
    try:
        result = TaskResult.from_disk(path)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a result of MTEB ({reason}); evaluate the model again") from None
    if result.task_name != task:
        raise InputError(f"{path}: results on {result.task_name}, expected {task}; the file was renamed")
    if split not in result.scores:
        raise MissingScoreError(f"{path}: no split {split!r}; it has {', '.join(result.scores)}")
    values: dict[str, Metrics] = {}
    per_query: dict[str, dict[str, QueryScores]] = {}
    for row in sorted(result.scores[split], key=lambda row: str(row["hf_subset"])):
        subset = str(row["hf_subset"])
        if subset in values:
            raise InputError(f"{path}: subset {subset} is there twice; evaluate the model again")
        missing = [metric for metric in metrics if metric not in row]
        if missing:
            raise MissingScoreError(
                f"{path}: no score {missing[0]!r} of {subset}; expected one such as ndcg_at_10, map_at_100 or mrr_at_10"
            )
        where = f"{path}: subset {subset}"
        values[subset] = {metric: _number(row[metric], f"{where}: {metric}") for metric in metrics}
        by_query = row.get("per_query", {})
        if not isinstance(by_query, Mapping):
            raise InputError(f"{where}: per_query is no mapping of metrics; evaluate the model again")
        per_query[subset] = {
            metric: checked_queries(by_query[metric], values[subset][metric], f"{where}: {metric}")
            for metric in metrics
            if metric in by_query
        }
    return Scores(results, task, split, path, result.dataset_revision, values, per_query)


def checked_queries(scores: object, mean: float, where: str) -> QueryScores:
    """The scores of every query, which agree with their stored mean.

    Raises:
        InputError: They are no numbers, or their mean is another one; `where` begins the line.
    """
    if not isinstance(scores, Mapping) or not scores:
        raise InputError(f"{where}: no scores by query, expected a number for each; evaluate the model again")
    numbers = {str(query): _number(score, f"{where} of query {query}") for query, score in scores.items()}
    found = math.fsum(numbers.values()) / len(numbers)
    if abs(found - mean) > ROUNDING:
        raise InputError(
            f"{where} is {mean:.5f}, but the mean of its {len(numbers)} queries is {found:.5f}; "
            "one of the two was changed: evaluate the model again"
        )
    return numbers


def pair(baseline: Scores, model: Scores, subset: str, metric: str, *, intersect: bool = False) -> PairedScores | None:
    """The scores of a subset's queries, side by side; None where either model has none.

    Args:
        baseline: Scores to compare with.
        model: Scores to compare.
        subset: Subset of the task.
        metric: Name of the score.
        intersect: Leave out the queries that only one of them has.

    Raises:
        InputError: One side lacks queries, and `intersect` is not set; or they share none.
    """
    sides = [scores.per_query.get(subset, {}).get(metric) for scores in (baseline, model)]
    before, after = sides
    if before is None or after is None:
        return None
    shared = sorted(before.keys() & after.keys())
    if not shared:
        raise InputError(
            f"{model.path}: subset {subset}: no query in common with {baseline.path}; are the data the same?"
        )
    if not intersect:
        for scores, own, other in ((baseline, before, after), (model, after, before)):
            absent = sorted(other.keys() - own.keys())
            if absent:
                some = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
                raise InputError(
                    f"{scores.path}: subset {subset}: {len(absent)} queries of the other side have no score here "
                    f"({some}); evaluate both on the same data, or compare what they share with --intersect"
                )
    return PairedScores(shared, *(np.array([side[query] for query in shared], np.float64) for side in (before, after)))


def _number(value: Any, where: str) -> float:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        shown = "NaN" if isinstance(value, float) and math.isnan(value) else repr(value)
        raise InputError(f"{where} is {shown}, expected a number; evaluate the model again")
    return float(value)
