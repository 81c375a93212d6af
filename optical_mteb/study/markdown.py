"""How a study's document writes scores and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from optical_mteb.study.analysis import Estimate

SMALLEST_P = 0.001
"""p-values below are not told apart."""

Cells = dict[tuple[tuple[str, ...], str], str]
"""Cells of a table by the names of the row, and the column's heading."""


def interval(estimate: Estimate) -> str:
    """A score x 100 and its interval."""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def signed(estimate: Estimate) -> str:
    """A difference x 100 and its interval, with signs."""
    return f"{100 * estimate.value:+.2f} [{100 * estimate.low:+.2f}, {100 * estimate.high:+.2f}]"


def bold_if_not_zero(estimate: Estimate) -> str:
    """The same, bold where the interval is without 0."""
    return f"**{signed(estimate)}**" if estimate.low > 0 or estimate.high < 0 else signed(estimate)


def shown_p(p: float) -> str:
    """A p-value, as it stands in a sentence or a table."""
    return f"p {p:.3f}" if p >= SMALLEST_P else f"p < {SMALLEST_P}"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def crossed(headings: Sequence[str], cells: Cells, columns: Sequence[str] | None = None) -> str:
    """A Markdown table of cells by row and column, empty where there is none; columns are those of the cells by default.

    `headings` are of what names a row.
    """
    if columns is None:
        columns = list(dict.fromkeys(column for _, column in cells))
    rows = dict.fromkeys(row for row, _ in cells)
    return table([*headings, *columns], [[*row, *(cells.get((row, each), "") for each in columns)] for row in rows])


def listed(words: Sequence[str]) -> str:
    """Words with commas and a last `and`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
