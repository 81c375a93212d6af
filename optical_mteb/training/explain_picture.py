"""The picture of an alignment: a heat map of the transport plan between two sentences' tokens."""

from __future__ import annotations

import logging
import os
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from optical_mteb.training.explain import Alignment

SUFFIXES = (".png", ".pdf", ".svg")
"""Formats of a picture."""


def draw(alignments: Sequence[Alignment], path: Path, *, say: Callable[[str], None] = print) -> None:
    """Write the alignments as heat maps, one panel each: shares of every translation token's mass.

    Args:
        alignments: What `align` returned, at least one.
        path: File to write, which `check_output` has found usable.
        say: Takes a line if no font on this machine has a character; such tokens are shown as their numbers.

    Raises:
        InputError: The file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    texts = chain.from_iterable((*a.english, *a.translation, a.label) for a in alignments)
    with _quiet():
        families, missing = _fonts(set(chain.from_iterable(texts)))
    if missing:
        say(_missing_line(missing))
    settings: dict[Any, Any] = {"font.family": families, "svg.fonttype": "path", "axes.unicode_minus": False}
    with _quiet(), mpl.rc_context(settings):
        figure = _figure(alignments, missing)
        FigureCanvasAgg(figure)
        try:
            figure.savefig(path, dpi=160, bbox_inches="tight", pad_inches=0.15)
        except OSError as error:
            raise _not_writable(path, error.strerror or str(error)) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep matplotlib's remarks on single glyphs and font weights from the user, who reads one line on them."""
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*[Gg]lyph")
            yield
    finally:
        log.setLevel(level)


