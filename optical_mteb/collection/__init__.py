"""Test collections: where they are found, how they are read, checked, exported and made into tasks."""

from optical_mteb.collection.publication import Publication
from optical_mteb.collection.split import Entry, Qrels, retrieval_split

__all__ = ["Entry", "Publication", "Qrels", "retrieval_split"]
