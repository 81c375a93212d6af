"""`manifest.json`: what is on record about an index; the folder is an index once it is there."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError, model_validator

from optical_mteb.errors import InputError
from optical_mteb.index.rows import ONE_ROW, Metric
from optical_mteb.index.spec import IndexSpec
from optical_mteb.storage import recover

MANIFEST = "manifest.json"
FAISS_FILE = "index.faiss"
DOCUMENTS_FILE = "documents.arrow"
VECTORS_FILE = "vectors.npy"
REMOVED_FILE = "removed.npy"
OFFSETS_FILE = "offsets.npy"


ATTEMPTS = 1000
"""Times that an index is read before it counts as one that changes all the time."""

Read = TypeVar("Read")


class Record(BaseModel):
    """What is written beside an index or a shard; a field of another version, or a misspelt one, is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(Record):
    """A file as it was written: its size and the SHA-256 of its content."""

    bytes: NonNegativeInt
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """The record of a file that is there."""
        with path.open("rb") as stream:
            return cls(bytes=path.stat().st_size, sha256=hashlib.file_digest(stream, "sha256").hexdigest())

    @classmethod
    def of_all(cls, folder: Path) -> dict[str, FileRecord]:
        """The records of the files of a new index, by name."""
        return {file.name: cls.of(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST}

    def problem(self, path: Path, *, read: bool = True) -> str:
        """Why a file is not as it was written; empty where it is. Unless it is read, sizes alone are compared."""
        try:
            size = path.stat().st_size
            if size != self.bytes:
                return f"has {size:,} bytes, expected {self.bytes:,} bytes"
            return "has changed since it was written" if read and self.of(path) != self else ""
        except FileNotFoundError:
            return f"is not there, expected {self.bytes:,} bytes"
        except OSError as error:
            return f"cannot be read ({error.strerror or error})"


class ModelRecord(Record):
    """The model that encoded the documents, and how.

    Attributes:
        name: What it is loaded by.
        revision: MTEB's revision of it, or the hash of its files.
        document_prompt: Text before every document, empty for none.
        query_prompt: Text before every query, empty for none.
        max_tokens: Longest document that it reads, prompt and special tokens counted in; None where it has no limit.
    """

    name: str
    revision: str
    document_prompt: str = ""
    query_prompt: str = ""
    max_tokens: PositiveInt | None = None


class CorpusRecord(Record):
    """The documents that an index was built from.

    Attributes:
        source: Where they came from, in words.
        fingerprint: SHA-256 of their ids, titles and texts, in order.
        count: Documents.
        truncated: Of them, those that the model did not read to the end.
        left_out: Of them, those that have no vector that can be compared, which no search finds.
    """

    source: str
    fingerprint: str
    count: PositiveInt
    truncated: NonNegativeInt = 0
    left_out: NonNegativeInt = 0


class Tuning(Record):
    """Search parameters, and the recall that they were measured to have.

    Attributes:
        target: Recall that was asked for.
        recall: Share of the exact best `depth` documents that were found, mean over the queries.
        depth: Ranks that the recall counts.
        queries: Queries of the sample.
        sample: Where they came from, in words.
        nprobe: Lists to look into, for `ivf`.
        ef_search: Nodes to keep in view, for `hnsw`.
        candidates: Documents that are scored again, for `+refine`; in proportion more where more than `depth` are wanted.
    """

    target: float
    recall: float = 1.0
    depth: PositiveInt
    queries: NonNegativeInt = 0
    sample: str = ""
    nprobe: PositiveInt | None = None
    ef_search: PositiveInt | None = None
    candidates: PositiveInt | None = None

    @property
    def found(self) -> str:
        """The recall in words."""
        on = f" on {self.queries} {self.sample}" if self.queries else ", compares with every document"
        return f"recall@{self.depth} {self.recall:.3f}{on}"

    def kept(self, depth: int) -> int:
        """Documents that are found to score them again where `depth` are wanted."""
        return max(depth, math.ceil((self.candidates or 0) * max(1.0, depth / self.depth)))


class IndexManifest(Record):
    """All that is on record about an index.

    Attributes:
        format: Version of the folder's layout: 1 for a dense model, 2 for late interaction.
        spec: What `IndexSpec.parse` reads.
        chosen: Why, where it was chosen by `auto`.
        metric: The inner product, of vectors of length 1; the model's MaxSim, or its mean, for late interaction.
        width: Components of a vector.
        count: Documents that were ever put in; each has the position of its row.
        tokens: Their tokens, for late interaction, where each has a row in `vectors.npy`; else None.
        removed: Of them, those that were left out or taken out again.
        model: What encoded them; None where vectors were given.
        corpus: What the index was built from.
        tuning: Search parameters.
        seed: Of k-means and samples.
        created: Day of building, ISO 8601.
        versions: Versions of the libraries that wrote it.
        files: The folder's other files.
    """

    format: Literal[1, 2] = 1
    spec: str
    chosen: str = ""
    metric: Metric = ONE_ROW
    width: PositiveInt
    count: PositiveInt
    tokens: PositiveInt | None = None
    removed: NonNegativeInt = 0
    model: ModelRecord | None
    corpus: CorpusRecord
    tuning: Tuning
    seed: int
    created: str
    versions: dict[str, str]
    files: dict[str, FileRecord]

    @model_validator(mode="before")
    @classmethod
    def _of_this_layout(cls, data: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        if isinstance(data, dict) and data.get("tokens") is not None and data.get("format") == 1:
            raise ValueError("is an index of late interaction by an earlier version, which is laid out otherwise")
        if isinstance(data, dict) and isinstance(data.get("tuning"), dict):
            # Earlier versions wrote a parameter of late interaction, null in all other indexes.
            data = data | {"tuning": {key: value for key, value in data["tuning"].items() if key != "tokens"}}
        return data

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.late != (self.metric != ONE_ROW):
            raise ValueError(f"metric {self.metric} {'with' if self.late else 'without'} a number of tokens")
        stored = self.late or IndexSpec.parse(self.spec).refine
        needed = [FAISS_FILE, DOCUMENTS_FILE, *[VECTORS_FILE] * stored, *[OFFSETS_FILE] * self.late]
        lacking = next((name for name in needed if name not in self.files), None)
        if lacking is not None:
            raise ValueError(f"has no record of {lacking}")
        if self.removed > self.count:
            raise ValueError(f"{self.removed:,} of {self.count:,} documents are removed")
        return self

    @property
    def late(self) -> bool:
        """Whether the index is of late interaction: each token of a document has a row."""
        return self.tokens is not None

    def write(self, folder: Path) -> None:
        """Write the manifest into the new folder of an index."""
        (folder / MANIFEST).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> IndexManifest:
        """The manifest of an index.

        Raises:
            InputError: The folder is no index, or its manifest is not valid.
        """
        path = folder / MANIFEST
        recover(folder)
        if not path.is_file():
            raise InputError(
                f"{folder}: no index there, as it has no {MANIFEST}; build one: optical-mteb index build {folder}"
            )
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); fix its permissions") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise InputError(f"{path}: {place}: {first['msg']}; build the index again") from error

    def check_files(self, folder: Path, *, read_up_to: float) -> None:
        """Check that the files of an index are there, and as they were written.

        The checksums of files of more than `read_up_to` bytes are compared where they are newer than the manifest.

        Raises:
            InputError: One is missing, or has changed.
        """
        written = (folder / MANIFEST).stat().st_mtime_ns
        copied = False
        for name, record in self.files.items():
            file = folder / name
            newer = file.is_file() and file.stat().st_mtime_ns > written
            problem = record.problem(file, read=newer or record.bytes <= read_up_to)
            if problem:
                raise InputError(f"{file}: {problem}; copy or build the index again")
            copied |= newer
        if copied:
            # A copy whose files were written after its manifest: once is enough.
            with suppress(OSError):
                os.utime(folder / MANIFEST)


def read_unchanged(folder: Path, read: Callable[[IndexManifest], Read]) -> Read:
    """What is read of an index, all of one version, though another process may put a new one in its place meanwhile.

    `read` is given the manifest, and called again where that changed meanwhile.

    Raises:
        InputError: What `read` raises while nothing changes; the folder is no index; or it changes all the time.
    """
    for _ in range(ATTEMPTS):
        manifest = IndexManifest.read(folder)
        try:
            found = read(manifest)
        except (InputError, OSError) as error:
            if IndexManifest.read(folder) != manifest:
                continue
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{error.filename or folder}: cannot be read ({error.strerror or error}); fix its permissions, or "
                "copy or build the index again"
            ) from error
        if IndexManifest.read(folder) == manifest:
            return found
    raise InputError(f"{folder}: other processes change it all the time; open it when they are done")
