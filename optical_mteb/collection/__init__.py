"""Test collections: where they are found, how they are read, checked, exported and made into tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Qrels = Mapping[str, Mapping[str, int]]
"""Grade of every judged document, by query; a grade above 0 is relevant."""

PER_QUERY = {"ndcg_at_10": "ndcg_cut_10", "map_at_100": "map_cut_100"}
"""Scores that are kept for every query, as MTEB and as trec_eval name them."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document or a query.

    Attributes:
        id: Unique among the documents, or the queries, of a split.
        text: What is read.
        title: A document's title, read before its text.
        where: File and line that it came from, for error messages.
    """

    id: str
    text: str
    title: str = ""
    where: str = ""
