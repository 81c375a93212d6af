"""Tables for a terminal of any width: words stay whole, and rows become blocks of lines where the columns do not fit."""

from __future__ import annotations

from collections.abc import Collection

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table
from rich.text import Text


class TerminalTable:
    """Rows under headings.

    Cells are wrapped between words where the terminal is narrow. Where a word would still be cut, each row is a block: its
    first cell, and below it a line for each other cell, after its heading.
    """

    def __init__(
        self, *headings: str, whole: Collection[int] = (), prose: Collection[int] = (), title: str = ""
    ) -> None:
        """Begin a table without rows.

        Args:
            headings: One a column. The first column is never wrapped.
            whole: Places of the columns, counted from 0, that are never wrapped and stand to the right: numbers.
            prose: Places of columns of running text, whose words may be cut: not all scripts put blanks between words.
            title: What is above the table.
        """
        self.headings = headings
        self._whole = frozenset(whole)
        self._prose = frozenset(prose)
        self.title = title
        self.rows: list[tuple[Text, ...]] = []

    def add_row(self, *cells: str | Text, style: str = "") -> None:
        """Add a row, in a style as rich names it; cells that are left out are empty."""
        every = [*cells, *[""] * (len(self.headings) - len(cells))]
        texts = tuple(cell if isinstance(cell, Text) else Text(cell) for cell in every)
        for text in texts:
            text.stylize(style)
        self.rows.append(texts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The form that fits the width."""
        if self.title:
            yield Text(self.title, style="italic")
        for gap in (2, 1):
            if widths := self._widths(options.max_width - gap * (len(self.headings) - 1)):
                yield self._table(widths, gap)
                return
        yield from self._blocks()

    def _widths(self, room: int) -> list[int]:
        """A width for each column, the widest made narrower first; none where the words do not fit."""
        least, widths = [], []
        for place, (heading, *column) in enumerate(zip(self.headings, *self.rows, strict=True)):
            cells = [cell.plain for cell in column]
            stays = place == 0 or place in self._whole
            pieces = [*heading.split(), *(cells if stays else [word for cell in cells for word in cell.split()])]
            longest = max(map(cell_len, pieces), default=0)
            least.append(min(longest, 2 * len("a long word")) if place in self._prose else longest)
            widths.append(max(map(cell_len, [*cells, heading] if not stays else [*cells, *heading.split()])))
        if sum(least) > room:
            return []
        while sum(widths) > room:
            widest = max(
                (place for place in range(len(widths)) if widths[place] > least[place]), key=widths.__getitem__
            )
            widths[widest] -= 1
        return widths

    def _table(self, widths: list[int], gap: int) -> Table:
        columns = (
            Column(heading, width=width, justify="right" if place in self._whole else "left", overflow="fold")
            for place, (heading, width) in enumerate(zip(self.headings, widths, strict=True))
        )
        table = Table(*columns, box=None, padding=(0, gap, 0, 0), pad_edge=False)
        for cells in self.rows:
            table.add_row(*cells)
        return table

    def _blocks(self) -> RenderResult:
        before = None
        for first, *others in self.rows:
            if before is not None:
                yield Text()
            if before is None or first.plain != before:
                yield Text(first.plain, style="bold")
            before = first.plain
            block = Table.grid(padding=(0, 2, 0, 0))
            block.add_column(no_wrap=True)
            block.add_column(overflow="fold")
            for heading, cell in zip(self.headings[1:], others, strict=True):
                if cell.plain.strip():
                    block.add_row(f"  {heading}", cell)
            yield block
