"""Figures of a study: scores against the number of pairs, slopes, interference; the same bytes from the same scores."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_file
from optical_mteb.study.analysis import Estimate
from optical_mteb.study.contrasts import Added, Contrast
from optical_mteb.study.replicates import GROUPS, LOW_TRAINED, MEASURE, NAME
from optical_mteb.study.summary import StudySummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers tell apart; markers for those who see none.
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "os^Dvp*"

_MOST_ROWS = 12
"""Rows of a figure of interference; of more languages it shows all together."""


def check_plotting() -> None:
    """Check that figures can be drawn.

    Raises:
        InputError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise InputError('figures need matplotlib; install it: pip install "optical-mteb[plot]", or pass --no-figures')


def draw(summary: StudySummary, folder: Path) -> dict[str, Path]:
    """Draw what there is to draw into a folder; needs what `check_plotting` looks for.

    Returns:
        SVG file of each figure by its title.

    Raises:
        InputError: The folder cannot be written to.
    """
    drawn: list[tuple[str, str, Figure]] = []
    for budget in dict.fromkeys(mean.budget for mean in summary.means):
        if len({mean.pairs for mean in summary.means if mean.budget == budget}) > 1:
            title = f"{NAME} against the number of language pairs, budget {budget}"
            drawn.append((title, f"{MEASURE}-{budget}", _curves(summary, budget)))
    for budget in dict.fromkeys(slope.budget for slope in summary.slopes):
        title = f"{NAME} per doubling of the pairs, budget {budget}"
        drawn.append((title, f"slope-{budget}", _slopes(summary, budget)))
    if summary.interference:
        title = f"{NAME}: high-resource pairs joined, after less before"
        drawn.append((title, "interference", _interference(summary.interference)))
    for budget in dict.fromkeys(each.budget for each in summary.added):
        title = f"{NAME} that other batches add, budget {budget}"
        drawn.append((title, f"added-{budget}", _added([each for each in summary.added if each.budget == budget])))
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "optical-mteb", "svg.fonttype": "none"}):
        for title, stem, figure in drawn:
            with atomic_file(folder / f"{stem}.svg") as scratch:
                figure.savefig(scratch, format="svg", metadata={"Date": None, "Title": title})
    return {title: folder / f"{stem}.svg" for title, stem, _ in drawn}


def _figure(width: float, height: float, **layout: Any) -> tuple[Figure, Any]:  # noqa: ANN401 - axes of any number
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(**layout)


def _curves(summary: StudySummary, budget: str) -> Figure:
    means = [each for each in summary.means if each.budget == budget]
    approaches = list(dict.fromkeys(each.approach for each in means))
    figure, axes = _figure(9, 6, nrows=2, ncols=3, sharex=True)
    numbers = sorted({each.pairs for each in means})
    for axis, group in zip(axes.flat, GROUPS, strict=True):
        for place, approach in enumerate(approaches):
            own = sorted((e for e in means if (e.group, e.approach) == (group, approach)), key=lambda each: each.pairs)
            pairs = [each.pairs for each in own]
            colour = _COLOURS[place % len(_COLOURS)]
            axis.plot(
                pairs,
                [100 * each.estimate.value for each in own],
                color=colour,
                marker=_MARKERS[place % len(_MARKERS)],
                markersize=4,
                label=_label(summary, approach),
            )
            low, high = ([100 * getattr(each.estimate, end) for each in own] for end in ("low", "high"))
            axis.fill_between(pairs, low, high, color=colour, alpha=0.08, linewidth=0)
        _numbers_of_pairs(axis, numbers)
        axis.set_title(group, fontsize=10)
        _plain(axis)
    for axis in axes[1]:
        axis.set_xlabel("language pairs")
    for axis in axes[:, 0]:
        axis.set_ylabel(f"{NAME} x 100")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _label(summary: StudySummary, approach: str) -> str:
    """An approach, and how many orders it has where others have more."""
    orders = summary.orders(approach)
    fewer = 0 < orders < max(summary.orders(each.approach) for each in summary.slopes)
    return f"{approach} ({orders} order{'s' * (orders > 1)})" if fewer else approach


