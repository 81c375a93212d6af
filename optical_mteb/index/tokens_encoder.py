"""The late-interaction model of an index: a vector for each token of a text, scored by MaxSim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from optical_mteb.errors import InputError
from optical_mteb.index.documents import Integers
from optical_mteb.index.manifest import ModelRecord
from optical_mteb.index.shards import Vectors

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from sentence_transformers import MultiVectorEncoder

UNIT = 0.01
"""Distance from length 1 that counts as rounding."""


@dataclass(frozen=True)
class EncodedTokens:
    """Token vectors of documents.

    Attributes:
        vectors: Of length 1, one document's after the other's, [tokens, width], float32.
        lengths: Tokens of each document, [n].
        truncated: Documents that the model did not read to the end.
    """

    vectors: Vectors
    lengths: Integers
    truncated: int


@dataclass(frozen=True)
class TokenEncoder:
    """A model with a vector for each token.

    Attributes:
        model: The model.
        record: What an index keeps of it.
    """

    model: MultiVectorEncoder
    record: ModelRecord

    @property
    def metric(self) -> Literal["maxsim", "meanmaxsim"]:
        """How the model scores: the sum over the query's tokens, or their mean."""
        return self.model.similarity_fn_name

    @property
    def width(self) -> int | None:
        """Components of a vector, where that is known."""
        return self.model.get_embedding_dimension()

    def documents(self, ids: Sequence[str], texts: Sequence[str]) -> EncodedTokens:
        """Token vectors of documents, by the prompt for documents; none for one with a vector that is zero or not finite.

        Args:
            ids: Of the documents, for error messages.
            texts: Their texts.

        Raises:
            InputError: A token's vector is finite, and neither zero nor of length 1.
        """
        from optical_mteb.index.encoding import count_truncated

        record = self.record
        encoded = self.model.encode_document(
            list(texts), prompt=record.document_prompt, convert_to_numpy=True, show_progress_bar=False
        )
        vectors, lengths = self._rows([_comparable(rows) for rows in encoded], ids, kind="document")
        prompted = [record.document_prompt + text for text in texts]
        return EncodedTokens(vectors, lengths, count_truncated(self.model, prompted, {}, "", record.max_tokens))

    def queries(self, texts: Sequence[str]) -> list[Vectors]:
        """Token vectors of each query, by the prompt for queries, [tokens, width] each.

        Raises:
            InputError: A token's vector is not finite, or not of length 1.
        """
        encoded = self.model.encode_query(
            list(texts), prompt=self.record.query_prompt, convert_to_numpy=True, show_progress_bar=False
        )
        vectors, lengths = self._rows(encoded, range(1, len(texts) + 1), kind="query")
        return np.split(vectors, np.cumsum(lengths)[:-1])

    def for_task(self, task: TaskMetadata) -> TokenEncoder:
        """The encoder with the prompts that MTEB's order of precedence picks for a task."""
        from optical_mteb.index.encoder import task_prompts

        return replace(self, record=self.record.model_copy(update=task_prompts(self.model, task)))

    def _rows(self, encoded: Iterable[Vectors], names: Sequence[object], *, kind: str) -> tuple[Vectors, Integers]:
        rows = list(encoded)
        lengths = np.array([len(each) for each in rows], np.int64)
        vectors = np.concatenate(rows).astype(np.float32)
        check_tokens(vectors, lengths, names, kind=kind, model=self.record.name)
        return vectors, lengths


def _comparable(rows: Vectors) -> Vectors:
    """The token vectors of a document, or none of them where one cannot be compared."""
    lengths = np.linalg.norm(rows, axis=1)
    return rows if (np.isfinite(lengths) & (lengths > 0)).all() else rows[:0]


def check_tokens(vectors: Vectors, lengths: Integers, names: Sequence[object], *, kind: str, model: str) -> None:
    """Check that all token vectors are of length 1.

    Args:
        vectors: [tokens, width].
        lengths: Tokens of each text, [n].
        names: Of the texts, for error messages.
        kind: "document" or "query".
        model: Its name.

    Raises:
        InputError: One is not finite, or of another length.
    """
    norms = np.linalg.norm(vectors, axis=1)
    bad = np.flatnonzero(~(np.abs(norms - 1) <= UNIT))
    if not len(bad):
        return
    name = names[int(np.searchsorted(np.cumsum(lengths), bad[0], side="right"))]
    if np.isfinite(norms[bad[0]]):
        raise InputError(
            f"model {model}: gives {kind} {name!r} a token vector of length {norms[bad[0]]:.3g}, expected length 1; "
            "end the model with a Normalize module"
        )
    raise InputError(f"{kind} {name!r}: the vector of a token is not finite; take it out, or use another model")
