"""Training recipes: what a TOML file may say, checked before anything runs."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from optical_mteb.bitext import BitextSource
from optical_mteb.errors import InputError
from optical_mteb.recipes import shipped_recipes
from optical_mteb.students.sidecar import Kind
from optical_mteb.students.store import NAME_PATTERN


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class StudentSettings(_Table):
    """`[student]`: what is trained.

    Attributes:
        base: Spec of the model to start from: a Hub id, a folder, or `pypi:<name>`.
        revision: Commit, tag or branch of a Hub id.
        kind: `dense`, a vector per text, or `late_interaction`, a vector per token, scored by MaxSim.
        prompt: Name of the prompt to put before every translation, or nothing.
        prompts: Prompts by name for a base that has none on record; the student keeps them.
        prune_vocabulary: Keep only the vocabulary that the bitext uses, single characters and special tokens.
        keep_most_frequent: With pruning, keep so many of the vocabulary's most frequent tokens as well.
        freeze_embeddings: Leave the embedding layer as it is.
        max_tokens: While training, longer inputs are cut, the teacher's too.
    """

    base: str
    revision: str | None = None
    kind: Kind = "dense"
    prompt: str | None = None
    prompts: dict[str, str] = {}
    prune_vocabulary: bool = False
    keep_most_frequent: int = Field(default=0, ge=0)
    freeze_embeddings: bool = True
    max_tokens: int = Field(default=128, ge=1)


class TeacherSettings(_Table):
    """`[teacher]`: the frozen English retriever.

    Attributes:
        base: Spec of the model.
        revision: Commit, tag or branch of a Hub id.
        prompt: Name of the prompt to put before every English sentence, or nothing.
        prompts: Prompts by name for a teacher that has none on record.
        cache: Keep its outputs on disk, so that a second epoch or a second student does not run it again. A sentence of
            30 tokens of 384 dimensions takes 24 kB.
    """

    base: str
    revision: str | None = None
    prompt: str | None = None
    prompts: dict[str, str] = {}
    cache: bool = False


class _Term(_Table):
    weight: float = Field(default=1.0, gt=0)


class _TransportTerm(_Term):
    """How tokens are transported; see `optical_mteb.training.losses.TokenTransport`."""

    solver: Literal["sinkhorn", "ipot", "unbalanced", "exact"] = "sinkhorn"
    epsilon: float = Field(default=0.05, gt=0)
    beta: float = Field(default=0.5, gt=0)
    relaxation: float = Field(default=1.0, gt=0)
    iterations: int = Field(default=50, ge=1)
    tolerance: float | None = Field(default=None, gt=0)
    marginals: Literal["uniform", "idf", "norm"] = "uniform"
    centre: bool = False
    layers: list[Annotated[int, Field(lt=0)]] = Field(default=[-1], min_length=1)

    @model_validator(mode="after")
    def _read_by_the_solver(self) -> Self:
        readers = {"epsilon": ("sinkhorn", "unbalanced"), "beta": ("ipot",), "relaxation": ("unbalanced",)}
        for key, solvers in readers.items():
            if getattr(self, key) != type(self).model_fields[key].default and self.solver not in solvers:
                raise ValueError(f"{key} is read by solver {' and '.join(solvers)} only, and solver is {self.solver}")
        return self


class OpticalTerm(_TransportTerm):
    """`[objective.optical]`: <T, C> between the tokens of a pair."""


class ContrastiveTerm(_Term):
    """`[objective.contrastive]`: in-batch contrast; the score is that of the student's kind unless one is named."""

    temperature: float = Field(default=0.02, gt=0)
    score: Literal["cosine", "maxsim"] | None = None


class TransportContrastiveTerm(_TransportTerm):
    """`[objective.transport_contrastive]`: in-batch contrast of transport costs."""

    temperature: float = Field(default=0.02, gt=0)
    iterations: int = Field(default=20, ge=1)


class SentenceTerm(_Term):
    """`[objective.sentence]`: distance of the student's sentence embedding from the teacher's (`EmbedDistillLoss`)."""

    distance_metric: Literal["cosine", "mse", "l2"] = "cosine"


class AnchorTerm(_Term):
    """`[objective.anchor]`: the student's English tokens stay at the teacher's."""


