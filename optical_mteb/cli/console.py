"""How commands print."""

from __future__ import annotations

from rich.table import Column, Table


def table_of(*headings: str) -> Table:
    """A table that keeps the names in its first column whole and folds the others in a narrow terminal."""
    first, *others = headings
    return Table(Column(first, no_wrap=True), *(Column(heading, overflow="fold") for heading in others), box=None)
