"""Scores of one model on one task: means by subset and, where the result has them, scores of every query, checked."""

from __future__ import annotations

import math
import re
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

_SHARE = re.compile(r"(ndcg|map|mrr|recall|precision|hit_rate)_at_\d+$")
"""Scores of retrieval, which none of their queries can push over 1."""

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
        InputError: The file is damaged, or of another task, or has a subset twice; a score is not a number, or no share
            where it is one of retrieval; the scores of the queries do not agree with their mean, or the main score with
            none of the others.
        MissingScoreError: There is no such split or score.
    """
    path, result = _read(results, task)
    if split not in result.scores:
        raise MissingScoreError(f"{path}: no split {split!r}; choose one by --split: {', '.join(result.scores)}")
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
        values[subset] = {metric: _score(row[metric], metric, f"{where}: {metric}") for metric in metrics}
        _check_main_score(row, where)
        by_query = row.get("per_query", {})
        if not isinstance(by_query, Mapping):
            raise InputError(f"{where}: per_query is not a mapping of metrics; evaluate the model again")
        per_query[subset] = {
            metric: checked_queries(by_query[metric], values[subset][metric], f"{where}: {metric}")
            for metric in metrics
            if metric in by_query
        }
    return Scores(results, task, split, path, result.dataset_revision, values, per_query)


def splits_of(results: ModelResults, task: str) -> list[str]:
    """Splits of a task that there are results of.

    Raises:
        InputError: There is no such file, or it is damaged or of another task.
    """
    return list(_read(results, task)[1].scores)


def _read(results: ModelResults, task: str) -> tuple[Path, TaskResult]:
    path = results.path(task)
    try:
        result = TaskResult.from_disk(path)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a result of MTEB ({reason}); evaluate the model again") from None
    if result.task_name != task:
        raise InputError(f"{path}: results on {result.task_name}, expected {task}; the file was renamed")
    return path, result


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

    With `intersect`, queries that only one of them has are left out.

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


def _score(value: Any, metric: str, where: str) -> float:  # noqa: ANN401 - whatever JSON holds
    score = _number(value, where)
    if _SHARE.match(metric) and not 0 <= score <= 1:
        raise InputError(f"{where} is {score}, expected a fraction of 1; evaluate the model again")
    return score


def _check_main_score(row: Mapping[str, Any], where: str) -> None:
    """MTEB copies the main score of another one; which, depends on the task and on its version."""
    main = row.get("main_score")
    others = [value for name, value in row.items() if name != "main_score" and isinstance(value, int | float)]
    if main is not None and others:
        main = _number(main, f"{where}: main_score")
        if not any(abs(main - value) <= ROUNDING for value in others):
            raise InputError(
                f"{where}: main_score is {main}, but no other score of it is; one of them was changed: "
                "evaluate the model again"
            )


def _number(value: Any, where: str) -> float:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        shown = "NaN" if isinstance(value, float) and math.isnan(value) else repr(value)
        raise InputError(f"{where} is {shown}, expected a number; evaluate the model again")
    return float(value)
