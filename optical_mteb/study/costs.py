"""What the trainings of a study will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from optical_mteb.study.cells import CellRecord
from optical_mteb.study.jobs import Job, Study

PAIRS_PER_SECOND = 18.0
"""Of multilingual-e5-small with half of its layers frozen on two CPU cores; see benchmarks/training.py."""

QUERIES_PER_SECOND = 40.0
"""Queries scored, their documents counted in."""

UNKNOWN_QUERIES = 500
"""Queries of a subset whose number the study does not say."""


@dataclass(frozen=True)
class Costs:
    """Seconds of a training and of scoring.

    Attributes:
        per_pair: Seconds an example.
        scoring: Seconds that scoring a student takes.
        source: Where they are from, in words.
    """

    per_pair: float
    scoring: float
    source: str

    @classmethod
    def of(cls, study: Study, done: Sequence[CellRecord]) -> Self:
        """From trainings that are done, where there are any."""
        trained = [record for record in done if record.figures.get("pairs")]
        queries = sum(len(task.subsets) * (task.queries or UNKNOWN_QUERIES) for task in study.settings.tasks)
        scoring = queries / QUERIES_PER_SECOND
        if done:
            scoring = sum(record.evaluation_seconds for record in done) / len(done)
        if not trained:
            return cls(1 / PAIRS_PER_SECOND, scoring, "an estimate for two CPU cores")
        pairs, seconds = (sum(record.figures[key] for record in trained) for key in ("pairs", "seconds"))
        return cls(seconds / pairs, scoring, f"from the {len(trained)} that are done")

    def seconds(self, job: Job) -> float:
        """Of one training and its scoring."""
        return job.pairs_read * self.per_pair + self.scoring
