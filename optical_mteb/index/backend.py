"""mteb's protocol of search backends, on indexes that are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optical_mteb.errors import InputError
from optical_mteb.index.assembly import BuildSettings
from optical_mteb.index.corpus import Corpus
from optical_mteb.index.manifest import CorpusRecord
from optical_mteb.index.searcher import NOTHING
from optical_mteb.index.shards import Vectors, unit, unit_or_zero
from optical_mteb.index.stored_corpus import EXACT, StoredCorpus, missing, warn_of_left_out, write
from optical_mteb.storage import indexes_folder

if TYPE_CHECKING:
    from mteb.types import Array, TopRankedDocumentsType

PROBED = 8
"""Vectors by which it is told how a model compares."""

TOLERANCE = 1e-3
"""Difference from the cosine that counts as rounding."""


def experiment_kwargs(settings: BuildSettings) -> dict[str, Any]:
    """The settings by which mteb keeps scores of an index apart from exact ones, and from those of other indexes."""
    return {"index": settings.spec} | ({} if settings.spec == EXACT else {"recall": settings.recall})


class FaissBackend:
    """An mteb `IndexEncoderSearchProtocol` whose indexes stay in the store.

    It searches the corpus that it was given by `use`, or else the vectors that were added, as those of mteb's own
    `SearchEncoderWrapper(model, index_backend=...)`; the same vectors find their index again.
    """

    def __init__(self, settings: BuildSettings) -> None:
        """Make a backend.

        Args:
            settings: How its indexes are built; `texts` and `memory` count for nothing.
        """
        self.settings = settings
        self._ids: list[str] = []
        self._rows: list[Vectors] = []
        self._corpus: StoredCorpus | None = None

    def add_documents(self, embeddings: Array, idxs: Sequence[str]) -> None:
        """Take documents in.

        Args:
            embeddings: [n, width].
            idxs: Their ids.

        Raises:
            InputError: The embeddings are not one vector a document.
        """
        self._rows.append(rows_of(embeddings))
        self._ids += map(str, idxs)

    def added(self) -> tuple[list[str], Vectors]:
        """Ids and vectors of the documents that were added, which are not kept here any longer."""
        ids, rows = self._ids, np.concatenate(self._rows) if self._rows else np.empty((0, 0), np.float32)
        self._ids, self._rows = [], []
        return ids, rows

    def use(self, corpus: StoredCorpus) -> None:
        """Search this corpus until `clear`."""
        self._corpus = corpus

    def search(
        self,
        embeddings: Array,
        top_k: int,
        similarity_fn: Callable[[Array, Array], Array],
        top_ranked: TopRankedDocumentsType | None = None,
        query_idx_to_id: dict[int, str] | None = None,
    ) -> tuple[list[list[float]], list[list[int]]]:
        """Rank all documents, or the pre-ranked ones, for queries.

        Args:
            embeddings: Of the queries, [n, width].
            top_k: Documents a query.
            similarity_fn: How the model compares; must be the cosine for its vectors.
            top_ranked: Ids of the documents to rank by query; these are compared one by one, not through the index.
            query_idx_to_id: Ids of the queries by row, for `top_ranked`.

        Returns:
            Scores and, best first, the positions of the documents in the corpus, or among those pre-ranked.

        Raises:
            InputError: The model compares otherwise, or no index can be built over the documents.
        """
        rows = rows_of(embeddings)
        queries = unit(rows, range(1, len(rows) + 1), kind="query")
        check_similarity(rows, similarity_fn)
        corpus = self._corpus or self._stored(similarity_fn)
        if top_ranked is not None:
            asked = [list(top_ranked.get((query_idx_to_id or {})[row], ())) for row in range(len(queries))]
            return _ranked(corpus, queries, asked, top_k)
        index = corpus.index(queries)
        scores, positions = index.searcher.search(queries, top_k, index.manifest.tuning)
        found = positions != NOTHING
        return (
            [row[kept].tolist() for row, kept in zip(scores, found, strict=True)],
            [row[kept].tolist() for row, kept in zip(positions, found, strict=True)],
        )

    def clear(self) -> None:
        """Forget the documents; what is in the store stays."""
        self.added()
        self._corpus = None

    def _stored(self, similarity_fn: Callable[[Array, Array], Array]) -> StoredCorpus:
        """The documents that were added, in the place in the store that their ids and vectors name."""
        ids, rows = self.added()
        if not ids:
            raise InputError("there is no document to search; add some first")
        directions = unit_or_zero(rows)
        check_similarity(rows, similarity_fn)
        digest = hashlib.sha256(Corpus.of(ids, [""] * len(ids), source="vectors").fingerprint.encode())
        digest.update(np.ascontiguousarray(rows).tobytes())
        record = CorpusRecord(source="vectors", fingerprint=digest.hexdigest(), count=len(ids))
        corpus = StoredCorpus(
            indexes_folder() / "vectors" / record.fingerprint[:16], record, None, settings=self.settings
        )
        with corpus.held() as store:
            for number in missing(store):
                start, stop = store.bounds(number)
                write(store, number, ids[start:stop], directions[start:stop])
            warn_of_left_out(store, record.source)
        self.use(corpus)
        return corpus


def rows_of(embeddings: Array) -> Vectors:
    """Embeddings as mteb has them as float32, [n, width].

    Raises:
        InputError: They are sparse, or not one vector a text.
    """
    import torch

    if isinstance(embeddings, torch.Tensor):
        embeddings = embeddings.to_dense().detach().cpu().float().numpy()
    rows = np.asarray(embeddings, np.float32) if isinstance(embeddings, np.ndarray) else None
    if rows is None or rows.ndim != 2:
        raise InputError("the model does not give one vector a text, which an index needs; leave --index out")
    return rows


def check_similarity(rows: Vectors, similarity_fn: Callable[[Array, Array], Array]) -> None:
    """Check on a few vectors that a model compares them by the angle between them alone, as an index does.

    Args:
        rows: [n, width].
        similarity_fn: What mteb compares them by, [n, width] and [m, width] to [n, m].

    Raises:
        InputError: It compares otherwise.
    """
    import torch

    probe = rows[unit_or_zero(rows).any(axis=1)][:PROBED]
    directions = unit_or_zero(probe)
    found = torch.as_tensor(similarity_fn(torch.from_numpy(probe), torch.from_numpy(probe))).cpu().float().numpy()
    if not np.allclose(found, directions @ directions.T, atol=TOLERANCE):
        raise InputError(
            "the model compares vectors by more than the angle between them, as by the dot product of vectors of "
            "several lengths, and an index by the angle alone; leave --index out, or use another model"
        )


def _ranked(
    corpus: StoredCorpus, queries: Vectors, asked: list[list[str]], top_k: int
) -> tuple[list[list[float]], list[list[int]]]:
    """Pre-ranked documents of each query by their stored vectors: scores and places in the given order."""
    vectors = corpus.vectors_of([name for names in asked for name in names])
    values: list[list[float]] = []
    places: list[list[int]] = []
    for query, names in zip(queries, asked, strict=True):
        scores = np.array([vectors[name] @ query for name in names], np.float32)
        best = np.argsort(-scores, kind="stable")[:top_k]
        values.append(scores[best].tolist())
        places.append(best.tolist())
    return values, places
