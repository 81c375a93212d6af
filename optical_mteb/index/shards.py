"""Encoded documents on disk, on the way into an index: shards of vectors, each complete when its manifest is."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from optical_mteb.errors import InputError
from optical_mteb.index.documents import IDS, TEXTS, Documents, Integers, writing
from optical_mteb.index.manifest import DOCUMENTS_FILE, MANIFEST, VECTORS_FILE, FileRecord
from optical_mteb.index.place import storing
from optical_mteb.storage import atomic_file, take_place

Vectors = NDArray[np.float32]
"""One vector of length 1 a row."""

LENGTHS_FILE = "lengths.npy"
_KEY = "key.json"


class VectorShards(Protocol):
    """Vectors of length 1 in shards, by position: of documents, or of their tokens."""

    def __len__(self) -> int:
        """Shards."""

    @property
    def total(self) -> int:
        """Vectors of all shards."""

    @property
    def width(self) -> int:
        """Components of a vector."""

    def bounds(self, number: int) -> tuple[int, int]:
        """First position of a shard, and the one past its last."""

    def vectors(self, number: int) -> NDArray[np.floating[Any]]:
        """The vectors of a shard, [n, width]."""

    def rows(self, positions: Integers, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """The vectors at some positions, [n, width]."""


class ShardKey(BaseModel):
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

    model_config = ConfigDict(extra="forbid", frozen=True)

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


class ShardManifest(BaseModel):
    """What a finished shard holds.

    Attributes:
        count: Documents.
        truncated: Of them, those that the model did not read to the end.
        bare: Of them, those whose vector is zero, as they have none that can be compared.
        files: Its files.
    """

    model_config = ConfigDict(extra="forbid")

    count: PositiveInt
    truncated: NonNegativeInt
    bare: NonNegativeInt = 0
    files: dict[str, FileRecord]


class ShardStore:
    """The shards of one corpus under one model; document `p` is row `p % shard_size` of shard `p // shard_size`."""

    def __init__(self, folder: Path, key: ShardKey) -> None:
        """Open the shards in a folder, or begin there; only one process at a time may.

        Args:
            folder: Holds nothing else.
            key: What the shards depend on.

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
        """Documents."""
        return self.key.count

    @property
    def width(self) -> int:
        """Components of a vector."""
        return int(self.mapped(0).shape[1])

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
        """Positions of the documents whose vector is zero, ascending: they have none, and are not to be found.

        Raises:
            InputError: A shard is missing or damaged.
        """
        found = [
            self.bounds(number)[0] + np.flatnonzero(~self.vectors(number).any(axis=1))
            for number in range(len(self))
            if self._whole(number).bare
        ]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def write(
        self,
        number: int,
        vectors: Vectors,
        documents: pa.RecordBatch,
        *,
        truncated: int = 0,
        lengths: Integers | None = None,
    ) -> None:
        """Write a shard.

        Args:
            number: From 0.
            vectors: Of its documents, [n, width], zero for those without one; or of their tokens, one document's after
                the other's.
            documents: Its n documents, of `schema`.
            truncated: Of them, those that the model did not read to the end.
            lengths: Tokens of each document, [n], where tokens have vectors.

        Raises:
            InputError: The folder cannot be written to.
        """
        target = self._path(number)
        scratch = target.with_name(f".{target.name}")
        with storing(target):
            for left in (target, scratch):
                shutil.rmtree(left, ignore_errors=True)
            scratch.mkdir()
            stored = vectors.astype(np.dtype(self.key.dtype).newbyteorder("<"))
            np.save(scratch / VECTORS_FILE, stored, allow_pickle=False)
            with writing(scratch / DOCUMENTS_FILE, self.schema) as writer:
                writer.write_batch(documents)
            if lengths is not None:
                np.save(scratch / LENGTHS_FILE, lengths.astype("<i8"), allow_pickle=False)
            files = {name: FileRecord.of(scratch / name) for name in self._files}
            bare = 0 if self.key.tokens else int((~stored.any(axis=1)).sum())
            manifest = ShardManifest(count=documents.num_rows, truncated=truncated, bare=bare, files=files)
            (scratch / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
            take_place(scratch, target)

    def vectors(self, number: int) -> NDArray[np.floating[Any]]:
        """The vectors of a shard, [n, width].

        Raises:
            InputError: The shard is missing or damaged.
        """
        path = self._checked(number, VECTORS_FILE)
        # Not as a memory map: its pages would count as this process's memory.
        return cast("NDArray[np.floating[Any]]", np.load(path, allow_pickle=False))

    def lengths(self, number: int) -> Integers:
        """Tokens of each document of a shard, [n].

        Raises:
            InputError: The shard is missing or damaged.
        """
        return cast("Integers", np.load(self._checked(number, LENGTHS_FILE), allow_pickle=False))

    def documents(self, number: int) -> pa.RecordBatch:
        """The documents of a shard.

        Raises:
            InputError: The shard is missing or damaged.
        """
        (batch,) = Documents(self._checked(number, DOCUMENTS_FILE)).batches()
        return batch

    def rows(self, positions: Integers, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """The vectors at some positions, [n, width]."""
        rows = np.empty((len(positions), self.width), dtype)
        owners = positions // self.key.shard_size
        for owner in np.unique(owners):
            chosen = owners == owner
            rows[chosen] = self.mapped(int(owner))[positions[chosen] % self.key.shard_size]
        return rows

    def mapped(self, number: int) -> NDArray[np.floating[Any]]:
        """The vectors of a shard as a memory map, not checked."""
        path = self._path(number) / VECTORS_FILE
        return cast("NDArray[np.floating[Any]]", np.load(path, mmap_mode="r", allow_pickle=False))

    @property
    def _files(self) -> tuple[str, ...]:
        return (VECTORS_FILE, DOCUMENTS_FILE, *((LENGTHS_FILE,) if self.key.tokens else ()))

    def _checked(self, number: int, name: str) -> Path:
        """A file of a shard, its checksum compared."""
        path = self._path(number) / name
        if FileRecord.of(path) != self._whole(number).files[name]:
            raise InputError(f"{path}: has changed since it was written; remove {path.parent} and repeat the command")
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


def unit_or_zero(vectors: Vectors) -> Vectors:
    """Vectors brought to length 1; zero for those that cannot be: zero ones, and those that are not finite.

    Args:
        vectors: [n, width].
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    good = np.isfinite(lengths) & (lengths > 0)
    brought: Vectors = np.divide(vectors, lengths, out=np.zeros(vectors.shape, np.float32), where=good)
    return brought


def unit(vectors: Vectors, names: Sequence[object], *, kind: str = "document") -> Vectors:
    """Vectors brought to length 1.

    Args:
        vectors: [n, width].
        names: What they are vectors of, for error messages.
        kind: "document" or "query".

    Raises:
        InputError: One is zero, or has a component that is not finite.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if len(bad):
        raise InputError(
            f"{kind} {names[int(bad[0])]!r}: its vector is not finite, or zero; take it out, or use another model"
        )
    brought: Vectors = vectors / lengths
    return brought
