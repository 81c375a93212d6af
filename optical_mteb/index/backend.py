"""mteb's protocol of search backends, on indexes that are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.assembly import BuildSettings
from optical_mteb.index.corpus import record_of_vectors
from optical_mteb.index.maxsim import NOTHING, maxsim
from optical_mteb.index.rows import ONE_ROW, Metric, Rows, comparable, comparable_queries, unit_or_zero
from optical_mteb.index.stored_corpus import StoredCorpus
from optical_mteb.storage import indexes_folder

if TYPE_CHECKING:
    from mteb.types import Array, TopRankedDocumentsType

PROBED = 8
"""Vectors by which it is told how a model compares."""

TOLERANCE = 1e-3
"""Difference from the cosine that counts as rounding."""


class FaissBackend:
    """An mteb `IndexEncoderSearchProtocol` whose indexes stay in the store.

    It searches the corpus that it was given by `use`, or else the vectors that were added, as those of mteb's own
    `SearchEncoderWrapper(model, index_backend=...)`; the same vectors find their index again.

    Attributes:
        settings: How its indexes are built; `texts` and `memory` count for nothing.
    """

    def __init__(self, settings: BuildSettings) -> None:
        self.settings = settings
        self._ids: list[str] = []
        self._texts: list[NDArray[np.float32]] = []
        self._corpus: StoredCorpus | None = None

    def add_documents(self, embeddings: Array, idxs: Sequence[str]) -> None:
        """Take in documents and their ids: vectors, [n, width]; of late interaction, [tokens, width] each.

        Raises:
            InputError: The embeddings are neither.
        """
        self._texts += _rows_of(embeddings).texts
        self._ids += map(str, idxs)

    def added(self) -> tuple[list[str], Rows]:
        """Ids and rows of the documents that were added, which are not kept here any longer."""
        added = self._ids, Rows.joined(self._texts)
        self._ids, self._texts = [], []
        return added

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
            embeddings: Of the queries, as those of documents.
            top_k: Documents a query.
            similarity_fn: How the model compares; must be the cosine for its vectors.
            top_ranked: Ids of the documents to rank by query; these are compared one by one, not through the index.
            query_idx_to_id: Ids of the queries by row, for `top_ranked`.

        Returns:
            Scores and, best first, the positions of the documents in the corpus, or among those pre-ranked.

        Raises:
            InputError: The model compares otherwise, or no index can be built over the documents.
        """
        rows = _rows_of(embeddings)
        metric = metric_of(rows, similarity_fn, late=_is_late(embeddings))
        queries = comparable_queries(rows, late=metric != ONE_ROW, model="")
        corpus = self._corpus or self._stored(metric)
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

    def _stored(self, metric: Metric) -> StoredCorpus:
        """The documents that were added, in the place in the store that their ids and vectors name."""
        ids, rows = self.added()
        if not ids:
            raise InputError("there is no document to search; add some first")
        kept = comparable(rows, ids, late=metric != ONE_ROW, model="")
        record = record_of_vectors(ids, [rows.vectors])
        place = indexes_folder() / "vectors" / record.fingerprint[:16]
        corpus = StoredCorpus(place, record, None, self.settings, metric)
        corpus.fill(lambda start, stop: (ids[start:stop], kept[start:stop]))
        self.use(corpus)
        return corpus


def _is_late(embeddings: Array) -> bool:
    """Whether embeddings as mteb has them are of late interaction: a matrix for each text."""
    return isinstance(embeddings, list) and all(getattr(each, "ndim", 0) == 2 for each in embeddings)


def _rows_of(embeddings: Array) -> Rows:
    """Embeddings as mteb has them, in float32; those that are neither one vector a text nor one a token are refused."""
    import torch

    def array(found: Any) -> Any:  # noqa: ANN401 - a tensor or an array
        if isinstance(found, torch.Tensor):
            found = found.to_dense().detach().cpu().float().numpy()
        return np.asarray(found, np.float32) if isinstance(found, np.ndarray) else None

    if _is_late(embeddings):
        return Rows.joined([array(each) for each in embeddings])
    rows = array(embeddings)
    if rows is None or rows.ndim != 2:
        raise InputError(
            "the model does not give one vector a text or a token, which an index needs; leave --index out"
        )
    return Rows.single(rows)


def metric_of(rows: Rows, similarity_fn: Callable[[Array, Array], Array], *, late: bool) -> Metric:
    """How a model compares, tried on the rows of a few texts: as an index does, by angles alone.

    Raises:
        InputError: It compares otherwise.
    """
    import torch

    usable = rows.without_incomparable()
    probe = usable.at(np.flatnonzero(usable.lengths)[:PROBED])
    given: Any = [torch.from_numpy(text) for text in probe.texts] if late else torch.from_numpy(probe.vectors)
    found = torch.as_tensor(similarity_fn(given, given)).cpu().float().numpy() if len(probe) else np.empty((0, 0))
    directions = Rows(unit_or_zero(probe.vectors), probe.lengths)
    scores = maxsim(directions, directions)
    expected: dict[Metric, Any] = (
        {"maxsim": scores, "meanmaxsim": scores / probe.lengths[:, None]} if late else {ONE_ROW: scores}
    )
    for metric, score in expected.items():
        if np.allclose(found, score, atol=TOLERANCE):
            return metric
    raise InputError(
        "the model compares vectors by more than the angle between them, as by the dot product of vectors of "
        "several lengths, and an index by the angle alone; leave --index out, or use another model"
    )


def _ranked(
    corpus: StoredCorpus, queries: Rows, asked: list[list[str]], top_k: int
) -> tuple[list[list[float]], list[list[int]]]:
    """Pre-ranked documents of each query by their stored rows: scores and places in the given order."""
    row_of, rows = corpus.rows_of([name for names in asked for name in names])
    values: list[list[float]] = []
    places: list[list[int]] = []
    for number, names in enumerate(asked):
        documents = rows.at(np.array([row_of[name] for name in names], np.int64))
        (scores,) = maxsim(queries[number : number + 1], documents)
        if corpus.metric == "meanmaxsim":
            scores = scores / queries.lengths[number]
        best = np.argsort(-scores, kind="stable")[:top_k]
        values.append(scores[best].tolist())
        places.append(best.tolist())
    return values, places
