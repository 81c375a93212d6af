"""What a study's scores say: groups of languages, means and slopes with intervals, interference.

Scores are arrays `[seeds, queries]`; the same query stands in the same column of all arrays that are compared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from optical_mteb.scores.significance import Array, holm, randomisation_tests

Group = Literal["trained", "later", "never", "english"]


@dataclass(frozen=True)
class Estimate:
    """A number and its percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Interference:
    """What one more pair did to a language.

    Attributes:
        difference: Mean after the pair joined less the mean before.
        p: Two-sided paired randomisation test over queries, each averaged over seeds, corrected by Holm.
    """

    difference: Estimate
    p: float


def group_of(language: str, order: Sequence[str], pairs: int) -> Group:
    """How a training on the first `pairs` languages of an order stands to a query language (ISO 639-3)."""
    if language == "eng":
        return "english"
    if language not in order:
        return "never"
    return "trained" if order.index(language) < pairs else "later"


def mean(scores: Array, sentences: Sequence[str], *, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Mean over seeds and queries, with a hierarchical bootstrap interval.

    A resample draws seeds, then English source sentences, both with replacement: the translations of a sentence are
    drawn together.

    Args:
        scores: Scores, `[seeds, queries]`.
        sentences: Id of each query's English source sentence, `[queries]`.
        resamples: Resamples.
        seed: Their seed.

    Raises:
        ValueError: There is no score, or not one sentence a query.
    """
    return _estimate(float(scores.mean()), _resampled([scores], sentences, resamples, seed)[0])


def slope(scores: Mapping[int, Array], sentences: Sequence[str], *, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Least-squares slope of the mean per doubling of the pairs; all numbers of pairs share the draws of a resample.

    Args:
        scores: Scores by number of pairs, `[seeds, queries]` each, all of the same shape.
        sentences: As in `mean`.
        resamples: Resamples.
        seed: Their seed.

    Raises:
        ValueError: There are fewer than two numbers of pairs, or shapes differ.
    """
    if len(scores) < 2 or min(scores) < 1:
        raise ValueError(f"a slope needs two numbers of pairs or more, all positive; there are {sorted(scores)}")
    doublings = np.log2(np.array(sorted(scores), dtype=np.float64))
    centred = doublings - doublings.mean()
    weights = centred / (centred @ centred)
    arrays = [scores[pairs] for pairs in sorted(scores)]
    value = float(weights @ np.array([array.mean() for array in arrays]))
    return _estimate(value, weights @ _resampled(arrays, sentences, resamples, seed))


def interference(
    cells: Sequence[tuple[Array, Array]], sentences: Sequence[Sequence[str]], *, resamples: int = 2000, seed: int = 0
) -> list[Interference]:
    """Differences between cells before and after a pair joined; Holm's family is all of `cells`.

    Args:
        cells: Scores before and after, `[seeds, queries]` each, paired in both axes.
        sentences: As in `mean`, for each.
        resamples: Resamples of an interval.
        seed: Their seed.

    Raises:
        ValueError: The two sides of a pair have different shapes.
    """
    if any(before.shape != after.shape for before, after in cells):
        raise ValueError("scores before and after a pair joined are of different seeds or queries")
    differences = [after - before for before, after in cells]
    tested = holm(
        randomisation_tests(
            [_by_sentence(each.mean(0), ids) for each, ids in zip(differences, sentences, strict=True)], seed=seed
        )
    )
    return [
        Interference(mean(each, ids, resamples=resamples, seed=seed), float(p))
        for each, ids, p in zip(differences, sentences, tested, strict=True)
    ]


def _by_sentence(values: Array, sentences: Collection[str]) -> Array:
    """Sums over the queries of each sentence: a sentence takes one sign, and its queries keep their weight."""
    return np.bincount(_clusters(sentences)[0], weights=values).astype(np.float64)


def _clusters(sentences: Collection[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    _, index, counts = np.unique(list(sentences), return_inverse=True, return_counts=True)
    return index, counts


def _resampled(arrays: Sequence[Array], sentences: Sequence[str], resamples: int, seed: int) -> Array:
    """Means of resamples, `[arrays, resamples]`, one draw of seeds and sentences for all arrays."""
    shape = arrays[0].shape
    if any(array.shape != shape for array in arrays) or len(shape) != 2 or not all(shape):
        raise ValueError(f"expected scores [seeds, queries] of one shape, found {[array.shape for array in arrays]}")
    if len(sentences) != shape[1]:
        raise ValueError(f"expected a sentence for each of {shape[1]} queries, found {len(sentences)}")
    index, counts = _clusters(sentences)
    sums = np.stack([[np.bincount(index, weights=row) for row in array] for array in arrays])
    rng = np.random.default_rng(seed)
    seeds = rng.multinomial(shape[0], np.full(shape[0], 1 / shape[0]), size=resamples) / shape[0]
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=resamples)
    totals: Array = np.einsum("rs,asc,rc->ar", seeds, sums, drawn, optimize=True)
    return totals / (drawn @ counts)


def _estimate(value: float, resampled: Array) -> Estimate:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
