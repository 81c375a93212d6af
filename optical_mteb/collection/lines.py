"""Line-aligned files: several files whose lines belong together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from optical_mteb.errors import InputError


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


def read_lines(path: Path) -> Iterator[str]:
    r"""The lines of a file, divided at `\n` alone, without white space around them and a byte order mark.

    Raises:
        InputError: A line is not valid UTF-8.
    """
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number}: byte {error.start + 1} of the line is not valid UTF-8; convert the file to UTF-8"
                ) from error
            yield text.strip()
