"""What a check of a submission says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "FAILED"
    OPEN = "open"
    """Nothing is wrong, but something is left to do before the pull requests."""


@dataclass(frozen=True)
class SubmissionCheck:
    """One check of a submission.

    Attributes:
        name: What was checked, in words.
        verdict: How it ended.
        detail: Why it failed, or what is left to do; what was found where all is well.
    """

    name: str
    verdict: Verdict
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.verdict:<6}  {self.name}{f': {self.detail}' if self.detail else ''}"

    @classmethod
    def of(cls, name: str, problems: Sequence[str], detail: str = "") -> SubmissionCheck:
        """Failed where there are problems, of which the first three are told."""
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        if problems:
            return cls(name, Verdict.FAILED, "; ".join(problems[:3]) + more)
        return cls(name, Verdict.OK, detail)
