"""The texts of tasks whose data is on this machine; nothing is downloaded for them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from optical_mteb.collection.published_data import without_downloads
from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset

    from optical_mteb.collection.task import CollectionRetrieval

MOST_DOCUMENTS = 500_000
"""A larger collection is not read: it takes longer than a training should wait."""


def texts_at_hand(task: CollectionRetrieval, languages: Collection[str]) -> set[str] | None:
    """Queries and documents of a task, as far as they are here; None where nothing is.

    Args:
        task: The task.
        languages: ISO 639-3 codes; subsets with one of them are read, and those that are run by default.
    """
    texts: set[str] = set()
    wanted = [name for name in task.metadata.hf_subsets if not set(name.split("-")).isdisjoint(languages)]
    for subset in dict.fromkeys([*wanted, *(task.default_subsets or task.metadata.hf_subsets)]):
        for split in task.metadata.eval_splits:
            if not task.has_split(subset, split):
                continue
            try:
                with without_downloads():
                    data = task.load_split(subset, split)
            except InputError:
                continue
            if len(data["corpus"]) > MOST_DOCUMENTS:
                return None
            texts.update(_texts(data["queries"]), _texts(data["corpus"]))
    return texts or None


def _texts(table: Dataset) -> Iterator[str]:
    for column in ("title", "text"):
        if column in table.column_names:
            yield from (text for text in table[column] if isinstance(text, str) and text)
