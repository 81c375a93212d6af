"""The grid of a study: orders of languages, and the trainings that they and the other choices stand for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
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
    """Random orders of languages, by name; the first has this seed, the others the next ones."""
    return {
        f"random-{seed + offset}": random.Random(seed + offset).sample(languages, len(languages))  # noqa: S311
        for offset in range(number)
    }
