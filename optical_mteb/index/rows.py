"""Vectors of texts: one row a text of a dense model, one row a token of a late-interaction model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from optical_mteb.errors import InputError

Vectors = NDArray[np.float32]
"""One vector of length 1 a row."""

Integers = NDArray[np.int64]
"""Positions of documents or rows, or numbers of rows."""

Metric = Literal["inner product", "maxsim", "meanmaxsim"]
"""How texts are compared: by their one row; by MaxSim, the sum over the query's rows; or by the mean over them."""

ONE_ROW: Metric = "inner product"
"""The metric of texts with one row each; the others are of late interaction."""

UNIT = 0.01
"""Distance from length 1 that counts as rounding."""


@dataclass(frozen=True)
class Rows:
    """The rows of texts, one text's after the other's.

    Attributes:
        vectors: [rows, width].
        lengths: Rows of each text, [n]; 1 each for a dense model.
    """

    vectors: NDArray[Any]
    lengths: Integers

    @classmethod
    def single(cls, vectors: NDArray[Any]) -> Self:
        """The rows of texts that have one each, [n, width]."""
        return cls(vectors, np.ones(len(vectors), np.int64))

    @classmethod
    def joined(cls, texts: Sequence[NDArray[Any]], width: int = 0) -> Self:
        """The rows of texts, [rows, width] each; `width` where there is no text."""
        vectors = np.concatenate(texts) if len(texts) else np.empty((0, width), np.float32)
        return cls(vectors, np.array([len(text) for text in texts], np.int64))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, part: slice) -> Rows:
        """Some texts that follow one another."""
        first, last, _ = part.indices(len(self))
        return Rows(self.vectors[self.offsets[first] : self.offsets[max(first, last)]], self.lengths[part])

    def at(self, texts: Integers) -> Rows:
        """The rows of texts in any order; of a memory map, only these are read."""
        lengths = self.lengths[texts]
        starts = self.offsets[texts] - _offsets(lengths)[:-1]
        return Rows(self.vectors[np.arange(lengths.sum()) + np.repeat(starts, lengths)], lengths)

    @property
    def one_each(self) -> bool:
        """Whether each text has one row."""
        return bool((self.lengths == 1).all())

    @cached_property
    def offsets(self) -> Integers:
        """First row of each text, and the one past the last of all, [n + 1]."""
        return _offsets(self.lengths)

    @property
    def texts(self) -> list[NDArray[Any]]:
        """The rows of each text, [rows, width] each."""
        return np.split(self.vectors, self.offsets[1:-1]) if len(self) else []

    @property
    def width(self) -> int:
        """Components of a row."""
        return int(self.vectors.shape[1])

    def summaries(self) -> NDArray[Any]:
        """One vector a text, [n, width]: its only row, or the mean of its rows brought to length 1; zero for no row.

        A document is found by it, and then scored with all its rows.
        """
        if self.one_each:
            return self.vectors
        means = np.zeros((len(self), self.width), np.float32)
        filled = np.flatnonzero(self.lengths)
        if len(filled):
            rows = np.asarray(self.vectors, np.float32)
            means[filled] = np.add.reduceat(rows, self.offsets[filled], axis=0)
        return unit_or_zero(means)

    def bare(self) -> Integers:
        """Places of the texts that cannot be compared: those without a row, or with zeros for it."""
        owners = np.repeat(np.arange(len(self)), self.lengths)
        return np.flatnonzero(np.bincount(owners, self.vectors.any(axis=1), minlength=len(self)) == 0)

    def without_incomparable(self) -> Rows:
        """The rows of those texts whose rows are all finite and not zero; none of the others'."""
        lengths = np.linalg.norm(self.vectors, axis=1)
        bad = ~(np.isfinite(lengths) & (lengths > 0))
        owners = np.repeat(np.arange(len(self)), self.lengths)
        lost = np.bincount(owners, bad, minlength=len(self)) > 0
        return Rows(self.vectors[~lost[owners]], np.where(lost, 0, self.lengths))

    def check_unit(self, names: Sequence[object], *, kind: str, model: str) -> None:
        """Check that all rows are of length 1.

        The names of the texts, what they are ("document" or "query") and the model's name are for the error line.

        Raises:
            InputError: One is not finite, or of another length.
        """
        norms = np.linalg.norm(self.vectors, axis=1)
        bad = np.flatnonzero(~(np.abs(norms - 1) <= UNIT))
        if not len(bad):
            return
        name = names[int(np.searchsorted(self.offsets, bad[0], side="right")) - 1]
        if np.isfinite(norms[bad[0]]):
            raise InputError(
                f"model {model}: gives {kind} {name!r} a token vector of length {norms[bad[0]]:.3g}, expected length 1; "
                "end the model with a Normalize module"
            )
        raise InputError(f"{kind} {name!r}: the vector of a token is not finite; take it out, or use another model")


def _offsets(lengths: Integers) -> Integers:
    """Where runs of these lengths begin, and where the last one ends, [n + 1]."""
    offsets: Integers = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return offsets


def comparable(rows: Rows, names: Sequence[object], *, late: bool, model: str) -> Rows:
    """Documents as an index keeps them: bare where a row of theirs is zero or not finite.

    A dense model's are brought to length 1. Those of late interaction have to be so: MaxSim counts lengths.

    Raises:
        InputError: A row of late interaction is finite, and neither zero nor of length 1.
    """
    if not late:
        return Rows.single(unit_or_zero(rows.vectors))
    kept = rows.without_incomparable()
    kept.check_unit(names, kind="document", model=model)
    return kept


def comparable_queries(rows: Rows, *, late: bool, model: str) -> Rows:
    """Queries as an index compares them; their numbers, from 1 on, name them in error messages.

    A dense model's are brought to length 1. Those of late interaction have to be so.

    Raises:
        InputError: A row is not finite; or it is zero, or by late interaction of another length than 1.
    """
    names = range(1, len(rows) + 1)
    if not late:
        return Rows.single(unit(rows.vectors, names, kind="query"))
    rows.check_unit(names, kind="query", model=model)
    return rows


def unit_or_zero(vectors: Vectors) -> Vectors:
    """Vectors, [n, width], brought to length 1; zero for those that cannot be: zero ones, and those that are not finite."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    good = np.isfinite(lengths) & (lengths > 0)
    brought: Vectors = np.divide(vectors, lengths, out=np.zeros(vectors.shape, np.float32), where=good)
    return brought


def unit(vectors: Vectors, names: Sequence[object], *, kind: str = "document") -> Vectors:
    """Vectors, [n, width], brought to length 1; `names`, and `kind` ("document" or "query"), are for the error line.

    Raises:
        InputError: One is zero, or has a component that is not finite.
    """
    brought = unit_or_zero(vectors)
    bad = np.flatnonzero(~brought.any(axis=1))
    if len(bad):
        raise InputError(
            f"{kind} {names[int(bad[0])]!r}: its vector is not finite, or zero; take it out, or use another model"
        )
    return brought
