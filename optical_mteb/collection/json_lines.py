"""JSON lines: a file with an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from optical_mteb.collection.lines import read_lines
from optical_mteb.errors import InputError


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
