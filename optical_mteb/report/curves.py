"""The curves of a study in a report: scores against the number of language pairs, drawn as SVG."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optical_mteb.errors import InputError

WIDTH, HEIGHT = 330, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 12, 10, 34


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
    metric: str
    estimate: _Estimate


class _Summary(BaseModel):
    study: str
    means: list[_Mean]


@dataclass(frozen=True)
class Panel:
    """Curves of one group of languages.

    Attributes:
        title: The group.
        svg: The drawing.
        rows: What it shows as a table: approach, then score and interval by number of pairs.
    """

    title: str
    svg: Markup
    rows: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class StudyCurves:
    """A study.

    Attributes:
        name: Its name.
        metric: Score on the vertical axis.
        budget: Budget of its trainings.
        approaches: Names in the order of their colours.
        pairs: Numbers of pairs.
        panels: A panel a group.
    """

    name: str
    metric: str
    budget: str
    approaches: list[str]
    pairs: list[int]
    panels: list[Panel]


def find_studies(folder: Path, notes: list[str], metric: str) -> list[StudyCurves]:
    """Curves of the studies whose `summary.json` lies below a folder; a damaged one is noted.

    Args:
        folder: Result folder.
        notes: Takes a line for each that cannot be read.
        metric: Score to show.
    """
    found = []
    for path in sorted(folder.rglob("summary.json")):
        try:
            summary = _read(path)
        except InputError as error:
            notes.append(str(error))
            continue
        for budget in dict.fromkeys(mean.budget for mean in summary.means):
            means = [mean for mean in summary.means if (mean.budget, mean.metric) == (budget, metric)]
            if means:
                found.append(_curves(summary.study, metric, budget, means))
    return found


def _read(path: Path) -> _Summary:
    try:
        return _Summary.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not the summary of a study ({reason}); run the study again") from None


def _curves(name: str, metric: str, budget: str, means: Sequence[_Mean]) -> StudyCurves:
    approaches = list(dict.fromkeys(mean.approach for mean in means))
    pairs = sorted({mean.pairs for mean in means})
    panels = []
    for group in dict.fromkeys(mean.group for mean in means):
        own = [mean for mean in means if mean.group == group]
        panels.append(Panel(group, _drawing(group, approaches, pairs, own), list(_rows(approaches, pairs, own))))
    return StudyCurves(name, metric, budget, approaches, pairs, panels)


def _rows(approaches: Sequence[str], pairs: Sequence[int], means: Sequence[_Mean]) -> Iterator[tuple[str, list[str]]]:
    estimates = {(mean.approach, mean.pairs): mean.estimate for mean in means}
    for approach in approaches:
        cells = [estimates.get((approach, number)) for number in pairs]
        if any(cells):
            yield (
                approach,
                [f"{100 * e.value:.1f} [{100 * e.low:.1f}, {100 * e.high:.1f}]" if e else "" for e in cells],
            )


def _drawing(group: str, approaches: Sequence[str], pairs: Sequence[int], means: Sequence[_Mean]) -> Markup:
    low, high, step = _scale(means)

    def across(number: int) -> float:
        first, last = math.log2(pairs[0]), math.log2(pairs[-1])
        share = (math.log2(number) - first) / (last - first) if last > first else 0.5
        return _LEFT + 8 + share * (WIDTH - _LEFT - _RIGHT - 16)

    def up(score: float) -> float:
        return HEIGHT - _BOTTOM - (score - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}: score by number of language pairs">').format(
            WIDTH, HEIGHT, group
        )
    ]
    tick = low
    while tick <= high + 1e-9:
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text x="{}" y="{:.1f}" class="end">{:g}</text>'
            ).format(_LEFT, WIDTH - _RIGHT, up(tick), up(tick), _LEFT - 5, up(tick) + 4, round(tick, 3))
        )
        tick += step
    parts += [
        Markup('<text x="{:.1f}" y="{}" class="middle">{}</text>').format(across(number), HEIGHT - _BOTTOM + 16, number)
        for number in pairs
    ]
    parts.append(
        Markup('<text x="{}" y="{}" class="middle">language pairs</text>').format(
            (_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 3
        )
    )
    for place, approach in enumerate(approaches):
        own = sorted((mean for mean in means if mean.approach == approach), key=lambda mean: mean.pairs)
        if not own:
            continue
        points = [(across(mean.pairs), up(100 * mean.estimate.value)) for mean in own]
        edge = [(across(mean.pairs), up(100 * mean.estimate.high)) for mean in own]
        edge += [(across(mean.pairs), up(100 * mean.estimate.low)) for mean in reversed(own)]
        series = Markup("s{}").format(place % 7)
        parts.append(Markup('<polygon class="band {}" points="{}"/>').format(series, _points(edge)))
        parts.append(Markup('<polyline class="curve {}" points="{}"/>').format(series, _points(points)))
        parts += [
            Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(series, x, y) for x, y in points
        ]
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _scale(means: Sequence[_Mean]) -> tuple[float, float, float]:
    """Round bounds in points that hold every interval, and the distance of two ticks."""
    low = min(100 * mean.estimate.low for mean in means)
    high = max(100 * mean.estimate.high for mean in means)
    step = next((size for size in (1, 2, 5, 10, 20) if (high - low) / size <= 5), 50)
    return math.floor(low / step) * step, max(math.ceil(high / step), math.floor(low / step) + 1) * step, step
