"""What is indexed: documents by position, their fingerprint, and queries that ask for them where there are some."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optical_mteb.errors import InputError
from optical_mteb.storage import expanded

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks.task_metadata import TaskMetadata

HUB = "hub:"
READ_AT_ONCE = 10_000
"""Documents that are held in memory while a corpus is checked."""


@dataclass(frozen=True)
class CorpusPart:
    """Some documents of a corpus: ids, titles (empty where there are none) and texts."""

    ids: list[str]
    titles: list[str]
    texts: list[str]

    def as_read(self) -> list[str]:
        """What a model reads of each document: as MTEB has it, title and text with a blank between."""
        return [f"{title} {text}".strip() for title, text in zip(self.titles, self.texts, strict=True)]


class Corpus:
    """A checked corpus; documents are read when they are asked for.

    Attributes:
        source: Where it came from, in words.
        queries: Queries that ask for its documents; none where the source has none.
        task: The MTEB task that it belongs to, if it does.
        fingerprint: SHA-256 of ids, titles and texts, in order.
    """

    def __init__(
        self, source: str, documents: Dataset, *, queries: Sequence[str] = (), task: TaskMetadata | None = None
    ) -> None:
        """Check a corpus: all of it is read once.

        Args:
            source: What to call it.
            documents: Columns `id`, `text` and perhaps `title`.
            queries: Queries that ask for its documents.
            task: The MTEB task that it belongs to.

        Raises:
            InputError: There is no document, an id is missing or stands twice, or a text is none.
        """
        self.source, self.queries, self.task = source, list(queries), task
        missing = {"id", "text"} - set(documents.column_names)
        if missing:
            raise InputError(f"{source}: has no column {sorted(missing)[0]!r}; expected id, text and perhaps title")
        self._documents = documents.select_columns(
            [column for column in ("id", "title", "text") if column in documents.column_names]
        )
        self.fingerprint = self._check()

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        texts: Sequence[str],
        *,
        titles: Sequence[str] | None = None,
        queries: Sequence[str] = (),
        source: str = "texts",
    ) -> Corpus:
        """A corpus in memory.

        Raises:
            InputError: As the constructor.
        """
        from datasets import Dataset

        columns = {"id": list(ids), "text": list(texts)} | ({"title": list(titles)} if titles is not None else {})
        return cls(source, Dataset.from_dict(columns), queries=queries)

    def __len__(self) -> int:
        return len(self._documents)

    def read(self, start: int, stop: int) -> CorpusPart:
        """The documents at positions `start` to `stop - 1`."""
        columns: dict[str, list[Any]] = self._documents[start:stop]
        titles = columns.get("title") or [""] * len(columns["id"])
        ids = ["" if key is None else str(key) for key in columns["id"]]
        return CorpusPart(ids, [title or "" for title in titles], columns["text"])

    def _check(self) -> str:
        digest, hashes = hashlib.sha256(), []
        for start in range(0, len(self), READ_AT_ONCE):
            part = self.read(start, start + READ_AT_ONCE)
            for row, (key, text) in enumerate(zip(part.ids, part.texts, strict=True)):
                if not key or not isinstance(text, str):
                    raise InputError(
                        f"{self.source}: document {start + row + 1:,} has the id {key!r} and the text {text!r:.40}; "
                        "expected two strings; mend it, or take it out"
                    )
            for columns in zip(part.ids, part.titles, part.texts, strict=True):
                digest.update("\0".join((*columns, "")).encode())
            hashes.append(np.fromiter(map(hash, part.ids), dtype=np.int64, count=len(part.ids)))
        if not hashes:
            raise InputError(f"{self.source}: there is no document; name a corpus that has some")
        self._check_unique(np.concatenate(hashes))
        return digest.hexdigest()

    def _check_unique(self, hashes: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        ordered = np.sort(hashes)
        doubtful = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        if not doubtful:
            return
        # Two ids may share a hash, so the ids themselves decide.
        first: dict[str, int] = {}
        for position in np.flatnonzero(np.isin(hashes, list(doubtful))).tolist():
            (key,) = self.read(position, position + 1).ids
            if key in first:
                raise InputError(
                    f"{self.source}: document id {key!r} stands twice (documents {first[key] + 1:,} and "
                    f"{position + 1:,}); give every document an id of its own"
                )
            first[key] = position


def open_corpus(source: str, *, subset: str | None = None, split: str | None = None) -> Corpus:
    """Find and check a corpus.

    Args:
        source: A folder or file (see `read_corpus`), `hub:OWNER/NAME` or `hub:OWNER/NAME@REVISION`, or an MTEB task.
        subset: Of a Hub data set or a task; its only one by default.
        split: Likewise; the first that a task evaluates, or `corpus` or `train` of a data set.

    Raises:
        InputError: It cannot be had, or something is wrong with it.
    """
    from optical_mteb.index.corpus_files import find_queries, read_corpus
    from optical_mteb.index.corpus_published import hub_documents, task_corpus

    path = expanded(source)
    if source.startswith(HUB):
        return Corpus(source, hub_documents(source.removeprefix(HUB), subset, split))
    if path.exists() or path.suffix or len(path.parts) > 1:
        if subset or split:
            raise InputError(
                f"{source}: files have no subsets and splits; leave them out, or name a task or {HUB} data set"
            )
        return Corpus(str(path), read_corpus(path), queries=[query.text for query in find_queries(path)])
    return task_corpus(source, subset, split)
