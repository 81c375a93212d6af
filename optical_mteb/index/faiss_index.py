"""An index that is searched: opened memory-mapped, asked by vectors or by texts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.documents import Documents, Integers
from optical_mteb.index.forking import set_threads
from optical_mteb.index.manifest import (
    DOCUMENTS_FILE,
    FAISS_FILE,
    MANIFEST,
    REMOVED_FILE,
    FileRecord,
    IndexManifest,
    read_unchanged,
)
from optical_mteb.index.searcher import NOTHING, Searcher
from optical_mteb.index.shards import Vectors, unit
from optical_mteb.index.spec import IndexSpec
from optical_mteb.index.tokens_encoder import TokenEncoder
from optical_mteb.storage import expanded

if TYPE_CHECKING:
    from optical_mteb.index.encoder import Encoder

NAMED_AT_ONCE = 1024
"""Queries whose documents' ids are read together."""

CHECKED_AT_OPENING = 32 << 20
"""Bytes up to which a file's checksum is compared whenever it is opened; larger ones where they are newer than the manifest."""


@dataclass(frozen=True)
class Ranking:
    """The best documents for a query, best first.

    Attributes:
        ids: Of the documents.
        scores: Inner products, or MaxSim by a late-interaction model, [n].
        positions: Positions of the documents in the index, [n].
    """

    ids: list[str]
    scores: NDArray[np.float32]
    positions: Integers


class FaissIndex:
    """An index on disk, of a vector a document; `open` gives a `TokenIndex` where each token has one.

    Attributes:
        folder: The index.
        manifest: What is on record about it.
        documents: Ids by position, and texts where they are kept.
        searcher: Its files, opened.
    """

    def __init__(
        self,
        folder: Path,
        manifest: IndexManifest,
        documents: Documents,
        searcher: Searcher,
        *,
        encoder: Encoder | TokenEncoder | None = None,
        device: str | None = None,
    ) -> None:
        self.folder, self.manifest, self.documents, self.searcher = folder, manifest, documents, searcher
        self._encoder = self._checked(encoder) if encoder is not None else None
        self._device = device

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        encoder: Encoder | TokenEncoder | None = None,
        device: str | None = None,
        threads: int | None = None,
    ) -> FaissIndex:
        """Open an index memory-mapped: nothing is read but what a search needs, and what may have been edited.

        While another process changes the index, the version before or after the change is opened.

        Args:
            folder: The index.
            encoder: The model for queries that are texts; loaded by the name on record when first needed by default.
            device: Torch device to load it to.
            threads: Threads of FAISS in this process; all cores by default.

        Raises:
            InputError: The folder is no index, a file of it is missing, truncated or edited, FAISS cannot read it, the
                encoder is another than the documents', or there are fewer threads than 1, or more than a forked process
                can use.
        """
        if threads is not None:
            set_threads(threads)
        folder = expanded(folder).absolute()
        return read_unchanged(folder, lambda manifest: cls._open(folder, manifest, encoder, device))

    @classmethod
    def _open(
        cls, folder: Path, manifest: IndexManifest, encoder: Encoder | TokenEncoder | None, device: str | None
    ) -> FaissIndex:
        _check_files(folder, manifest)
        spec, count = IndexSpec.parse(manifest.spec), manifest.count
        documents = Documents(folder / DOCUMENTS_FILE)
        if len(documents) != count:
            raise InputError(
                f"{folder / DOCUMENTS_FILE}: has {len(documents):,} documents, expected {count:,}; "
                "copy or build the index again"
            )
        searcher = Searcher(
            folder,
            spec,
            count=manifest.tokens or count,
            width=manifest.width,
            removed=_removed(folder / REMOVED_FILE, manifest) if REMOVED_FILE in manifest.files else None,
            written_by=manifest.versions.get("faiss", ""),
        )
        if manifest.tokens is not None:
            from optical_mteb.index.tokens_index import TokenIndex

            return TokenIndex(folder, manifest, documents, searcher, encoder=encoder, device=device)
        return cls(folder, manifest, documents, searcher, encoder=encoder, device=device)

    def __len__(self) -> int:
        """Documents that can be found."""
        return self.searcher.live

    @property
    def size(self) -> int:
        """Bytes of the FAISS file, which is what the index takes in memory once all of it was searched."""
        return self.manifest.files[FAISS_FILE].bytes

    def search(self, queries: Sequence[str] | Vectors | Sequence[Vectors], k: int = 10) -> list[Ranking]:
        """Rank documents for queries.

        Args:
            queries: Texts, or vectors, [n, width], which are brought to length 1; of late interaction, token vectors,
                [tokens, width] each.
            k: Documents a query; more than there are give all of them.

        Returns:
            A ranking for each query, of `min(k, documents)`.

        Raises:
            InputError: k is less than 1, a query is empty, vectors are of another width, not finite or zero, or the
                model on record is not there in its revision.
        """
        if k < 1:
            raise InputError(f"top {k}: expected 1 document at least")
        scores, positions = self._found(queries, k)
        rankings = []
        for start in range(0, len(positions), NAMED_AT_ONCE):
            part = slice(start, start + NAMED_AT_ONCE)
            found = positions[part] != NOTHING
            ids, ends = self.documents.ids(positions[part][found]), np.cumsum(found.sum(axis=1))
            for row, end, own_scores, own in zip(found, ends, scores[part], positions[part], strict=True):
                rankings.append(Ranking(ids[end - row.sum() : end], own_scores[row], own[row]))
        return rankings

    def encode(self, queries: Sequence[str]) -> Vectors:
        """The vectors of queries, [n, width].

        Raises:
            InputError: A query is empty, they are one text, or the model on record is not there in its revision.
        """
        texts = as_texts(queries)
        if not texts:
            return np.empty((0, self.manifest.width), np.float32)
        return self.encoder().queries(texts)

    def encoder(self) -> Encoder:
        """The model of the index, with the prompts on record; loaded when it is first needed.

        Raises:
            InputError: The index was built from vectors, its model is not there in the revision on record, or gives a
                vector for each token.
        """
        encoder = self._loaded()
        if isinstance(encoder, TokenEncoder):
            raise InputError(
                f"{self.folder}: holds one vector a text, and {encoder.record.name} gives one for each token; "
                "build the index again"
            )
        return encoder

    def findable(self) -> Integers:
        """Positions of the documents that can be found."""
        return np.setdiff1d(np.arange(self.manifest.count), self.searcher.removed)

    def own_vectors(self, positions: Integers) -> Vectors | Sequence[Vectors]:
        """The vectors of documents as the index has them, which `search` takes."""
        return self.searcher.reconstruct(positions)

    def _found(
        self, queries: Sequence[str] | Vectors | Sequence[Vectors], k: int
    ) -> tuple[NDArray[np.float32], Integers]:
        """Scores and positions of the best documents."""
        return self.searcher.search(self._vectors(queries), k, self.manifest.tuning)

    def _loaded(self) -> Encoder | TokenEncoder:
        record = self.manifest.model
        if record is None:
            raise InputError(f"{self.folder}: was built from vectors, not by a model; search and change it by vectors")
        if self._encoder is None:
            from optical_mteb.index.encoder import load_encoder

            self._encoder = self._checked(load_encoder(record.name, device=self._device))
        return self._encoder

    def _vectors(self, queries: Sequence[str] | Vectors | Sequence[Vectors]) -> Vectors:
        vectors = np.asarray(queries, np.float32) if isinstance(queries, np.ndarray) else self.encode(as_texts(queries))
        if vectors.ndim != 2 or vectors.shape[1] != self.manifest.width:
            raise InputError(
                f"{self.folder}: expected query vectors of shape (n, {self.manifest.width}), found {vectors.shape}"
            )
        return unit(vectors, range(1, len(vectors) + 1), kind="query")

    def _checked(self, encoder: Encoder | TokenEncoder) -> Encoder | TokenEncoder:
        """The encoder with the prompts on record, if it is the one that encoded the documents."""
        record = self.manifest.model
        if record is None:
            return encoder
        if encoder.record.revision != record.revision:
            raise InputError(
                f"{self.folder}: was built by {record.name} at revision {record.revision[:12]}, found revision "
                f"{encoder.record.revision[:12]}; build the index again, or get that revision of the model"
            )
        return replace(encoder, record=record)


