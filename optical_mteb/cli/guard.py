"""The edge of the command: output that any terminal takes, and one line for input that no reader foresaw."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb

from optical_mteb.errors import InputError

DEBUG = "--debug"


def take_debug(arguments: list[str]) -> bool:
    """Take `--debug` out of a command line, in place, wherever it stands before `--`; returns whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [word for word in arguments[:end] if word != DEBUG]
    found = len(kept) < end
    arguments[:end] = kept
    return found


def print_anything() -> None:
    """Have characters that a terminal lacks (cp1252, ASCII) printed as escapes, not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def rank() -> int:
    """Number of this process among those that torchrun started; 0 where it started none.

    Raises:
        InputError: `RANK` is not a number.
    """
    found = os.environ.get("RANK", "0")
    if not (found.isascii() and found.isdecimal()):
        raise InputError(f"RANK={found}: expected the number of this process, as torchrun sets it; unset it")
    return int(found)


@contextmanager
def errors_in_one_line(*, debug: bool) -> Iterator[None]:
    """Print an error that bad input caused as one line, and exit with code 2.

    An `InputError` was foreseen, and its text is enough. What the system, a number or a text did not allow (`OSError`,
    `ValueError`, `OverflowError`, `RecursionError`) may still be a fault of this package: the line says where it
    happened and how to see the traceback. Any other exception is a fault. It keeps its traceback; with `debug`, all do.
    """
    try:
        try:
            yield
        finally:
            _flush()
    except InputError as error:
        if debug:
            raise
        _exit(str(error))
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        if debug:
            raise
        text = str(error) or "nothing more is known"
        _exit(
            f"{text if len(text) <= 300 else f'{text[:300]}...'} ({type(error).__name__} at {_where(error)}); "
            f"check the values, names and paths that were given, or add {DEBUG} to see the traceback"
        )


def _flush() -> None:
    """Write what is still in the buffer, so that a full disk is an error here and not a shrug at exit."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _discard_output()
        if isinstance(error, BrokenPipeError):
            raise SystemExit(1) from None
        raise InputError(f"standard output: cannot write there ({error.strerror}); free the place") from error


def _exit(line: str) -> None:
    process = os.environ.get("RANK", "0")
    of_process = f" (process {process})" if process != "0" else ""
    print(f"optical-mteb: error{of_process}: {' '.join(line.split())[:2000]}", file=sys.stderr)
    _discard_output()
    raise SystemExit(2) from None


def _where(error: BaseException) -> str:
    """File and line of this package that the error came through last."""
    package = Path(__file__).parents[1]
    ours = [frame for frame in extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(package)]
    return f"{Path(ours[-1].filename).relative_to(package.parent)}:{ours[-1].lineno}"


def _discard_output() -> None:
    """Let the buffer of a standard output that takes nothing more go nowhere, or Python complains at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
