"""Models beside a baseline, task by task: what may be compared with what, and which rows are worse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optical_mteb.collection import PER_QUERY
from optical_mteb.errors import InputError
from optical_mteb.mteb_compat import task_registry
from optical_mteb.scores.per_query import MissingScoreError, PairedScores, Scores, pair, read_scores
from optical_mteb.scores.predictions import with_predictions
from optical_mteb.scores.published import published_note
from optical_mteb.scores.results import ModelResults
from optical_mteb.scores.rows import Row, Units, group_row, tested, units_of

GROUPS = {"low-resource": tuple(f"{code}-eng" for code in ("swh", "som", "fil", "tgl", "mar"))}
"""Subsets whose mean a comparison shows: the low-resource languages that students are trained on."""


@dataclass(frozen=True)
class Comparison:
    """A model beside the baseline.

    Attributes:
        baseline: The model to compare with.
        model: The other model.
        rows: By task, metric and subset, groups last.
        notes: What to know before believing them, a line each.
    """

    baseline: ModelResults
    model: ModelResults
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Its tables in Markdown."""
        from optical_mteb.scores.formats import all_grids, as_markdown

        return all_grids(self, as_markdown)


def compare_models(
    baseline: ModelResults,
    models: Sequence[ModelResults],
    *,
    metrics: Sequence[str],
    tasks: Sequence[str] = (),
    split: str = "test",
    groups: Mapping[str, Sequence[str]] = GROUPS,
    intersect: bool = False,
    predictions: Sequence[Path] = (),
) -> list[Comparison]:
    """Compare models with a baseline, each by itself.

    Holm's family is the set of all subsets of all tasks, for one metric and one model; see `units_of` for how a group
    is tested.

    Args:
        baseline: The model to compare with.
        models: The others.
        metrics: Scores to compare.
        tasks: Names of tasks; all that a model shares with the baseline by default.
        split: Split of the tasks.
        groups: Subsets to average, by the group's name; the mean of all subsets comes last by itself.
        intersect: Compare the subsets and queries that both sides have, where either lacks some.
        predictions: Folders with predictions, for results without scores by query.

    Raises:
        InputError: There is nothing to compare; or results are missing or damaged, or are of different data, subsets or
            queries.
    """
    everyone = [baseline, *models]
    scores = {
        task: _read(everyone, task, metrics, split, predictions, named=bool(tasks))
        for task in tasks or sorted({task for results in everyone if not results.published for task in results.tasks})
    }
    comparisons = []
    for number, model in enumerate(models, start=1):
        sides = [(of_task[0], of_task[number]) for of_task in scores.values()]
        both = [(before, after) for before, after in sides if before and after]
        wanted = f"{', '.join(metrics)} on the split {split}"
        if not both:
            raise InputError(
                f"{baseline.model} and {model.model} have no task in common with {wanted}; name one, as in -t TASK"
            )
        comparison = Comparison(baseline, model, notes=list(_settings_note(baseline, model)))
        comparison.notes.extend(published_note(side) for side in (baseline, model) if side.published)
        left_out = [task for task, (before, after) in zip(scores, sides, strict=True) if not (before and after)]
        if left_out:
            comparison.notes.append(f"left out, as one side has no {wanted}: {', '.join(left_out)}")
        rows: list[tuple[Row, Units | None]] = []
        for before, after in both:
            subsets = _shared_subsets(before, after, comparison.notes, intersect=intersect)
            for metric in metrics:
                rows += _rows(before, after, subsets, metric, groups, comparison.notes, intersect=intersect)
        comparison.rows.extend(tested(rows))
        comparison.notes.extend(_without_tests([scores for two in both for scores in two], metrics))
        comparisons.append(comparison)
    return comparisons


def regressions(comparison: Comparison, points: float, metric: str) -> list[Row]:
    """Rows that are worse than the baseline by more than `points` hundredths, their interval wholly below zero.

    Where there is no interval, the difference alone decides.
    """
    return [
        row
        for row in comparison.rows
        if row.metric == metric
        and 100 * row.difference < -points
        and (row.significance is None or row.significance.high < 0)
    ]


def _read(
    everyone: Sequence[ModelResults],
    task: str,
    metrics: Sequence[str],
    split: str,
    predictions: Sequence[Path],
    *,
    named: bool,
) -> list[Scores | None]:
    """Scores of each model on a task; None where there are none, and nobody named the task."""
    found: list[Scores | None] = []
    for results in everyone:
        try:
            found.append(read_scores(results, task, metrics, split=split) if named or task in results.tasks else None)
        except MissingScoreError:
            if named:
                raise
            found.append(None)
    completed = iter(with_predictions([scores for scores in found if scores], predictions))
    return [scores and next(completed) for scores in found]


