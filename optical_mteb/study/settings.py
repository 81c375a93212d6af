"""What a study file says, checked before anything runs."""

from __future__ import annotations

from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from optical_mteb.errors import InputError
from optical_mteb.languages import find_language
from optical_mteb.students.store import NAME_PATTERN
from optical_mteb.study.grid import ZERO_SHOT, Budget, Cell, Training, random_orders
from optical_mteb.toml_file import Count, Seed, find_toml, read_toml


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class TaskSettings(_Table):
    """`[[tasks]]`: what every student is scored on.

    Attributes:
        name: MTEB's name of a retrieval task.
        subsets: Its subsets, `swh-eng`.
        split: Its split; the first one that it runs unasked by default.
        queries: Most queries of a subset; all by default. Queries of the same id are chosen in all subsets.
        documents: Most documents of a subset, those that are relevant in any subset always among them; all by default.
        parallel: Whether queries of the same id are translations of one sentence in all subsets.
    """

    name: str
    subsets: list[str] = Field(min_length=1)
    split: str | None = None
    queries: Count | None = None
    documents: Count | None = None
    parallel: bool = False


class CellsSettings(_Table):
    """`[[cells]]`: a part of the grid; a study that has any is their union. What a part leaves out it takes all of.

    Attributes:
        approaches: Names of approaches.
        orders: Names of orders, random ones too.
        pairs: Numbers of language pairs.
        budgets: Budgets.
        seeds: Seeds.
    """

    approaches: list[str] | None = Field(default=None, min_length=1)
    orders: list[str] | None = Field(default=None, min_length=1)
    pairs: list[Count] | None = Field(default=None, min_length=1)
    budgets: list[Budget] | None = Field(default=None, min_length=1)
    seeds: list[Seed] | None = Field(default=None, min_length=1)


class StudySettings(_Table):
    """A study: a grid of trainings, each scored on the same tasks.

    Attributes:
        name: What it is called in its document.
        recipe: Recipe that all trainings start from: a shipped one, or a file relative to the study. Its bitext has all
            languages, of which a training takes some.
        overrides: `key=value` each, for all trainings, as for `optical-mteb train --set`.
        pairs: Numbers of language pairs.
        orders: Orders in which languages join, by name.
        random_orders: So many random orders besides.
        order_seed: Seed of the first of them.
        high_resource: Languages whose pairs may hurt the others.
        budgets: Optimizer steps, for every pair (`per_pair`) or for all pairs together (`total`).
        seeds: Seeds of trainings.
        approaches: Overrides of each approach; `zero-shot` has none and trains nothing.
        cells: Parts of the grid to run; all of it by default.
        tasks: What students are scored on.
        batch_size: Texts that a student reads at once where it is scored.
        keep_students: Leave the students in the store.
    """

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    recipe: str
    overrides: list[str] = []
    pairs: list[Count] = Field(min_length=1)
    orders: dict[str, list[str]] = Field(min_length=1)
    random_orders: int = Field(default=0, ge=0, le=1000)
    order_seed: Seed = 0
    high_resource: list[str] = []
    budgets: dict[Budget, Count] = Field(min_length=1)
    seeds: list[Seed] = Field(min_length=1)
    approaches: dict[str, list[str]] = Field(min_length=1)
    cells: list[CellsSettings] = []
    tasks: list[TaskSettings] = Field(min_length=1)
    batch_size: Count = 32
    keep_students: bool = False

    @field_validator("orders")
    @classmethod
    def _codes(cls, orders: dict[str, list[str]]) -> dict[str, list[str]]:
        return {name: [_code(spelling) for spelling in order] for name, order in orders.items()}

    @field_validator("high_resource")
    @classmethod
    def _high_codes(cls, spellings: list[str]) -> list[str]:
        return [_code(spelling) for spelling in spellings]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        languages = set(next(iter(self.orders.values())))
        for name, order in self.orders.items():
            if len(set(order)) != len(order):
                raise ValueError(f"orders.{name}: names a language twice")
            if set(order) != languages:
                raise ValueError(f"orders.{name}: has other languages than the first order")
        if max(self.pairs) > len(languages):
            raise ValueError(f"pairs: {max(self.pairs)} is more than the {len(languages)} languages of the orders")
        unknown = sorted(set(self.high_resource) - languages)
        if unknown:
            raise ValueError(f"high_resource: {unknown[0]!r} is in no order")
        if self.approaches.get(ZERO_SHOT):
            raise ValueError(f"approaches.{ZERO_SHOT}: trains nothing, so there is nothing to override; leave it empty")
        for what, values in (
            ("pairs", self.pairs),
            ("seeds", self.seeds),
            ("tasks", [each.name for each in self.tasks]),
        ):
            if len(set(values)) != len(values):
                raise ValueError(f"{what}: names one twice")
        for number, part in enumerate(self.cells):
            for key, wanted in part.model_dump(exclude_none=True).items():
                known = list(self.nested if key == "orders" else getattr(self, key))
                lost = next((each for each in wanted if each not in known), None)
                if lost is not None:
                    raise ValueError(
                        f"cells.{number}.{key}: {lost!r} is none of the study's: {', '.join(map(str, known))}"
                    )
        return self

    @property
    def nested(self) -> dict[str, list[str]]:
        """Languages in order, by the order's name: those of the file, then the random ones."""
        first = next(iter(self.orders.values()))
        return self.orders | random_orders(first, self.random_orders, self.order_seed)

    @property
    def plain_approach(self) -> str | None:
        """The recipe as it is, if that is an approach."""
        return next((name for name, own in self.approaches.items() if not own and name != ZERO_SHOT), None)

    def grid(self) -> list[Cell]:
        """The cells of the study, each once; `zero-shot` trains nothing, and is the same training everywhere."""
        nested = self.nested
        cells = []
        for part in self.cells or [CellsSettings()]:
            for order, number, approach, budget, seed in product(
                part.orders or nested,
                part.pairs or self.pairs,
                part.approaches or self.approaches,
                part.budgets or self.budgets,
                part.seeds or self.seeds,
            ):
                training = Training(ZERO_SHOT, (), 0, 0)
                if approach != ZERO_SHOT:
                    steps = self.budgets[budget] * (number if budget == "per_pair" else 1)
                    training = Training(approach, tuple(sorted(nested[order][:number])), steps, seed)
                cells.append(Cell(order, number, approach, budget, seed, training))
        return list(dict.fromkeys(cells))


def shipped_studies() -> dict[str, Path]:
    """Studies of the package by file name without `.toml`, in alphabetical order."""
    return {path.stem: path for path in sorted(Path(str(files(__package__) / "studies")).glob("*.toml"))}


def find_study(spec: str) -> Path:
    """The file of a study: a path, or the name of one that ships with the package.

    Raises:
        InputError: It is neither.
    """
    return find_toml("study", spec, shipped_studies())


def read_study(path: Path) -> StudySettings:
    """Read and check a study.

    Raises:
        InputError: The file is not TOML, a key is unknown (the nearest known one is named) or a value is wrong.
    """
    return read_toml(path, StudySettings)


def _code(spelling: str) -> str:
    try:
        return find_language(spelling).code
    except InputError as error:
        raise ValueError(str(error)) from error
