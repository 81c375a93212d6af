"""What was read, kept and left out, source by source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

_COUNTS = ("read", "kept", "excluded", "malformed", "empty", "identical", "length_ratio", "duplicate")


@dataclass
class SourceReport:
    """Counts of one source: `read` is the sum of all the others.

    Attributes:
        source: The source's spec.
        language: ISO 639-3 code of the other side.
        read: Records read, malformed ones included.
        kept: Pairs in the corpus.
        excluded: Records that `exclude_ids` or `keep` left out.
        malformed: Records that could not be read.
        empty: Records with a blank side.
        identical: Records whose sides are equal but for case.
        length_ratio: Records whose sides differ too much in length.
        duplicate: Records whose pair is in the corpus already.
        malformed_at: The first malformed records, `file:line: reason`.
    """

    source: str
    language: str
    read: int = 0
    kept: int = 0
    excluded: int = 0
    malformed: int = 0
    empty: int = 0
    identical: int = 0
    length_ratio: int = 0
    duplicate: int = 0
    malformed_at: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """The reports of all sources of a corpus, in their order."""

    sources: Sequence[SourceReport] = ()

    def lines(self) -> list[str]:
        """A text table, one line a source and one for the total, then the first malformed records."""
        totals = [sum(getattr(source, name) for source in self.sources) for name in _COUNTS]
        rows = [
            ["source", "language", *_COUNTS],
            *([s.source, s.language, *(str(getattr(s, name)) for name in _COUNTS)] for s in self.sources),
            ["total", "", *map(str, totals)],
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = [
            "  ".join(
                cell.ljust(width) if place < 2 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return [*table, *(f"malformed: {where}" for source in self.sources for where in source.malformed_at)]

    def __str__(self) -> str:
        return "\n".join(self.lines())