def _shared_subsets(baseline: Scores, model: Scores, notes: list[str], *, intersect: bool) -> list[str]:
    """Subsets that both sides have.

    Published results are of data that MTEB may have moved since, and of more subsets than most people run: a note where
    the revisions differ, and nothing where only they have a subset.

    Raises:
        InputError: The sides are of different data, or of different subsets.
    """
    task = model.task
    is_published = baseline.results.published or model.results.published
    if baseline.data_revision != model.data_revision:
        differ = (
            f"{task}: {baseline.path} is of data revision {baseline.data_revision}, {model.path} of "
            f"{model.data_revision}"
        )
        if not is_published:
            raise InputError(f"{differ}; evaluate both on the same data")
        notes.append(f"{differ}; the data may differ")
    installed = task_registry().get(task)
    if not is_published and installed is not None and installed.metadata.revision != model.data_revision:
        notes.append(
            f"{task}: both results are of data revision {model.data_revision}; "
            f"the installed task has {installed.metadata.revision}"
        )
    shared = [subset for subset in model.values if subset in baseline.values]
    only = sorted(
        subset
        for scores, other in ((baseline, model), (model, baseline))
        for subset in scores.values.keys() - other.values.keys()
        if not scores.results.published
    )
    if only and not (intersect and shared):
        hint = ", or compare what both have with --intersect" if shared else ""
        raise InputError(
            f"{task}: only one side has scores of {', '.join(only)}; run both models on the same subsets{hint}"
        )
    if only:
        notes.append(f"{task}: left out, as only one side has scores of it: {', '.join(only)}")
    return shared


def _rows(
    baseline: Scores,
    model: Scores,
    subsets: Sequence[str],
    metric: str,
    groups: Mapping[str, Sequence[str]],
    notes: list[str],
    *,
    intersect: bool,
) -> list[tuple[Row, Units | None]]:
    """The rows of a task and a metric, and what there is to test them by."""
    rows: dict[str, Row] = {}
    pairs: dict[str, PairedScores | None] = {}
    for subset in subsets:
        paired = pair(baseline, model, subset, metric, intersect=intersect)
        before, after = (scores.values[subset][metric] for scores in (baseline, model))
        if paired is not None:
            numbers = [len(scores.per_query[subset][metric]) for scores in (baseline, model)]
            if max(numbers) > len(paired.queries):
                before, after = float(paired.baseline.mean()), float(paired.model.mean())
                notes.append(
                    f"{model.task} {subset}: {metric} of the {len(paired.queries)} queries that both sides have, "
                    f"of {numbers[0]} and {numbers[1]}"
                )
        rows[subset] = Row(model.task, metric, subset, False, before, after)
        pairs[subset] = paired
    found = [(rows[subset], units_of([each]) if each is not None else None) for subset, each in pairs.items()]
    wanted = {**groups, "all": subsets} if len(subsets) > 1 else {}
    for group, members in wanted.items():
        present = [subset for subset in members if subset in rows]
        complete = [each for each in (pairs[subset] for subset in present) if each is not None]
        if present:
            row = group_row(group, [rows[subset] for subset in present])
            found.append((row, units_of(complete) if len(complete) == len(present) else None))
    return found


def _settings_note(baseline: ModelResults, model: ModelResults) -> Iterable[str]:
    """A line where the two sides ran under different settings, such as an approximate index and an exact search."""
    before, after = (results.settings or "none" for results in (baseline, model))
    if before != after:
        yield (
            f"settings differ: {before} for {baseline.folder}, {after} for {model.folder}; "
            "differences are not the models' alone"
        )


def _without_tests(sides: Iterable[Scores], metrics: Sequence[str]) -> Iterable[str]:
    """A line where results have no scores by query."""
    lacking = {
        metric: {
            str(scores.path)
            for scores in sides
            if not scores.results.published
            for found in scores.per_query.values()
            if metric not in found
        }
        for metric in metrics
    }
    paths = sorted(set().union(*lacking.values()))
    if paths:
        without = [metric for metric in metrics if lacking[metric]]
        hint = (
            "run mteb again with --overwrite-strategy always, or name a folder of predictions with --predictions"
            if set(without) <= PER_QUERY.keys()
            else f"they are kept of {' and '.join(PER_QUERY)}"
        )
        yield f"no test of significance where scores by query lack: {', '.join(without)} in {', '.join(paths)}; {hint}"
