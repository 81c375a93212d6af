"""What MTEB's leaderboard asks for: a folder with results, metadata and weights of a student, checked as they check it."""

from optical_mteb.submission.package import Submission, prepare
from optical_mteb.submission.verdicts import Check, Verdict

__all__ = ["Check", "Submission", "Verdict", "prepare"]
