"""The curves of a study in a report: scores against the number of language pairs, as the study drew them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

FIGURES = "figures"
"""Folder of a study's figures, beside its summary."""


class _Estimate(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    value: float
    low: float
    high: float


class _Mean(BaseModel):
    approach: str
    budget: str
    pairs: int = Field(ge=1)
    group: str
    estimate: _Estimate


class _Summary(BaseModel):
    study: str
    metric: str
    means: list[_Mean]


@dataclass(frozen=True)
class StudyCurves:
    """A study.

    Attributes:
        name: Its name.
        metric: Score on the vertical axis.
        budget: Budget of its trainings.
        pairs: Numbers of pairs.
        tables: By group of languages: approach, then score and interval by number of pairs.
        figure: The drawing; none if the study was made without figures.
    """

    name: str
    metric: str
    budget: str
    pairs: list[int]
    tables: dict[str, list[tuple[str, list[str]]]]
    figure: Path | None


def find_studies(folder: Path, notes: list[str]) -> list[StudyCurves]:
    """Curves of the studies whose `summary.json` lies below a folder; notes get a line for each that is damaged."""
    found = []
    for path in sorted(folder.rglob("summary.json")):
        try:
            summary = _Summary.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            notes.append(f"{path}: not the summary of a study ({reason}); run the study again")
            continue
        for budget in dict.fromkeys(mean.budget for mean in summary.means):
            means = [mean for mean in summary.means if mean.budget == budget]
            pairs = sorted({mean.pairs for mean in means})
            tables = {
                group: _rows([mean for mean in means if mean.group == group], pairs)
                for group in dict.fromkeys(mean.group for mean in means)
            }
            figure = path.parent / FIGURES / f"{summary.metric}-{budget}.svg"
            drawn = figure if figure.is_file() else None
            found.append(StudyCurves(summary.study, summary.metric, budget, pairs, tables, drawn))
    return found


def _rows(means: Sequence[_Mean], pairs: Sequence[int]) -> list[tuple[str, list[str]]]:
    """Scores and intervals of a group by approach and number of pairs."""
    found = {(mean.approach, mean.pairs): mean.estimate for mean in means}
    return [
        (
            approach,
            [
                f"{100 * e.value:.1f} [{100 * e.low:.1f}, {100 * e.high:.1f}]" if e else ""
                for e in (found.get((approach, number)) for number in pairs)
            ],
        )
        for approach in dict.fromkeys(mean.approach for mean in means)
    ]