def check_output(path: Path) -> None:
    """Check that a picture can be drawn and written there.

    Raises:
        InputError: Its suffix is unknown, it cannot be written, or matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: cannot draw {path.suffix or 'a file without suffix'}; use one of {', '.join(SUFFIXES)}"
        )
    if path.is_dir():
        raise _not_writable(path, "it is a folder")
    if not path.parent.is_dir():
        raise _not_writable(path, "no such folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise _not_writable(path, "permission denied")
    if find_spec("matplotlib") is None:
        raise InputError("pictures need matplotlib: pip install 'optical-mteb[plot]', or leave --output out")


def _not_writable(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: cannot write there ({reason}); choose another place for the picture")


# The picture: sizes in inches, type in points.
_CELL, _SMALLEST_CELL, _LONGEST_SIDE = 0.44, 0.15, 16.0
_INK, _FAINT = "#1f2933", "#7b8794"


def _figure(alignments: Sequence[Alignment], missing: set[str]) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    most = max(max(a.plan.shape) for a in alignments)
    cell = max(_SMALLEST_CELL, min(_CELL, 12 / most))
    type_size = max(4.5, min(10.0, cell * 72 * 0.42))
    widths, heights = [], []
    for a in alignments:
        # About the widths of the longest labels; those of the columns are slanted.
        above, beside = (
            max(map(cell_len, _labels(tokens, missing))) * type_size * 0.62 / 72
            for tokens in (a.english, a.translation)
        )
        widths.append(max(4.2, len(a.english) * cell + 0.7 * above) + beside + 0.3)
        heights.append(len(a.translation) * cell + 0.7 * above + 1.0)
    in_a_row = sum(widths) <= _LONGEST_SIDE
    size = (sum(widths) + 1, max(heights)) if in_a_row else (max(widths) + 1, sum(heights))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15), facecolor="white")
    rows, columns = (1, len(alignments)) if in_a_row else (len(alignments), 1)
    panels = figure.subplots(
        rows,
        columns,
        squeeze=False,
        width_ratios=widths if in_a_row else None,
        height_ratios=None if in_a_row else heights,
    ).flatten()
    top = max(float(a.shares.max()) for a in alignments)
    for panel, alignment in zip(panels, alignments, strict=True):
        image = _panel(panel, alignment, missing, top, cell, type_size)
    bar = figure.colorbar(image, ax=list(panels), shrink=0.6, aspect=22, pad=0.02)
    for panel in panels:
        # A colour bar moves the panels that it belongs to.
        panel.set_anchor("N")
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    bar.ax.tick_params(labelsize=8, colors=_FAINT, length=0)
    bar.set_label("share of the token's mass", size=8, color=_FAINT)
    bar.outline.set_visible(False)
    return figure


def _panel(panel: Axes, alignment: Alignment, missing: set[str], top: float, cell: float, type_size: float) -> Any:  # noqa: ANN401 - matplotlib's AxesImage
    from matplotlib.colors import LinearSegmentedColormap

    shares = alignment.shares
    rows, columns = shares.shape
    colours = LinearSegmentedColormap.from_list("mass", ["#f4f6f8", "#c6e2e6", "#6fb7c4", "#23809b", "#0b3c5d"])
    image = panel.imshow(shares.numpy(), cmap=colours, vmin=0, vmax=top, aspect="equal", interpolation="nearest")
    panel.xaxis.tick_top()
    labels: dict[str, Any] = {"fontsize": type_size, "color": _INK, "parse_math": False}
    panel.set_xticks(
        range(columns), _labels(alignment.english, missing), rotation=45, ha="left", rotation_mode="anchor", **labels
    )
    panel.set_yticks(range(rows), _labels(alignment.translation, missing), **labels)
    panel.set_xticks([edge - 0.5 for edge in range(columns + 1)], minor=True)
    panel.set_yticks([edge - 0.5 for edge in range(rows + 1)], minor=True)
    panel.grid(which="minor", color="white", linewidth=min(1.5, cell * 3))
    panel.tick_params(which="both", length=0)
    panel.spines[:].set_visible(False)
    if cell >= 0.3:
        for row, column in (shares >= 0.1).nonzero().tolist():
            share = float(shares[row, column])
            ink = "white" if share > 0.55 * top else _INK
            panel.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=type_size - 2.5, color=ink)
    panel.set_title(alignment.label, fontsize=11, fontweight="bold", color=_INK, loc="left", pad=20, parse_math=False)
    panel.annotate(
        alignment.summary,
        (0, 0),
        (0, -8),
        xycoords="axes fraction",
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=_FAINT,
    )
    return image


def _labels(tokens: Sequence[str], missing: set[str]) -> list[str]:
    """Tokens, or their numbers where no font has them."""
    return [str(number) if missing & set(token) else token for number, token in enumerate(tokens, start=1)]


def _fonts(characters: set[str]) -> tuple[list[str], set[str]]:
    """Font families that cover the characters, the usual one first, and the characters that none has."""
    from matplotlib.font_manager import fontManager

    families = ["DejaVu Sans"]
    wanted = {character for character in characters if character.isprintable() and not character.isspace()}
    missing = wanted.difference(*(covered for _, covered in _coverage(families)))
    if not missing:
        return families, missing
    # Last Resort draws boxes; it covers everything and shows nothing.
    upright = {e.name for e in fontManager.ttflist if e.style == "normal" and "Last Resort" not in e.name}
    for family, covered in sorted(_coverage(sorted(upright)), key=lambda found: -len(found[1] & missing)):
        if covered & missing:
            families.append(family)
            missing -= covered
    return families, missing


def _coverage(families: Iterable[str]) -> Iterator[tuple[str, set[str]]]:
    """Font families and the characters that they have; those that cannot be opened are left out."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    for family in families:
        try:
            font = get_font(findfont(FontProperties(family=family)))
        except (OSError, RuntimeError, ValueError):
            continue
        yield family, set(map(chr, font.get_charmap()))


def _missing_line(missing: set[str]) -> str:
    shown = " ".join(sorted(missing)[:8]) + (" ..." if len(missing) > 8 else "")
    scripts = sorted({unicodedata.name(character, "?").split()[0].title() for character in missing})
    return (
        f"picture: no font here has {shown} ({', '.join(scripts)}); tokens with them are shown as their numbers; "
        "install a font that has them, such as one of the Noto family"
    )
