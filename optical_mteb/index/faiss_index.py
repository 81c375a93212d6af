"""An index that is searched: opened memory-mapped, asked by vectors or by texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.documents import Documents
from optical_mteb.index.forking import set_threads
from optical_mteb.index.manifest import DOCUMENTS_FILE, FAISS_FILE, IndexManifest, read_unchanged
from optical_mteb.index.maxsim import NOTHING
from optical_mteb.index.rows import Integers, Rows, Vectors, comparable_queries
from optical_mteb.index.searcher import Searcher
from optical_mteb.storage import expanded

if TYPE_CHECKING:
    from optical_mteb.index.encoder import Encoder

Queries = Sequence[str] | Vectors | Sequence[Vectors] | Rows
"""Texts; vectors, [n, width]; or by late interaction the token vectors of each query, [tokens, width]."""

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
    """An index on disk, by a dense model or one of late interaction.

    Attributes:
        folder: The index.
        manifest: What is on record about it.
        documents: Ids by position, and texts where they are kept.
        searcher: Its files, opened.
    """

    def __init__(
        self, folder: Path, manifest: IndexManifest, *, encoder: Encoder | None = None, device: str | None = None
    ) -> None:
        manifest.check_files(folder, read_up_to=CHECKED_AT_OPENING)
        self.folder, self.manifest, self._device = folder, manifest, device
        self.documents = Documents(folder / DOCUMENTS_FILE)
        if len(self.documents) != manifest.count:
            raise InputError(
                f"{folder / DOCUMENTS_FILE}: has {len(self.documents):,} documents, expected {manifest.count:,}; "
                "copy or build the index again"
            )
        self.searcher = Searcher(folder, manifest)
        self._encoder = self._checked(encoder) if encoder is not None else None

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        encoder: Encoder | None = None,
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
        return read_unchanged(folder, lambda manifest: cls(folder, manifest, encoder=encoder, device=device))

    def __len__(self) -> int:
        """Documents that can be found."""
        return self.searcher.live

    @property
    def size(self) -> int:
        """Bytes of the FAISS file, which is what the index takes in memory once all of it was searched."""
        return self.manifest.files[FAISS_FILE].bytes

    def search(self, queries: Queries, k: int = 10) -> list[Ranking]:
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
        scores, positions = self.searcher.search(self._rows(queries), k, self.manifest.tuning)
        rankings = []
        for start in range(0, len(positions), NAMED_AT_ONCE):
            part = slice(start, start + NAMED_AT_ONCE)
            found = positions[part] != NOTHING
            ids, ends = self.documents.ids(positions[part][found]), np.cumsum(found.sum(axis=1))
            for row, end, own_scores, own in zip(found, ends, scores[part], positions[part], strict=True):
                rankings.append(Ranking(ids[end - row.sum() : end], own_scores[row], own[row]))
        return rankings

    def encoder(self) -> Encoder:
        """The model of the index, with the prompts on record; loaded when it is first needed.

        Raises:
            InputError: The index was built from vectors, or the model is not there in the revision on record, or gives
                vectors of tokens for an index of texts, or the other way round.
        """
        record = self.manifest.model
        if record is None:
            raise InputError(f"{self.folder}: was built from vectors, not by a model; search and change it by vectors")
        if self._encoder is None:
            from optical_mteb.index.encoder import load_encoder

            self._encoder = self._checked(load_encoder(record.name, device=self._device))
        if self._encoder.late != self.manifest.late:
            if self.manifest.late:
                found = f"a vector for each token, and {record.name} gives one a text"
            else:
                found = f"one vector a text, and {record.name} gives one for each token"
            raise InputError(f"{self.folder}: holds {found}; build the index again, or use the recorded model")
        return self._encoder

    def findable(self) -> Integers:
        """Positions of the documents that can be found."""
        return np.setdiff1d(np.arange(self.manifest.count), self.searcher.removed)

    def own_rows(self, positions: Integers) -> Rows:
        """The vectors of documents as the index has them, which `search` takes."""
        return self.searcher.rows(positions)

    def _rows(self, queries: Queries) -> Rows:
        """Queries as vectors of length 1 and of the index's width."""
        late, width, model = self.manifest.late, self.manifest.width, self.manifest.model
        if isinstance(queries, Rows):
            rows = queries
        elif late and not any(isinstance(query, str) for query in queries):
            arrays = [np.asarray(query, np.float32) for query in queries]
            wrong = next((each.shape for each in arrays if each.ndim != 2 or each.shape[1] != width), None)
            if wrong is not None:
                raise InputError(
                    f"{self.folder}: expected a query's token vectors of shape (n, {width}), found {wrong}"
                )
            rows = Rows.joined(arrays, width)
        elif not late and isinstance(queries, np.ndarray):
            rows = Rows.single(np.asarray(queries, np.float32))
        else:
            texts = _as_texts(queries)
            rows = self.encoder().queries(texts) if texts else Rows.joined([], width)
        if rows.vectors.ndim != 2 or rows.width != width:
            raise InputError(f"{self.folder}: expected query vectors of shape (n, {width}), found {rows.vectors.shape}")
        return comparable_queries(rows, late=late, model=model.name if model else "")

    def _checked(self, encoder: Encoder) -> Encoder:
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


def _as_texts(queries: Sequence[object] | Vectors) -> list[str]:
    """Queries that are texts, none of which is empty."""
    if isinstance(queries, str):
        raise InputError(f"query {queries!r:.80}: expected a list of texts")
    texts = [query for query in queries if isinstance(query, str)]
    if len(texts) < len(queries):
        raise InputError("expected queries that are all texts, or an array of their vectors")
    blank = next((number for number, text in enumerate(texts, start=1) if not text.strip()), None)
    if blank is not None:
        raise InputError(f"query {blank} is empty; expected text")
    return texts
