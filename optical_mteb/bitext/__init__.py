"""Parallel text of English with other languages: formats, cleaning, corpus. Light: no torch, no mteb."""

from optical_mteb.bitext.corpus import Pair, ParallelCorpus, Report
from optical_mteb.bitext.source import BitextSource

__all__ = ["BitextSource", "Pair", "ParallelCorpus", "Report"]
