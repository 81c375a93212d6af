"""Two models side by side, subset by subset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from rich.table import Table

from optical_mteb.errors import InputError
from optical_mteb.scores.results import Scores

GROUPS = {"low-resource": tuple(f"{code}-eng" for code in ("swh", "som", "fil", "tgl", "mar"))}
"""Subsets whose mean a comparison shows: the low-resource languages that students are trained on."""


def comparison_table(
    baseline: Scores, model: Scores, *, metrics: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> Table:
    """A table of scores in points (hundredths): baseline, model and difference for each subset and group mean.

    Args:
        baseline: Scores to compare with.
        model: Scores to compare.
        metrics: Scores to show.
        groups: Subsets to average, by the group's name; the mean of all subsets comes last by itself.

    Raises:
        InputError: The two have scores of different subsets.
    """
    if baseline.values.keys() != model.values.keys():
        only = sorted(baseline.values.keys() ^ model.values.keys())
        raise InputError(
            f"{model.task}: only one side has scores of {', '.join(only)}; run both models on the same subsets"
        )
    table = Table("subset", title=f"{model.task}: {baseline.model} -> {model.model}", box=None)
    for metric in metrics:
        for heading in (metric, "", "diff"):
            table.add_column(heading, justify="right")
    for subset in model.values:
        table.add_row(subset, *_cells(baseline, model, [subset], metrics))
    table.add_section()
    for group, subsets in groups.items():
        present = [subset for subset in subsets if subset in model.values]
        if present:
            table.add_row(group, *_cells(baseline, model, present, metrics), style="bold")
    table.add_row("all", *_cells(baseline, model, list(model.values), metrics), style="bold")
    return table


def _cells(baseline: Scores, model: Scores, subsets: Sequence[str], metrics: Sequence[str]) -> list[str]:
    cells = []
    for metric in metrics:
        before, after = (
            100 * fmean(scores.values[subset][metric] for subset in subsets) for scores in (baseline, model)
        )
        cells += [f"{before:.1f}", f"{after:.1f}", f"{after - before:+.1f}"]
    return cells
