"""Files of lines: one by one, several files whose lines belong together, and a JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from optical_mteb.collection.packed import open_unpacked
from optical_mteb.errors import InputError

LONGEST = 1 << 24
"""Bytes that a line may have: a file without line ends must not fill the memory."""


def read_parallel_lines(*paths: Path) -> Iterator[tuple[str, ...]]:
    """The lines of aligned files in UTF-8, together, without line ends and white space around them.

    Raises:
        InputError: A file has fewer lines than another, or is not valid UTF-8.
    """
    readers = [read_lines(path) for path in paths]
    for number, lines in enumerate(zip_longest(*readers), start=1):
        short = next((path for path, line in zip(paths, lines, strict=True) if line is None), None)
        if short is not None:
            longer = next(path for path, line in zip(paths, lines, strict=True) if line is not None)
            raise InputError(
                f"{short}:{number}: ends here, but {longer} continues; both must have the same number of lines; get both again"
            )
        yield lines


def read_lines(path: Path, *, otherwise: str | None = None, indented: bool = False) -> Iterator[str]:
    r"""The lines of a file, divided at `\n` alone, without white space around them and byte order marks before them.

    Args:
        path: A file; packed where its name says so, see `open_unpacked`.
        otherwise: Encoding of lines that are not valid UTF-8, `iso-8859-1` for files of the nineties; None to refuse
            them.
        indented: Leave white space at the beginning of lines, as of a table whose first column may be empty.

    Raises:
        InputError: A line cannot be decoded or is longer than `LONGEST`, or the file cannot be read or unpacked.
    """
    with open_unpacked(path) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(LONGEST), b""), start=1):
            if len(line) == LONGEST and not line.endswith(b"\n"):
                raise InputError(f"{path}:{number}: has more than {LONGEST:,} bytes; divide it into lines")
            text = _decoded(line, f"{path}:{number}", otherwise=otherwise)
            yield text.rstrip() if indented else text.strip()


def read_json_lines(path: Path, *, fix: str = "get the file again") -> Iterator[tuple[str, dict[str, Any]]]:
    """The place (`file:line`) and the object of every line; empty lines are passed over.

    Args:
        path: The file, in UTF-8.
        fix: What to do about a broken line, for error messages.

    Raises:
        InputError: A line is not valid UTF-8 or no JSON object.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if not line:
            continue
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: is not JSON ({error}); {fix}") from error
        if not isinstance(record, dict):
            raise InputError(f"{where}: expected a JSON object, found {line[:40]!r}; {fix}")
        yield where, record


def text_of(record: Mapping[str, Any], key: str, where: str) -> str:
    """The text of a key; empty where it is null, and the digits of a whole number.

    Raises:
        InputError: The object does not have the key, or has something else there.
    """
    if key not in record:
        found = ", ".join(map(repr, record)) or "none"
        raise InputError(
            f"{where}: the object has no {key!r}, its keys are {found}; get the file again, or fix the line"
        )
    value = record[key]
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InputError(
        f"{where}: expected text at {key!r}, found {str(value)[:40]!r}; get the file again, or fix the line"
    )


def _decoded(line: bytes, where: str, *, otherwise: str | None) -> str:
    try:
        # Files that were put together from others have marks in the middle, too.
        return line.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        reason = f"byte {error.start + 1} of the line is not valid UTF-8"
    try:
        if otherwise is not None:
            return line.decode(otherwise)
    except UnicodeDecodeError as error:
        reason += f", and byte {error.start + 1} not valid {otherwise}"
    raise InputError(f"{where}: {reason}; convert the file to UTF-8")
