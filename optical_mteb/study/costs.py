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
            return cls(1 / PAIRS_PER_SECOND, scoring, "assumed for two CPU cores, as none is done")
        pairs, seconds = (sum(record.figures[key] for record in trained) for key in ("pairs", "seconds"))
        return cls(seconds / pairs, scoring, f"from the {len(trained)} that are done")

    def words(self, jobs: Sequence[Job]) -> str:
        """What is left to do, and what it will take, in words."""
        steps, examples = sum(job.training.steps for job in jobs), sum(job.pairs_read for job in jobs)
        rate = f"{self.per_pair * examples / steps:.2g} s a step, " if steps else ""
        return (
            f"{steps:,} steps on {examples:,} examples left, about {sum(map(self.seconds, jobs)) / 60:.0f} minutes "
            f"({rate}{self.scoring:.0f} s of scoring: {self.source})"
        )

    def seconds(self, job: Job) -> float:
        """Of one training and its scoring."""
        return job.pairs_read * self.per_pair + self.scoring
