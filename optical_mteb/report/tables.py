"""The tables of a report: groups of languages by model, and every task by subset, beside the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from optical_mteb.benchmark import LANGUAGES
from optical_mteb.errors import InputError
from optical_mteb.languages import find_language
from optical_mteb.report.collect import METRICS, Model, ResultFolder
from optical_mteb.scores.compare import compare_models
from optical_mteb.scores.rows import Row
from optical_mteb.scores.significance import bootstrap_intervals

HEADINGS = {"ndcg_at_10": "nDCG@10", "map_at_100": "MAP@100"}
MAIN = METRICS[0]

_ALPHA = 0.05


@dataclass(frozen=True)
class Value:
    """A score as the page shows it, in points (hundredths).

    Attributes:
        score: The score.
        low: Lower bound of its 95% bootstrap interval over queries, where it has scores by query.
        high: Upper bound.
        difference: From the reference; None for the reference itself, or where one side lacks queries.
        significant: Whether the difference is, after Holm's correction.
    """

    score: float
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    significant: bool = False


@dataclass(frozen=True)
class Line:
    """A subset in a table: its name and its languages, and a value for each model, None where it has none."""

    name: str
    language: str
    values: list[Value | None]


@dataclass(frozen=True)
class TaskTable:
    """A task.

    Attributes:
        task: Its name.
        split: Its split.
        lines: By metric, a line for each subset.
    """

    task: str
    split: str
    lines: dict[str, list[Line]]


@dataclass(frozen=True)
class Overview:
    """Means by group of languages over the tasks that all models have, of the main metric.

    Attributes:
        tasks: The tasks that the means are over, by each group that any task has queries in.
        means: By group, a value a model, None where it has none.
    """

    tasks: dict[str, list[str]]
    means: dict[str, list[Value | None]]


def task_tables(collection: ResultFolder, notes: list[str]) -> list[TaskTable]:
    """A table for every task; what cannot be compared is noted and shown without differences."""
    return [_task_table(collection, task, split, notes) for task, split in collection.tasks]


def overview(collection: ResultFolder, tables: Sequence[TaskTable]) -> Overview:
    """Means of the groups, over subsets and then over tasks.

    A group counts the subsets that the reference has and every model does that has any of them; of the others, there is
    no mean.
    """
    found: dict[str, list[Value | None]] = {}
    tasks: dict[str, list[str]] = {}
    for group, languages in LANGUAGES.items():
        asked = {
            table.task: [line.values for line in table.lines[MAIN] if _asks_in(line.name, languages) and line.values[0]]
            for table in tables
        }
        every = [values for columns in asked.values() for values in columns]
        places = [place for place in range(len(collection.models)) if any(values[place] for values in every)]
        parts: list[list[float]] = []
        for task, columns in asked.items():
            chosen = [[values[place] for place in places] for values in columns]
            whole = [[value.score for value in values if value] for values in chosen if all(values)]
            if whole:
                parts.append([fmean(column) for column in zip(*whole, strict=True)])
                tasks.setdefault(group, []).append(task)
        if parts:
            means = dict(zip(places, (fmean(column) for column in zip(*parts, strict=True)), strict=True))
            found[group] = [
                Value(means[place], difference=means[place] - means[0] if place else None) if place in means else None
                for place in range(len(collection.models))
            ]
    return Overview(tasks, found)


def seen_languages(collection: ResultFolder) -> Iterator[str]:
    """A line for each student that was trained on a language of the group of unseen ones."""
    for model in collection.models:
        seen = sorted(model.training_languages & set(LANGUAGES["unseen"]))
        if seen:
            yield f"{model.label}: was trained on {', '.join(seen)}, which are shown among the unseen languages"


def _asks_in(subset: str, languages: Sequence[str]) -> bool:
    query, _, document = subset.partition("-")
    return query.partition("_")[0] in languages and document == "eng"


def _task_table(collection: ResultFolder, task: str, split: str, notes: list[str]) -> TaskTable:
    found = [model.scores[task, split] for model in collection.models if (task, split) in model.scores]
    subsets = sorted({subset for scores in found for subset in scores.values}, key=_order)
    differences = [dict(_differences(collection.reference, model, task, split, notes)) for model in collection.models]
    lines: dict[str, list[Line]] = {metric: [] for metric in METRICS}
    for metric in METRICS:
        columns = [_with_intervals(model, task, split, metric) for model in collection.models]
        for subset in subsets:
            values = []
            for column, rows in zip(columns, differences, strict=True):
                value, row = column.get(subset), rows.get((metric, subset))
                values.append(value and _beside(value, row))
            lines[metric].append(Line(subset, _language(subset), values))
    return TaskTable(task, split, lines)


def _with_intervals(model: Model, task: str, split: str, metric: str) -> dict[str, Value]:
    """Scores in points by subset, with intervals where there are scores by query."""
    scores = model.scores.get((task, split))
    if scores is None:
        return {}
    samples = {
        subset: np.array(list(metrics[metric].values()), np.float64)
        for subset, metrics in scores.per_query.items()
        if metric in metrics
    }
    bounds = dict(zip(samples, 100 * bootstrap_intervals(list(samples.values())), strict=True)) if samples else {}
    values = {}
    for subset, metrics in scores.values.items():
        low, high = (float(end) for end in bounds[subset]) if subset in bounds else (None, None)
        values[subset] = Value(100 * metrics[metric], low, high)
    return values


def _differences(
    reference: Model, model: Model, task: str, split: str, notes: list[str]
) -> Iterator[tuple[tuple[str, str], Row]]:
    if model is reference or (task, split) not in reference.scores or (task, split) not in model.scores:
        return
    try:
        [comparison] = compare_models(
            reference.results, [model.results], metrics=METRICS, tasks=[task], split=split, intersect=True
        )
    except InputError as error:
        notes.append(str(error))
        return
    for note in comparison.notes:
        if not note.startswith("no test of significance") and note not in notes:
            notes.append(note)
    for row in comparison.rows:
        if not row.is_group:
            yield (row.metric, row.name), row


def _beside(value: Value, row: Row | None) -> Value:
    if row is None:
        return value
    tested = row.significance
    significant = tested is not None and tested.adjusted is not None and tested.adjusted < _ALPHA
    return Value(value.score, value.low, value.high, 100 * row.difference, significant)


def _order(subset: str) -> tuple[int, int, str]:
    """Low-resource languages first, then the others as the benchmark has them, then all else by name."""
    query, _, document = subset.partition("-")
    languages = [language for members in LANGUAGES.values() for language in members]
    place = languages.index(query) if query in languages else len(languages)
    return (document != "eng", place, subset)


def _language(subset: str) -> str:
    names = []
    for code in subset.split("-"):
        try:
            names.append(find_language(code.partition("_")[0]).name)
        except InputError:
            names.append(code)
    return " to ".join(names)