class ObjectiveSettings(_Table):
    """`[objective]`: the loss is the sum of the terms that stand here, each times its weight."""

    optical: OpticalTerm | None = None
    contrastive: ContrastiveTerm | None = None
    transport_contrastive: TransportContrastiveTerm | None = None
    sentence: SentenceTerm | None = None
    anchor: AnchorTerm | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.terms:
            raise ValueError(
                f"no loss term; add a table such as [objective.optical], of {', '.join(type(self).model_fields)}"
            )
        return self

    @property
    def terms(self) -> dict[str, _Term]:
        """The terms that are there, by name."""
        named = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: term for name, term in named.items() if term is not None}


class TrainingSettings(_Table):
    """`[training]`: the optimizer's part.

    Attributes:
        steps: Optimizer steps.
        batch_size: Pairs in a step.
        learning_rate: Peak learning rate of AdamW; it rises linearly, then falls linearly to 0.
        warmup_ratio: Share of the steps in which it rises.
        weight_decay: Weight decay of AdamW.
        precision: `float32`, `bfloat16` (autocast), or `auto`: bfloat16 where the hardware computes in it.
        log_every: Steps between two logged lines.
    """

    steps: int = Field(ge=1)
    batch_size: int = Field(default=32, ge=2)
    learning_rate: float = Field(default=2e-5, gt=0)
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    log_every: int = Field(default=10, ge=1)


class Recipe(_Table):
    """A training recipe.

    Attributes:
        name: Name of the student in the store, and of `mteb run -m`.
        description: A sentence for the model card.
        licence: Licence of the trained weights, as MTEB spells it.
        seed: Seed of everything random.
        mteb_tasks: MTEB tasks whose data the bitext holds; `cldr:` sources name theirs themselves.
        student: What is trained.
        teacher: What it learns from.
        bitext: Parallel text, one table a source.
        objective: The loss.
        training: The optimizer's part.
    """

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    description: str = ""
    licence: str | None = None
    seed: int = Field(default=13, ge=0)
    mteb_tasks: list[str] = []
    student: StudentSettings
    teacher: TeacherSettings
    bitext: list[BitextSource] = Field(min_length=1)
    objective: ObjectiveSettings
    training: TrainingSettings


def find_recipe(spec: str) -> Path:
    """The file of a recipe: a path, or the name of one that ships with the package.

    Raises:
        InputError: It is neither.
    """
    shipped = shipped_recipes()
    if spec in shipped:
        return shipped[spec]
    path = Path(spec)
    if path.is_file():
        return path
    near = difflib.get_close_matches(spec, shipped, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"recipe {spec!r}: no such file, and none of the shipped recipes ({', '.join(shipped)}){hint}")


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: A TOML file.
        overrides: `key=value` each, the key dotted, the value in TOML or a bare string.

    Raises:
        InputError: The file is no TOML, a key is unknown (the nearest known one is named) or a value is wrong.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a readable TOML file: {error}") from error
    for override in overrides:
        _apply(override, table)
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        # An unknown key explains the key that is missing in its place.
        first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        line = None if overrides else _line_of(path.read_text(encoding="utf-8"), first["loc"])
        raise InputError(f"{path}{f':{line}' if line else ''}: {_explain(first)}") from error


def _apply(override: str, table: dict[str, Any]) -> None:
    """Set one dotted key of a table in place; numbers in the key index arrays of tables."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {override!r}: expected key=value, as in --set training.steps=100")
    *parents, last = key.strip().split(".")
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
    if isinstance(target, list) and part.isdecimal() and int(part) < len(target):
        return target[int(part)]
    raise InputError(f"--set {override!r}: there is no {part!r} to set; expected the path of a key in the recipe")


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(first: ErrorDetails) -> str:
    """A problem of a recipe in one line."""
    path = [part for part in first["loc"] if not (isinstance(part, str) and "[" in part)]
    where = ".".join(map(str, path))
    if first["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {where!r}; {hint}"
    if first["type"] == "missing":
        return f"key {where!r} is missing; add it"
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = f" (it is {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{where}: {message}{shown}"


def _line_of(text: str, location: Sequence[int | str]) -> int | None:
    """Line of a TOML file on which the longest part of a key's path stands, counted from 1."""
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


def _known_keys(path: Sequence[int | str]) -> list[str]:
    """Keys of the table at a path of the recipe."""
    fields: Mapping[str, Any] = Recipe.model_fields
    for part in path:
        if isinstance(part, int):
            continue
        annotation = fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        fields = next(c.model_fields for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(fields)
