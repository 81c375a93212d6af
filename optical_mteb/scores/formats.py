"""Comparisons as tables for the terminal, Markdown and LaTeX, and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from optical_mteb.scores.results import ModelResults
from optical_mteb.scores.rows import Row, Significance
from optical_mteb.scores.significance import CONFIDENCE, RESAMPLES
from optical_mteb.terminal_table import TerminalTable

if TYPE_CHECKING:
    from optical_mteb.scores.compare import Comparison

INTERVAL = f"{CONFIDENCE:.0%}"


@dataclass(frozen=True)
class Grid:
    """A table of text.

    Attributes:
        title: What stands above it.
        headings: One a column; a column with an empty one belongs to the column before it.
        rows: Cells by row.
        groups_from: Number of the first row of a group of subsets.
    """

    title: str
    headings: list[str]
    rows: list[list[str]]
    groups_from: int


def grids(comparison: Comparison, *, details: bool = False, metrics_apart: bool = False) -> list[Grid]:
    """The tables of a comparison, scores in points (hundredths): one a task.

    With `details`, it is one a task and metric with all there is; with `metrics_apart`, the same without the details.
    """
    found = []
    baseline, model = labels(comparison)
    for task in dict.fromkeys(row.task for row in comparison.rows):
        by_metric: dict[str, list[Row]] = {}
        for row in comparison.rows:
            if row.task == task:
                by_metric.setdefault(row.metric, []).append(row)
        title = f"{task}: {baseline} -> {model}"
        parts = [{metric: rows} for metric, rows in by_metric.items()] if details or metrics_apart else [by_metric]
        found += [_grid(title, part, details=details) for part in parts]
    return found


def legend(comparison: Comparison) -> list[str]:
    """What the signs in the tables mean, and what was tested; empty where nothing was."""
    rows = [row for row in comparison.rows if row.significance]
    if not rows:
        return []
    family = max(
        sum(row.metric == metric and not row.is_group for row in rows) for metric in {row.metric for row in rows}
    )
    corrected = f", after Holm's correction for {family} subsets" if family > 1 else ""
    lines = [
        f"{INTERVAL}: bootstrap interval of the difference, percentiles of {RESAMPLES:,} resamples of the queries",
        f"*: p < {1 - CONFIDENCE:.2f} in a two-sided paired randomisation test{corrected}",
    ]
    groups = list(dict.fromkeys(row.name for row in rows if row.is_group))
    if groups:
        lines.append(
            f"{', '.join(groups)}: means over subsets; a query that several subsets have is resampled once; "
            "their p is not corrected"
        )
    return lines


def labels(comparison: Comparison) -> tuple[str, str]:
    """Names of the two models, with as much behind them as tells them apart."""
    before, after = (
        (
            side.model,
            f"{side.model}@{side.revision[:12]}",
            f"{side.model} ({side.settings or 'plain'})",
            str(side.folder),
        )
        for side in (comparison.baseline, comparison.model)
    )
    pairs = list(zip(before, after, strict=True))
    return next((pair for pair in pairs if pair[0] != pair[1]), pairs[-1])


def as_table(grid: Grid) -> TerminalTable:
    """For the terminal: columns that belong together share one."""
    marked = [any(cell.endswith("*") for cell in column) for column in zip(*grid.rows, strict=True)]
    widths = [max(map(len, column)) for column in zip(*grid.rows, strict=True)]
    spans = _spans(grid)
    headings = [grid.headings[start] for start, _ in spans]
    table = TerminalTable(*headings, whole=range(1, len(headings)), title=grid.title)
    for number, row in enumerate(grid.rows):
        aligned = [
            (cell if cell.endswith("*") or not has_mark else f"{cell} ").rjust(width)
            for cell, width, has_mark in zip(row, widths, marked, strict=True)
        ]
        cells = [row[0], *(" ".join(aligned[start:end]) for start, end in spans[1:])]
        table.add_row(*cells, style="bold" if number >= grid.groups_from else "")
    return table


def as_markdown(grid: Grid, notes: Sequence[str] = ()) -> str:
    """A pipe table under its title in bold, notes as a list below."""
    rules = ["---", *["---:"] * (len(grid.headings) - 1)]
    lines = [_pipes(grid.headings), f"| {' | '.join(rules)} |", *map(_pipes, grid.rows)]
    below = ["", *(f"- {_markdown(note)}" for note in notes)] if notes else []
    return "\n".join([f"**{_markdown(grid.title)}**", "", *lines, *below])


def as_latex(grid: Grid, notes: Sequence[str] = ()) -> str:
    r"""A `tabular` with the rules of the package booktabs; title and notes are comments."""
    headings = []
    for start, end in _spans(grid):
        heading = _latex(grid.headings[start])
        headings.append(heading if end - start == 1 else rf"\multicolumn{{{end - start}}}{{c}}{{{heading}}}")
    lines = [f"% {grid.title}", rf"\begin{{tabular}}{{l{'r' * (len(grid.headings) - 1)}}}", r"\toprule"]
    lines += [" & ".join(headings) + r" \\", r"\midrule"]
    for number, row in enumerate(grid.rows):
        if number == grid.groups_from:
            lines.append(r"\midrule")
        lines.append(" & ".join([_latex(row[0]), *map(_latex_number, row[1:])]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {note}" for note in notes)]
    return "\n".join(lines)


def all_grids(comparison: Comparison, render: Callable[[Grid, Sequence[str]], str], *, details: bool = False) -> str:
    """All tables of a comparison by `as_markdown` or `as_latex`, legend and notes below the last."""
    *first, last = grids(comparison, details=details)
    notes = [*legend(comparison), *comparison.notes]
    return "\n\n".join([*(render(grid, ()) for grid in first), render(last, notes)])


def as_json(comparisons: Sequence[Comparison], settings: Mapping[str, Any]) -> str:
    """All there is, scores as fractions of 1; settings, such as the split, are recorded beside them."""
    content = {
        "baseline": _record(comparisons[0].baseline),
        "settings": {"confidence": CONFIDENCE, "resamples": RESAMPLES, **settings},
        "comparisons": [
            {
                "model": _record(comparison.model),
                "rows": [{**asdict(row), "difference": row.difference} for row in comparison.rows],
                "notes": comparison.notes,
            }
            for comparison in comparisons
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _spans(grid: Grid) -> list[tuple[int, int]]:
    """The first column of each heading, and the one behind its last."""
    starts = [number for number, heading in enumerate(grid.headings) if heading]
    return list(zip(starts, [*starts[1:], len(grid.headings)], strict=True))


def _grid(title: str, by_metric: Mapping[str, Sequence[Row]], *, details: bool) -> Grid:
    by_row = list(zip(*by_metric.values(), strict=True))
    tested = [any(row.significance for row in rows) for rows in by_metric.values()]
    headings = ["subset"]
    for metric, is_tested in zip(by_metric, tested, strict=True):
        headings += [metric, "", "diff", *([INTERVAL] if is_tested else [])]
        headings += ["p", "Holm", "w/t/l", "d_z"] if is_tested and details else []
    cells = [
        [
            row[0].name,
            *(cell for each, is_tested in zip(row, tested, strict=True) for cell in _cells(each, is_tested, details)),
        ]
        for row in by_row
    ]
    groups_from = sum(not row[0].is_group for row in by_row)
    return Grid(title, headings, cells, groups_from)


def _cells(row: Row, is_tested: bool, details: bool) -> list[str]:
    found = row.significance
    mark = "*" if found and _is_significant(found) else ""
    cells = [f"{100 * row.baseline:.1f}", f"{100 * row.model:.1f}", f"{100 * row.difference:+.1f}{mark}"]
    if not is_tested:
        return cells
    if found is None:
        return cells + [""] * (5 if details else 1)
    cells.append(f"[{100 * found.low:.1f}, {100 * found.high:.1f}]")
    if details:
        adjusted = "" if found.adjusted is None else f"{found.adjusted:.4f}"
        effect = "" if found.effect_size is None else f"{found.effect_size:+.2f}"
        cells += [f"{found.p_value:.4f}", adjusted, f"{found.wins}/{found.ties}/{found.losses}", effect]
    return cells


def _is_significant(found: Significance) -> bool:
    return (found.p_value if found.adjusted is None else found.adjusted) < 1 - CONFIDENCE


def _record(results: ModelResults) -> dict[str, Any]:
    return {**asdict(results), "folder": str(results.folder)}


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_markdown, cells))} |"


def _markdown(text: str) -> str:
    return re.sub(r"([|*])", r"\\\1", text)


def _latex(text: str) -> str:
    return re.sub(r"([_%&#$])", r"\\\1", text)


def _latex_number(cell: str) -> str:
    """Signs as minus signs, and the mark raised."""
    return re.sub(r"[+-]?\d+(?:\.\d+)?", r"$\g<0>$", cell).replace("*", "$^{*}$")
