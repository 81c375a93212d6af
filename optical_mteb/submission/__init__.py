"""What MTEB's leaderboard asks for: a folder with results, metadata and weights of a student, checked as they check it."""

from optical_mteb.submission.checks import SubmissionCheck, Verdict
from optical_mteb.submission.package import Submission, prepare

__all__ = ["Submission", "SubmissionCheck", "Verdict", "prepare"]
