"""What is indexed: documents by position, their fingerprint, and queries that ask for them where there are some."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.documents import TEXTS, as_read
from optical_mteb.index.manifest import CorpusRecord

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks.task_metadata import TaskMetadata

READ_AT_ONCE = 10_000
"""Documents that are held in memory while a corpus is checked."""


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
        """Check a corpus, of columns `id`, `text` and perhaps `title`: all of it is read once.

        Raises:
            InputError: There is no document, an id is missing or appears twice, or a text is none.
        """
        self.source, self.queries, self.task = source, list(queries), task
        missing = {"id", "text"} - set(documents.column_names)
        if missing:
            raise InputError(f"{source}: has no column {sorted(missing)[0]!r}; expected id, text and perhaps title")
        self._documents = documents.select_columns(
            [column for column in TEXTS.names if column in documents.column_names]
        ).with_format("arrow")
        if len(documents) and not _holds_text(self._documents[:1].schema.field("text").type):
            (text,) = self._documents[:1]["text"].to_pylist()
            raise InputError(f"{source}: document 1 has the text {text!r:.40}; expected a string")
        self.fingerprint = self._check()

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        texts: Sequence[str],
        *,
        titles: Sequence[str] | None = None,
        source: str = "texts",
    ) -> Corpus:
        """A corpus in memory.

        Raises:
            InputError: As the constructor.
        """
        from datasets import Dataset

        columns = {"id": list(ids), "text": list(texts)} | ({"title": list(titles)} if titles is not None else {})
        return cls(source, Dataset.from_dict(columns))

    def __len__(self) -> int:
        return len(self._documents)

    @property
    def record(self) -> CorpusRecord:
        """What an index keeps of it."""
        return CorpusRecord(source=self.source, fingerprint=self.fingerprint, count=len(self))

    def read(self, start: int, stop: int) -> pa.Table:
        """The documents at positions `start` to `stop - 1`, with the columns of `TEXTS`; titles are empty for none."""
        found: pa.Table = self._documents[start:stop]
        if "title" not in found.column_names:
            found = found.append_column("title", pa.array([""] * len(found), pa.string()))
        filled = {name: pc.fill_null(found[name].cast(pa.string()), "") for name in ("id", "title")}
        return pa.table({**filled, "text": found["text"].cast(pa.string())}, schema=TEXTS)

    def texts(self, start: int, stop: int) -> list[str]:
        """What a model reads of the documents at positions `start` to `stop - 1`."""
        return as_read(self.read(start, stop))

    def _check(self) -> str:
        digest, hashes = hashlib.sha256(), []
        for start in range(0, len(self), READ_AT_ONCE):
            part = self.read(start, start + READ_AT_ONCE)
            ids, titles, texts = (part[name].to_pylist() for name in TEXTS.names)
            for row, (key, text) in enumerate(zip(ids, texts, strict=True)):
                if not key or text is None:
                    raise InputError(
                        f"{self.source}: document {start + row + 1:,} has the id {key!r} and the text {text!r:.40}; "
                        "expected two strings; fix it, or take it out"
                    )
            for columns in zip(ids, titles, texts, strict=True):
                digest.update("\0".join((*columns, "")).encode())
            hashes.append(np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids)))
        if not hashes:
            raise InputError(f"{self.source}: there is no document; name a corpus that has some")
        self._check_unique(np.concatenate(hashes))
        return digest.hexdigest()

    def _check_unique(self, hashes: NDArray[np.int64]) -> None:
        ordered = np.sort(hashes)
        doubtful = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        if not doubtful:
            return
        # Two ids may share a hash, so the ids themselves decide.
        first: dict[str, int] = {}
        for position in np.flatnonzero(np.isin(hashes, list(doubtful))).tolist():
            (key,) = self.read(position, position + 1)["id"].to_pylist()
            if key in first:
                raise InputError(
                    f"{self.source}: document id {key!r} appears twice (documents {first[key] + 1:,} and "
                    f"{position + 1:,}); give every document its own id"
                )
            first[key] = position


def record_of_vectors(ids: Sequence[str], parts: Iterable[NDArray[Any]]) -> CorpusRecord:
    """What an index keeps of documents of which only vectors are known, which come part by part.

    Raises:
        InputError: There is no document, or an id appears twice.
    """
    record = Corpus.of(ids, [""] * len(ids), source="vectors").record
    digest = hashlib.sha256(record.fingerprint.encode())
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return record.model_copy(update={"fingerprint": digest.hexdigest()})


def _holds_text(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_null))
