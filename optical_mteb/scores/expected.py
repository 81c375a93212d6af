"""`expected.yaml`: scores that a command must give again, each with the model, the data and the versions it was made with."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import indent
from typing import Any, Self

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator, model_validator

from optical_mteb.errors import InputError

MODULES = {"mteb": "mteb", "optical-mteb": "optical_mteb"}
"""Programs that an expectation may run, each with the module that it is."""


class Expectation(BaseModel):
    """Commands, and the scores that they give.

    Attributes:
        name: What `--only` matches.
        commands: Lines for a shell, run one after another in an empty folder with a student store of its own.
        model: MTEB's name of the model that they score.
        revision: Its revision. It does not count where a command trains: the last digits of a student's weights depend
            on the processor and its number of cores.
        task: MTEB's name of the task.
        data_revision: Revision of the task's data.
        split: Split of the task.
        tolerance: Largest difference of a score that is still met, a fraction of 1.
        fast: Whether `make test` runs it.
        versions: Libraries that gave the scores.
        scores: By subset and metric, fractions of 1; null where `expect --update` is to fill it in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    commands: list[str] = Field(min_length=1)
    model: str
    revision: str | None = None
    task: str
    data_revision: str | None = None
    split: str = "test"
    tolerance: FiniteFloat = Field(ge=0, lt=1)
    fast: bool = False
    versions: dict[str, str] = {}
    scores: dict[str, dict[str, FiniteFloat | None]] = Field(min_length=1)

    @property
    def trains(self) -> bool:
        """Whether one of the commands trains the model."""
        return any(shlex.split(command)[1:2] == ["train"] for command in self.commands)

    @field_validator("commands")
    @classmethod
    def _check_commands(cls, commands: list[str]) -> list[str]:
        for command in commands:
            words = shlex.split(command)
            if not words or words[0] not in MODULES or words[1:2] == ["expect"]:
                raise ValueError(f"{command!r} is not run here; expected mteb or optical-mteb")
            if any(word.startswith(("--output", "--prediction")) for word in words):
                raise ValueError(f"{command!r} chooses a folder; leave that out, it runs in an empty one")
        return commands

    @model_validator(mode="after")
    def _check_revisions(self) -> Self:
        known = any(score is not None for metrics in self.scores.values() for score in metrics.values())
        if known and (self.revision is None or self.data_revision is None):
            raise ValueError(
                "a score is of one model and one state of the data: add revision and data_revision, "
                "or leave the scores null and run optical-mteb expect --update"
            )
        return self


def read_expected(path: Path, only: str = "*") -> list[Expectation]:
    """The expectations of a file, in its order.

    Args:
        path: A YAML file, a list of mappings with the keys of `Expectation`.
        only: Shell pattern of the names to take.

    Raises:
        InputError: The file is no YAML, a key is unknown, missing, repeated or has a wrong value, two expectations have
            one name, or none has a name that fits.
    """
    nodes = _nodes(path)
    expectations = [_expectation(path, node) for node in nodes]
    seen: set[str] = set()
    for node, each in zip(nodes, expectations, strict=True):
        if each.name in seen:
            raise InputError(f"{path}:{_line(node, ['name'])}: the name {each.name} is there twice; rename one")
        seen.add(each.name)
    chosen = [each for each in expectations if fnmatchcase(each.name, only)]
    if not chosen:
        raise InputError(f"{path}: no expectation fits {only!r}; there are {', '.join(sorted(seen)) or 'none'}")
    return chosen


def write_expected(path: Path, made: Sequence[Expectation]) -> None:
    """Put other expectations in the place of those of the same name; all else in the file stays as it is.

    Args:
        path: The file.
        made: Expectations with names that it has.

    Raises:
        InputError: As `read_expected`, or the file cannot be written.
    """
    text = path.read_text(encoding="utf-8")
    by_name = {each.name: each for each in made}
    # From the last one back, so that the places of those before it hold.
    for node in reversed(_nodes(path)):
        new = by_name.get(_expectation(path, node).name)
        if new is not None:
            start, column = node.start_mark.index, node.start_mark.column
            text = text[:start] + indent(_as_yaml(new), " " * column).strip() + text[_end(node) :]
    scratch = path.with_name(f".{path.name}.new")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); free the place") from error


def _nodes(path: Path) -> list[Any]:
    """The mappings of the list that a file is, with their places in it."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); name the file by --file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(f"{where}: is not YAML ({' '.join(str(error).split())[:160]}); fix the line") from error
    if root is None:
        return []
    if not isinstance(root, yaml.SequenceNode) or not all(isinstance(node, yaml.MappingNode) for node in root.value):
        raise InputError(f"{path}: expected a list of expectations, each a mapping that begins with '- name: ...'")
    return list(root.value)


def _expectation(path: Path, node: Any) -> Expectation:  # noqa: ANN401 - a node of untyped yaml
    for key, line in _repeated_keys(node):
        raise InputError(f"{path}:{line}: the key {key!r} is there twice; take one of them out")
    constructor = yaml.SafeLoader("")
    try:
        return Expectation.model_validate(constructor.construct_document(node))
    except yaml.YAMLError as error:
        line = _line(node, [])
        raise InputError(f"{path}:{line}: {' '.join(str(error).split())[:160]}; fix the entry") from error
    except ValidationError as error:
        # An unknown key explains the key that is missing in its place.
        first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        key = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}:{_line(node, first['loc'])}: {f'{key}: ' if key else ''}{problem}") from error
    finally:
        constructor.dispose()


def _repeated_keys(node: Any) -> Iterator[tuple[str, int]]:  # noqa: ANN401
    """Keys that a mapping has a second time, of which YAML would take the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                yield name, key.start_mark.line + 1
            seen.add(name)
            yield from _repeated_keys(value)


def _line(node: Any, location: Sequence[int | str]) -> int:  # noqa: ANN401
    """Line of the longest part of a path that is there, counted from 1."""
    line = node.start_mark.line
    for part in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        elif isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        else:
            break
    return int(line) + 1


def _end(node: Any) -> int:  # noqa: ANN401
    """Where the text of a node ends; a block's own mark stands behind the comments that follow it."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(node, yaml.MappingNode) else last)


def _as_yaml(expectation: Expectation) -> str:
    content = expectation.model_dump(exclude={"versions", "scores"})
    head: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    scores = {subset: dict(expectation.scores[subset]) for subset in sorted(expectation.scores)}
    return head + _leaves_in_line({"versions": dict(expectation.versions)}) + _leaves_in_line({"scores": scores})


def _leaves_in_line(content: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=1000)
    return text
