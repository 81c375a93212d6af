"""The grid of a study: orders of languages, and the trainings that they and the other choices stand for."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

Budget = Literal["per_pair", "total"]
ZERO_SHOT = "zero-shot"


@dataclass(frozen=True)
class Training:
    """What a training depends on within a study; equal ones are run once.

    Attributes:
        approach: Name of the approach.
        languages: Languages trained on, sorted: their order does not change a training.
        steps: Optimizer steps; 0 for none.
        seed: Seed; 0 where nothing is trained.
    """

    approach: str
    languages: tuple[str, ...]
    steps: int
    seed: int


@dataclass(frozen=True)
class Cell:
    """A place in the grid, and the training that it stands for."""

    order: str
    pairs: int
    approach: str
    budget: Budget
    seed: int
    training: Training


def random_orders(languages: Sequence[str], number: int, seed: int) -> dict[str, list[str]]:
    """Random orders of languages, by name.

    Args:
        languages: Languages.
        number: Orders.
        seed: Seed of the first; the others have the next ones.
    """
    return {
        f"random-{seed + offset}": random.Random(seed + offset).sample(languages, len(languages))  # noqa: S311
        for offset in range(number)
    }


def grid(
    nested: Mapping[str, Sequence[str]],
    pairs: Sequence[int],
    approaches: Sequence[str],
    budgets: Mapping[Budget, int],
    seeds: Sequence[int],
) -> list[Cell]:
    """All cells; `zero-shot` trains nothing, and is the same training everywhere.

    Args:
        nested: Languages in order, by the order's name; a cell trains on the first of them.
        pairs: Numbers of languages.
        approaches: Names of approaches.
        budgets: Steps a language (`per_pair`), or in all (`total`).
        seeds: Seeds.

    Raises:
        ValueError: A number of pairs is not between 1 and the number of languages.
    """
    shortest = min(len(languages) for languages in nested.values())
    if not all(1 <= number <= shortest for number in pairs):
        raise ValueError(f"pairs: expected numbers from 1 to {shortest}, found {list(pairs)}")
    cells = []
    for order, number, approach, (budget, steps), seed in product(nested, pairs, approaches, budgets.items(), seeds):
        if approach == ZERO_SHOT:
            training = Training(approach, (), 0, 0)
        else:
            taken = steps * number if budget == "per_pair" else steps
            training = Training(approach, tuple(sorted(nested[order][:number])), taken, seed)
        cells.append(Cell(order, number, approach, budget, seed, training))
    return cells
