"""Encoded documents on disk, on the way into an index: shards of rows, each complete when its manifest is."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray
from pydantic import NonNegativeInt, PositiveInt, ValidationError

from optical_mteb.errors import InputError
from optical_mteb.index.build_folder import storing
from optical_mteb.index.documents import IDS, TEXTS, Documents, write_documents
from optical_mteb.index.manifest import (
    DOCUMENTS_FILE,
    MANIFEST,
    VECTORS_FILE,
    CorpusRecord,
    FileRecord,
    ModelRecord,
    Record,
)
from optical_mteb.index.rows import Integers, Rows
from optical_mteb.storage import atomic_file, take_place

SHARD_SIZE = 8192
"""Documents that are sorted by length and encoded together; those under way are encoded again after a kill."""

TOKEN_SHARD_SIZE = 512
"""The same of a late-interaction model, whose documents have many rows each."""

LENGTHS_FILE = "lengths.npy"
_KEY = "key.json"


class ShardKey(Record):
    """What shards depend on; those of another key are of no use.

    Attributes:
        format: Version of the files.
        fingerprint: Of the corpus.
        count: Documents of the corpus.
        revision: Of the model; empty where vectors were given.
        document_prompt: Text before every document.
        max_tokens: Longest document that the model reads, None where it has no limit.
        shard_size: Documents of a shard, the last one aside.
        texts: Whether titles and texts are kept.
        dtype: Of the vectors.
        tokens: Whether each token of a document has a vector, and not the document.
    """

    format: Literal[1] = 1
    fingerprint: str
    count: PositiveInt
    revision: str = ""
    document_prompt: str = ""
    max_tokens: PositiveInt | None = None
    shard_size: PositiveInt
    texts: bool
    dtype: Literal["float16", "float32"] = "float16"
    tokens: bool = False

    @classmethod
    def of(cls, corpus: CorpusRecord, model: ModelRecord | None, *, shard_size: int, **more: Any) -> ShardKey:  # noqa: ANN401
        """The key of documents as a model reads them; shards are smaller where each token has a vector."""
        read = {name: getattr(model, name) for name in ("revision", "document_prompt", "max_tokens")} if model else {}
        size = min(shard_size, TOKEN_SHARD_SIZE) if more.get("tokens") else shard_size
        return cls(fingerprint=corpus.fingerprint, count=corpus.count, shard_size=size, **read, **more)


class ShardManifest(Record):
    """What a finished shard holds.

    Attributes:
        count: Documents.
        truncated: Of them, those that the model did not read to the end.
        bare: Of them, those that have no row that can be compared.
        files: Its files.
    """

    count: PositiveInt
    truncated: NonNegativeInt
    bare: NonNegativeInt = 0
    files: dict[str, FileRecord]


class ShardStore:
    """The shards of one corpus under one model; document `p` is row `p % shard_size` of shard `p // shard_size`."""

    def __init__(self, folder: Path, key: ShardKey) -> None:
        """Open the shards in a folder, which holds nothing else, or begin there; only one process at a time may.

        Raises:
            InputError: The folder has shards of another key, or cannot be written to.
        """
        self._folder, self.key = folder, key
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".*"):
                shutil.rmtree(left, ignore_errors=True)
            path = folder / _KEY
            if path.is_file():
                self._check_key(path)
            else:
                with atomic_file(path) as scratch:
                    scratch.write_text(key.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def __len__(self) -> int:
        return math.ceil(self.key.count / self.key.shard_size)

    @property
    def schema(self) -> pa.Schema:
        """Columns of the documents."""
        return TEXTS if self.key.texts else IDS

    @property
    def total(self) -> int:
        """Rows of all documents."""
        return sum(len(self._mapped(number)) for number in range(len(self)))

    @property
    def width(self) -> int:
        """Components of a row."""
        return int(self._mapped(0).shape[1])

    def bounds(self, number: int) -> tuple[int, int]:
        """First position of a shard, and the one past its last."""
        start = number * self.key.shard_size
        return start, min(start + self.key.shard_size, self.key.count)

    def missing(self) -> list[int]:
        """Numbers of the shards that are not there, or not whole."""
        return [number for number in range(len(self)) if self._manifest(number) is None]

    def truncated(self) -> int:
        """Documents that the model did not read to the end."""
        return sum(self._whole(number).truncated for number in range(len(self)))

    def bare(self) -> Integers:
        """Positions of the documents that have no row that can be compared, ascending: they are not to be found.

        Raises:
            InputError: A shard is missing or damaged.
        """
        found = [
            self.bounds(number)[0] + self.rows(number).bare() for number in range(len(self)) if self._whole(number).bare
        ]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def write(self, number: int, rows: Rows, documents: pa.Table, *, truncated: int = 0) -> None:
        """Write a shard: its documents, with the columns of `schema`, and their rows.

        Rows are zero, or there are none, for those that cannot be compared; `truncated` were not read to the end.

        Raises:
            InputError: The folder cannot be written to.
        """
        target = self._path(number)
        scratch = target.with_name(f".{target.name}")
        with storing(target):
            for left in (target, scratch):
                shutil.rmtree(left, ignore_errors=True)
            scratch.mkdir()
            stored = Rows(rows.vectors.astype(np.dtype(self.key.dtype).newbyteorder("<")), rows.lengths)
            np.save(scratch / VECTORS_FILE, stored.vectors, allow_pickle=False)
            write_documents(scratch / DOCUMENTS_FILE, self.schema, [documents])
            if self.key.tokens:
                np.save(scratch / LENGTHS_FILE, rows.lengths.astype("<i8"), allow_pickle=False)
            files = {name: FileRecord.of(scratch / name) for name in self._files}
            bare = len(stored.bare())
            manifest = ShardManifest(count=len(documents), truncated=truncated, bare=bare, files=files)
            (scratch / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
            take_place(scratch, target)

    def rows(self, number: int) -> Rows:
        """The rows of the documents of a shard.

        Raises:
            InputError: The shard is missing or damaged.
        """
        # Not as a memory map: its pages would count as this process's memory.
        return Rows(np.load(self._checked(number, VECTORS_FILE), allow_pickle=False), self._lengths(number))

    def _lengths(self, number: int) -> Integers:
        """Rows of each document of a shard, [n]."""
        if not self.key.tokens:
            start, stop = self.bounds(number)
            return np.ones(stop - start, np.int64)
        lengths: Integers = np.load(self._checked(number, LENGTHS_FILE), allow_pickle=False)
        return lengths

    def all_lengths(self) -> Integers:
        """Rows of each document of all shards, [count]."""
        return np.concatenate([self._lengths(number) for number in range(len(self))])

    def documents(self, number: int) -> pa.Table:
        """The documents of a shard.

        Raises:
            InputError: The shard is missing or damaged.
        """
        return Documents(self._checked(number, DOCUMENTS_FILE)).table

    def summaries(self, documents: Integers, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """One vector each of some documents, as `Rows.summaries` makes it, [n, width]."""
        vectors = np.empty((len(documents), self.width), dtype)
        for chosen, rows, places in self._by_shard(documents):
            vectors[chosen] = rows.summaries()[places]
        return vectors

    def at(self, documents: Integers) -> Rows:
        """The rows of some documents, in float32."""
        texts: list[NDArray[Any]] = [np.empty(0)] * len(documents)
        for chosen, rows, places in self._by_shard(documents):
            for place, text in zip(np.flatnonzero(chosen), rows.at(places).texts, strict=True):
                texts[place] = text.astype(np.float32)
        return Rows.joined(texts, self.width)

    def _by_shard(self, documents: Integers) -> Iterator[tuple[NDArray[np.bool_], Rows, Integers]]:
        """By shard: which of the documents are in it, its rows as a memory map that is not checked, and their places."""
        owners = documents // self.key.shard_size
        for owner in np.unique(owners):
            chosen = owners == owner
            rows = Rows(self._mapped(int(owner)), self._lengths(int(owner)))
            yield chosen, rows, documents[chosen] % self.key.shard_size

    def _mapped(self, number: int) -> NDArray[np.floating[Any]]:
        """The rows of a shard as a memory map, not checked, [n, width]."""
        path = self._path(number) / VECTORS_FILE
        rows: NDArray[np.floating[Any]] = np.load(path, mmap_mode="r", allow_pickle=False)
        return rows

    @property
    def _files(self) -> tuple[str, ...]:
        return (VECTORS_FILE, DOCUMENTS_FILE, *((LENGTHS_FILE,) if self.key.tokens else ()))

    def _checked(self, number: int, name: str) -> Path:
        """A file of a shard, its checksum compared."""
        path = self._path(number) / name
        problem = self._whole(number).files[name].problem(path)
        if problem:
            raise InputError(f"{path}: {problem}; remove {path.parent} and repeat the command")
        return path

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}"

    def _whole(self, number: int) -> ShardManifest:
        manifest = self._manifest(number)
        if manifest is None:
            raise InputError(f"{self._path(number)}: is missing or not whole; repeat the command")
        return manifest

    def _manifest(self, number: int) -> ShardManifest | None:
        """The manifest of a shard, or None where it is not there or does not describe what is."""
        path, (start, stop) = self._path(number), self.bounds(number)
        try:
            manifest = ShardManifest.model_validate_json((path / MANIFEST).read_bytes())
            sizes = {name: (path / name).stat().st_size for name in self._files}
        except (OSError, ValidationError):
            return None
        recorded = {name: record.bytes for name, record in manifest.files.items()}
        return manifest if manifest.count == stop - start and recorded == sizes else None

    def _check_key(self, path: Path) -> None:
        try:
            found = ShardKey.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise InputError(f"{path}: is not valid; remove {path.parent} to begin anew") from error
        for field in ShardKey.model_fields:
            if getattr(found, field) != getattr(self.key, field):
                raise InputError(
                    f"{self._folder.parent}: is a build of other documents or by another model "
                    f"({field} {getattr(found, field)!r}, expected {getattr(self.key, field)!r}); "
                    "repeat the command that began it, or remove that folder"
                )
