"""Files of lines: one by one, or several files whose lines belong together."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from optical_mteb.errors import InputError

LONGEST = 1 << 24
"""Bytes that a line may have: a file without line ends must not fill the memory."""


def read_parallel_lines(*paths: Path) -> Iterator[tuple[str, ...]]:
    """The lines of files that are aligned, together, without line ends and white space around them.

    Args:
        *paths: Files in UTF-8.

    Raises:
        InputError: A file has fewer lines than another, or is not valid UTF-8.
    """
    readers = [read_lines(path) for path in paths]
    for number, lines in enumerate(zip_longest(*readers), start=1):
        short = next((path for path, line in zip(paths, lines, strict=True) if line is None), None)
        if short is not None:
            longer = next(path for path, line in zip(paths, lines, strict=True) if line is not None)
            raise InputError(
                f"{short}:{number}: ends here, but {longer} goes on; both must have the same lines; get both again"
            )
        yield lines


def read_lines(path: Path, *, otherwise: str | None = None) -> Iterator[str]:
    r"""The lines of a file, divided at `\n` alone, without white space around them and a byte order mark.

    Args:
        path: A file, packed by gzip where its name ends in `.gz`.
        otherwise: Encoding of lines that are not valid UTF-8, `iso-8859-1` for files of the nineties; None to refuse
            them.

    Raises:
        InputError: A line cannot be decoded or is longer than `LONGEST`, or the file cannot be read or unpacked.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(LONGEST), b""), start=1):
                if len(line) == LONGEST and not line.endswith(b"\n"):
                    raise InputError(f"{path}:{number}: has more than {LONGEST:,} bytes; divide it into lines")
                yield _decoded(line, f"{path}:{number}", first=number == 1, otherwise=otherwise).strip()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}:{number + 1}: cannot be unpacked ({error}); get the file again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); mend its permissions or path") from error


def _decoded(line: bytes, where: str, *, first: bool, otherwise: str | None) -> str:
    try:
        return line.decode().removeprefix("\ufeff" if first else "")
    except UnicodeDecodeError as error:
        reason = f"byte {error.start + 1} of the line is not valid UTF-8"
    try:
        if otherwise is not None:
            return line.decode(otherwise)
    except UnicodeDecodeError as error:
        reason += f", and byte {error.start + 1} not valid {otherwise}"
    raise InputError(f"{where}: {reason}; convert the file to UTF-8")