def _numbers_of_pairs(axis: Axes, numbers: Sequence[int]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(numbers), [str(number) for number in numbers])
    axis.minorticks_off()


def _slopes(summary: StudySummary, budget: str) -> Figure:
    slopes = [e for e in summary.slopes if e.budget == budget and e.group in GROUPS]
    groups = [group for group in GROUPS if any(each.group == group for each in slopes)]
    figure, axis = _figure(7, 0.5 + 0.75 * len(groups))
    _rows(axis, [(groups.index(each.group), each.approach, each.estimate) for each in slopes])
    axis.set_yticks(range(len(groups)), groups)
    axis.set_xlabel(f"{NAME} x 100 per doubling of the pairs")
    return figure


def _interference(contrasts: Sequence[Contrast]) -> Figure:
    rows = list(dict.fromkeys((each.what, each.group) for each in contrasts))
    if len(rows) > _MOST_ROWS:
        contrasts = [each for each in contrasts if each.group == LOW_TRAINED]
        rows = list(dict.fromkeys((each.what, each.group) for each in contrasts))
    figure, axis = _figure(7.5, 0.8 + 0.7 * len(rows))
    _rows(
        axis,
        [
            (rows.index((each.what, each.group)), f"{each.approach}, {each.budget}", each.difference.estimate)
            for each in contrasts
        ],
    )
    axis.set_yticks(range(len(rows)), [f"{language}\n{what}" for what, language in rows], fontsize=8)
    axis.set_xlabel(f"{NAME} x 100, after less before")
    return figure


def _added(found: Sequence[Added]) -> Figure:
    groups = list(dict.fromkeys(each.group for each in found))
    kinds = list(dict.fromkeys((each.approach, each.equal) for each in found))
    numbers = sorted({each.pairs for each in found})
    figure, axes = _figure(2.6 * len(groups) + 0.6, 3.2, ncols=len(groups), sharey=True, squeeze=False)
    for axis, group in zip(axes.flat, groups, strict=True):
        for place, kind in enumerate(kinds):
            own = [each for each in found if (each.group, each.approach, each.equal) == (group, *kind)]
            estimates = [each.difference.estimate for each in own]
            axis.errorbar(
                [each.pairs * 2 ** (0.1 * (place - (len(kinds) - 1) / 2)) for each in own],
                [100 * each.value for each in estimates],
                yerr=_ends(estimates),
                fmt=_MARKERS[place % len(_MARKERS)],
                color=_COLOURS[(place + 1) % len(_COLOURS)],
                markersize=4,
                linewidth=1,
                label=f"{kind[0]}, equal {kind[1]}",
            )
        axis.axhline(0, color="0.5", linewidth=0.8)
        _numbers_of_pairs(axis, numbers)
        axis.set_title(group, fontsize=10)
        axis.set_xlabel("language pairs")
        _plain(axis)
    axes[0, 0].set_ylabel(f"{NAME} x 100, less the recipe as it is")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _ends(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Lengths of error bars to both sides, x 100."""
    return [
        [100 * max(each.value - each.low, 0.0) for each in estimates],
        [100 * max(each.high - each.value, 0.0) for each in estimates],
    ]


def _rows(axis: Axes, found: Sequence[tuple[int, str, Estimate]]) -> None:
    """Estimates by row and kind, the kinds of a row beside each other."""
    kinds = list(dict.fromkeys(kind for _, kind, _ in found))
    for place, kind in enumerate(kinds):
        own = [(row, each) for row, its, each in found if its == kind]
        axis.errorbar(
            [100 * each.value for _, each in own],
            [row + (place - (len(kinds) - 1) / 2) * 0.16 for row, _ in own],
            xerr=_ends([each for _, each in own]),
            fmt=_MARKERS[(place + 1) % len(_MARKERS)],
            color=_COLOURS[(place + 1) % len(_COLOURS)],
            markersize=4,
            linewidth=1,
            label=kind,
        )
    axis.legend(frameon=False, fontsize=8)
    axis.invert_yaxis()
    axis.axvline(0, color="0.5", linewidth=0.8)
    _plain(axis)


def _plain(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="0.92", linewidth=0.6)
    axis.set_axisbelow(True)
