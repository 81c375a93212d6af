"""Parallel text of English with other languages: formats, cleaning, corpus. Light: no torch, no mteb."""

from optical_mteb.bitext.corpus import Pair, ParallelCorpus
from optical_mteb.bitext.report import Report
from optical_mteb.bitext.source import BitextSource

__all__ = ["BitextSource", "Pair", "ParallelCorpus", "Report"]
