"""TOML files whose tables are pydantic models: read, overridden key by key, and refused with one line."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from optical_mteb.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=BaseModel)

MOST = 1_000_000_000
"""Largest count that a file may name: what is counted with 32 bits underneath holds it."""
DEEPEST = 20
"""Most parts of a dotted key."""
Count = Annotated[int, Field(ge=1, le=MOST)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What NumPy takes as a seed."""


def read_toml(path: Path, model: type[Model], overrides: Sequence[str] = ()) -> Model:
    """Read and check a file.

    Args:
        path: A TOML file.
        model: What its tables are.
        overrides: `key=value` each, the key dotted, the value in TOML or a bare string.

    Raises:
        InputError: The file is not TOML, a key is unknown (the nearest known one is named) or a value is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        table = parse_toml(text)
    except (OSError, ValueError, RecursionError) as error:
        # ValueError: not TOML or UTF-8, or a number of more digits than Python reads.
        raise InputError(f"{path}: not a readable TOML file: {error}") from error
    return read_table(table, model, overrides, where=str(path), text=text)


def read_table(
    table: Mapping[str, Any], model: type[Model], overrides: Sequence[str] = (), *, where: str, text: str = ""
) -> Model:
    """Check a table, which stays as it is.

    Args:
        table: What a TOML file holds.
        model: What its tables are.
        overrides: As for `read_toml`.
        where: Where the table is from, for the error message.
        text: The file, to name the line of a problem.

    Raises:
        InputError: A key is unknown (the nearest known one is named) or a value is wrong.
    """
    changed = deepcopy(dict(table))
    for override in overrides:
        _apply(override, changed)
    try:
        return model.model_validate(changed)
    except ValidationError as error:
        # An unknown key explains the key that is missing in its place.
        first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        line = None if overrides or not text else _line_of(text, first["loc"])
        raise InputError(f"{where}{f':{line}' if line else ''}: {_explain(model, first)}") from error


def as_override(key: str, value: object) -> str:
    """`key=value` as `read_toml` takes it; `as_override("training.steps", 40)` is `training.steps=40`."""
    return f"{key}={_as_toml(value)}"


def _as_toml(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(str(key))} = {_as_toml(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def parse_toml(text: str) -> dict[str, Any]:
    """The table that a text in TOML is.

    Raises:
        ValueError: It is not TOML, has a number of thousands of digits, or a key of more parts than `DEEPEST`.
        RecursionError: It is nested too deep.
    """
    # tomllib takes minutes for a key of 100,000 parts.
    if re.search(_LONG_KEY, text):
        raise ValueError(f"a key of more than {DEEPEST} parts")
    return tomllib.loads(text)


_LONG_KEY = rf"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){{{DEEPEST}}}"""


def find_toml(kind: str, spec: str, shipped: Mapping[str, Path]) -> Path:
    """The file of a `recipe` or a `study`: a path, or the name of one that ships with the package.

    Raises:
        InputError: `spec` is neither.
    """
    if spec in shipped:
        return shipped[spec]
    path = Path(spec)
    if path.is_file():
        return path
    plural = {"study": "studies"}.get(kind, f"{kind}s")
    known = f"no such file, and none of the shipped {plural} ({', '.join(shipped)})"
    raise InputError("; ".join(filter(None, [f"{kind} {spec!r}: {known}", did_you_mean(spec, shipped)])))


def _apply(override: str, table: dict[str, Any]) -> None:
    """Set one dotted key of a table in place; numbers in the key index arrays of tables."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {override!r}: expected key=value, as in --set training.steps=100")
    *parents, last = key.strip().split(".")
    if len(parents) > DEEPEST:
        raise InputError(f"--set {override[:60]!r}...: a key of {len(parents) + 1:,} parts; no key has more than a few")
    target: Any = table
    for part in parents:
        target = target.setdefault(part, {}) if isinstance(target, dict) else _item(target, part, override)
    if isinstance(target, dict):
        target[last] = _toml_value(text.strip())
    elif isinstance(target, list):
        _item(target, last, override)
        target[int(last)] = _toml_value(text.strip())
    else:
        raise InputError(
            f"--set {override!r}: {'.'.join(parents)} is a value, not a table; expected the key of a table"
        )


def _item(target: object, part: str, override: str) -> Any:  # noqa: ANN401 - a value of any TOML type
    if isinstance(target, list) and part.isdecimal() and len(part) < 10 and int(part) < len(target):
        return target[int(part)]
    raise InputError(f"--set {override!r}: there is no {part!r} to set; expected the path of a key in the file")


def _toml_value(text: str) -> object:
    try:
        return parse_toml(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _explain(model: type[BaseModel], first: ErrorDetails) -> str:
    """A problem of a table in one line."""
    path = [part for part in first["loc"] if not (isinstance(part, str) and "[" in part)]
    where = ".".join(map(str, path))
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, path[:-1])
        hint = did_you_mean(str(path[-1]), known) or f"known keys: {', '.join(known)}"
        return f"unknown key {where!r}; {hint}"
    if first["type"] == "missing":
        return f"key {where!r} is missing; add it"
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    given = first["input"]
    if first["type"] == "string_pattern_mismatch" and (field := model.model_fields.get(where)) and field.description:
        return f"{where}: expected {field.description}, found {_short(given)}"
    if first["type"] == "literal_error":
        hint = did_you_mean(str(given), re.findall(r"'([^']*)'", first["ctx"]["expected"]))
        message = f"not a value that is known; {hint}" if hint else message
    shown = f" (it is {_short(given)})" if isinstance(given, str | int | float | bool) else ""
    return f"{where}: {message}{shown}" if where else message


def _short(value: object) -> str:
    """A value as it is shown: a text of a million characters, or a number of thousands of digits, is cut."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    shown = repr(value)
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


def _line_of(text: str, location: Sequence[int | str]) -> int | None:
    """Line of a TOML file that has the longest part of a key's path, counted from 1."""
    lines: dict[tuple[int | str, ...], int] = {}
    arrays: dict[tuple[str, ...], int] = {}
    table: tuple[int | str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*(\[\[?)\s*([\w.-]+)\s*\]", line):
            names = tuple(header[2].split("."))
            table = names
            if header[1] == "[[":
                arrays[names] = arrays.get(names, -1) + 1
                table = (*names, arrays[names])
            lines[table] = number
        elif key := re.match(r"\s*([\w-]+)\s*=", line):
            lines[(*table, key[1])] = number
    prefixes = (tuple(location[:size]) for size in range(len(location), 0, -1))
    return next((lines[prefix] for prefix in prefixes if prefix in lines), None)


def _known_keys(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Keys of the table at a path of the file."""
    fields: Mapping[str, Any] = model.model_fields
    for part in path:
        if isinstance(part, int):
            continue
        annotation = fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        fields = next(c.model_fields for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(fields)
