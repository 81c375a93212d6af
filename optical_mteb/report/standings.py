"""Where every model stands on the tasks of OPTICAL-CLIR, run as they are by default: means, parameters, seconds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from optical_mteb.benchmark import LANGUAGES, SPLITS
from optical_mteb.errors import InputError
from optical_mteb.registry import register
from optical_mteb.report.collect import METRICS, Model, ResultFolder
from optical_mteb.storage import atomic_file
from optical_mteb.terminal_table import TerminalTable

BEGIN = "<!-- standings: written by `optical-mteb standings`, not by hand -->"
END = "<!-- end of standings -->"


@dataclass(frozen=True)
class Column:
    """Subsets whose mean is one number of a model.

    Attributes:
        heading: What is above it.
        subsets: By task and split.
    """

    heading: str
    subsets: Mapping[tuple[str, str], Sequence[str]]


@dataclass(frozen=True)
class Standing:
    """A model.

    Attributes:
        label: Its name, with its revision where two rows have the same name.
        means: A mean a column, in points (hundredths); None where a subset has not been run.
        parameters: Millions; None where unknown.
        seconds: Spent on encoding, searching and scoring for all columns; None where a subset has not been run.
    """

    label: str
    means: list[float | None]
    parameters: float | None
    seconds: float | None

    @property
    def figures(self) -> tuple[str, str]:
        """Parameters and seconds as people read them."""
        size = "unknown" if self.parameters is None else f"{self.parameters:.0f} M" if self.parameters else "none"
        return size, "" if self.seconds is None else f"{self.seconds:,.0f}"


@dataclass(frozen=True)
class Standings:
    """The table.

    Attributes:
        columns: Its columns.
        rows: A row for each model that has any mean, from the lowest first mean to the highest.
    """

    columns: list[Column]
    rows: list[Standing]


def standings(collection: ResultFolder) -> Standings:
    """Where the models of a result folder stand, in nDCG@10.

    A mean weighs subsets alike within a task and tasks alike, as the groups of the benchmark do, over the subsets and
    splits that `mteb run -t` takes by default. Runs through an index and published results are left out: they are not
    like the others.
    """
    columns = list(_columns())
    plain = [model for model in collection.models if not (model.results.experiment or model.results.published)]
    rows = []
    for model in plain:
        means = [_mean(model, column) for column in columns]
        if any(mean is not None for mean in means):
            rows.append((model, means))
    names = Counter(model.name for model, _ in rows)
    found = [
        Standing(
            model.name if names[model.name] == 1 else f"{model.name}@{model.results.revision[:12]}",
            means,
            model.parameters,
            _seconds(model, columns),
        )
        for model, means in rows
    ]
    return Standings(columns, sorted(found, key=lambda row: (row.means[0] or 0.0, row.label)))


def as_markdown(table: Standings) -> str:
    """The table in Markdown, the best mean of each column in bold."""
    headings = _headings(table)
    rules = ["---", *["---:"] * (len(headings) - 1)]
    lines = [headings, rules, *(_cells(table, row, "**{}**") for row in table.rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def as_table(table: Standings) -> TerminalTable:
    """The table for a terminal."""
    headings = _headings(table)
    shown = TerminalTable(*headings, whole=range(1, len(headings)))
    for row in table.rows:
        shown.add_row(*_cells(table, row, "{}"))
    return shown


def write_into(path: Path, markdown: str) -> bool:
    """Put a table between the two marks of a Markdown file; returns whether the file has changed.

    Raises:
        InputError: The file cannot be read or written, or does not have each mark once, in order.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}); name a Markdown file") from None
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or text.count(BEGIN) > 1 or text.count(END) > 1:
        raise InputError(f"{path}: has no place for the table; expected one line {BEGIN!r} and below it {END!r}")
    changed = f"{before}{BEGIN}\n{markdown}\n{END}{after}"
    if changed == text:
        return False
    with atomic_file(path) as scratch:
        scratch.write_text(changed, encoding="utf-8")
        scratch.chmod(path.stat().st_mode)
    return True


def _columns() -> Iterator[Column]:
    """The groups of the benchmark with documents in English, then the same groups with English queries."""
    from mteb.get_tasks import get_task

    register()
    defaults: dict[tuple[str, str], list[str]] = {}
    for name in SPLITS:
        task = get_task(name)
        defaults |= {(name, split): list(task.hf_subsets) for split in task.eval_splits}
    for heading, subset in (("{} to English", "{}-eng"), ("English to {}", "eng-{}")):
        for group, languages in LANGUAGES.items():
            wanted = {subset.format(language) for language in languages}
            chosen = {key: [each for each in subsets if each in wanted] for key, subsets in defaults.items()}
            yield Column(heading.format(group), {key: subsets for key, subsets in chosen.items() if subsets})


def _mean(model: Model, column: Column) -> float | None:
    means = []
    for key, subsets in column.subsets.items():
        scores = model.scores.get(key)
        if scores is None or not scores.values.keys() >= set(subsets):
            return None
        means.append(fmean(scores.values[subset][METRICS[0]] for subset in subsets))
    return 100 * fmean(means)


def _seconds(model: Model, columns: Sequence[Column]) -> float | None:
    """The sum of mteb's phases; work that subsets share is in the phases of the first of them."""
    wanted: dict[tuple[str, str], set[str]] = {}
    for column in columns:
        for key, subsets in column.subsets.items():
            wanted.setdefault(key, set()).update(subsets)
    seconds = 0.0
    for (task, split), of_split in wanted.items():
        if (task, split) not in model.scores:
            return None
        record = json.loads(model.results.path(task).read_text(encoding="utf-8"))
        phases = [
            phase
            for phase in record.get("evaluation_phases") or []
            if phase["split"] == split and phase["subset"] in of_split
        ]
        if {phase["subset"] for phase in phases} == of_split:
            seconds += sum(phase["end"] - phase["start"] for phase in phases)
        elif {each["hf_subset"] for each in record["scores"][split]} == of_split and len(record["scores"]) == 1:
            # Of a run that was continued, mteb keeps the phases of the last part, and the time of all parts.
            seconds += record["evaluation_time"]
        else:
            return None
    return seconds


def _headings(table: Standings) -> list[str]:
    return ["model", *(column.heading for column in table.columns), "parameters", "seconds"]


def _cells(table: Standings, row: Standing, best: str) -> list[str]:
    """A row as text; the best mean of each column, where there are two rows, in the form that is given."""
    cells = []
    for place, mean in enumerate(row.means):
        cell = "not run" if mean is None else f"{mean:.1f}"
        is_best = mean is not None and mean == max(other.means[place] or 0.0 for other in table.rows)
        cells.append(best.format(cell) if is_best and len(table.rows) > 1 else cell)
    return [row.label, *cells, *row.figures]
