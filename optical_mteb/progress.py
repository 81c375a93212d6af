"""What long work says while it runs: a line that moves on a terminal, and plain lines now and then in a file or a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS = 15.0
"""Between two plain lines, at least."""

SHARE = 0.2
"""Of the whole work, between two plain lines, unless they are `LONG` apart."""

LONG = 600.0
"""Seconds after which a plain line comes however little was done."""


class ProgressLine:
    """How far some work is; called with how much more is done.

    Attributes:
        total: All that is to be done; None where that is not known, which may change.
    """

    def __init__(self, what: str, total: int | None, done: int, unit: str) -> None:
        self.total = total
        self._what, self._done, self._unit, self._note = what, done, unit, ""
        self._begun: tuple[float, int] | None = None
        self._said = (time.monotonic(), done)

    def __call__(self, more: int = 1, note: str = "") -> None:
        """Count `more` as done since the last call, and say a note beside: the last one by default."""
        self._done += more
        self._note = note or self._note
        now = time.monotonic()
        # What the first call brings may have been done in an earlier run.
        self._begun = self._begun or (now, self._done)
        self._show(now)

    def _show(self, now: float) -> None:
        """Nothing: another line is on."""


class _PlainLine(ProgressLine):
    def _show(self, now: float) -> None:
        seconds, more = now - self._said[0], self._done - self._said[1]
        if seconds >= SECONDS and (more >= SHARE * (self.total or 0) or seconds >= LONG):
            self._said = (now, self._done)
            print(self._plain(now), file=sys.stderr, flush=True)

    def _plain(self, now: float) -> str:
        amount = f"{self._done:,}" + (f" of {self.total:,}" if self.total else "")
        parts = [f"{self._what}: {amount} {self._unit}".rstrip()]
        if self._note:
            parts.append(self._note)
        if self.total and self._begun and self._begun[1] < self._done <= self.total:
            rest = (self.total - self._done) * (now - self._begun[0]) / (self._done - self._begun[1])
            parts.append(f"{duration(rest)} left")
        return ", ".join(parts)


class _TerminalLine(ProgressLine):
    def __init__(self, what: str, total: int | None, done: int, unit: str, progress: Progress) -> None:
        super().__init__(what, total, done, unit)
        self._progress = progress
        self._bar = progress.add_task(what, total=total, completed=done, amount="", note="")

    def _show(self, now: float) -> None:  # noqa: ARG002 - rich has a clock of its own
        amount = f"{self._done:,}" + (f"/{self.total:,}" if self.total else "")
        self._progress.update(
            self._bar,
            total=self.total,
            completed=self._done,
            amount=f"{amount} {self._unit}".rstrip(),
            note=self._note,
        )


@contextmanager
def progress_line(what: str, total: int | None = None, done: int = 0, *, unit: str = "") -> Iterator[ProgressLine]:
    """A line on standard error, which a terminal forgets when the work is done; one at a time, the outermost.

    `total` is None where that is not known, `done` what is done already, and `unit` the word for what is counted.
    """
    if _ON:
        yield ProgressLine(what, total, done, unit)
        return
    _ON.append(what)
    try:
        console = Console(stderr=True)
        if console.is_terminal:
            with Progress(*_COLUMNS, console=console, transient=True) as progress:
                yield _TerminalLine(what, total, done, unit, progress)
        else:
            yield _PlainLine(what, total, done, unit)
    finally:
        _ON.clear()


_ON: list[str] = []
"""What has a line now."""

_COLUMNS = (
    TextColumn("{task.description}", markup=False),
    BarColumn(),
    TextColumn("{task.fields[amount]}", markup=False),
    TimeRemainingColumn(),
    TextColumn("{task.fields[note]}", markup=False),
)


def duration(seconds: float) -> str:
    """Seconds as a person reads them: `45 s`, `3 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"
