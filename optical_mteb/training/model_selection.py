"""Which step's student is the best so far, and when to stop looking for a better one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass
class BestCheckpoint:
    """The best dev score of a training, and how long ago it was.

    Attributes:
        step: Step of the best score, None before the first.
        score: The best score, None before the first; higher is better.
        evaluations_since: Evaluations after it, none of them better.
    """

    step: int | None = None
    score: float | None = None
    evaluations_since: int = 0

    def update(self, step: int, score: float) -> bool:
        """Take in the score of a step.

        Returns:
            Whether it is the best so far: above all before it. NaN never is.
        """
        best = not math.isnan(score) and (self.score is None or score > self.score)
        if best:
            self.step, self.score, self.evaluations_since = step, score, 0
        else:
            self.evaluations_since += 1
        return best

    def should_stop(self, patience: int | None) -> bool:
        """Whether `patience` evaluations in a row were no better than the best before them; None never stops."""
        return patience is not None and self.evaluations_since >= patience

    def state(self) -> dict[str, Any]:
        """All of it as numbers that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """What `state` was called on."""
        return cls(**state)