def _check_files(folder: Path, manifest: IndexManifest) -> None:
    """Check that files are as they were written: all by their size, those that are small or newer by their checksum."""
    manifest.check_sizes(folder)
    written = (folder / MANIFEST).stat().st_mtime_ns
    checked = False
    for name, record in manifest.files.items():
        newer = (folder / name).stat().st_mtime_ns > written
        if record.bytes <= CHECKED_AT_OPENING or newer:
            if FileRecord.of(folder / name) != record:
                raise InputError(f"{folder / name}: has changed since it was written; copy or build the index again")
            checked |= newer
    if checked:
        # A copy whose files were written after its manifest: once is enough.
        with suppress(OSError):
            os.utime(folder / MANIFEST)


def _removed(path: Path, manifest: IndexManifest) -> Integers:
    """Positions of the documents that are not to be found."""
    try:
        removed: Integers = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}); copy or build the index again") from error
    if (
        removed.shape != (manifest.removed,)
        or removed.dtype != np.int64
        or not ((removed >= 0) & (removed < manifest.count)).all()
    ):
        raise InputError(
            f"{path}: does not name {manifest.removed:,} of {manifest.count:,} documents; copy or build the index again"
        )
    return removed


def as_texts(queries: Sequence[object] | Vectors) -> list[str]:
    """Queries that are texts.

    Raises:
        InputError: They are none, or one text, or one is empty.
    """
    if isinstance(queries, str):
        raise InputError(f"query {queries!r:.80}: expected a list of texts")
    texts = [query for query in queries if isinstance(query, str)]
    if len(texts) < len(queries):
        raise InputError("expected queries that are all texts, or an array of their vectors")
    blank = next((number for number, text in enumerate(texts, start=1) if not text.strip()), None)
    if blank is not None:
        raise InputError(f"query {blank} is empty; expected text")
    return texts
