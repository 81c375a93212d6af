"""Whether a mean of scores is more than chance: bootstrap, hierarchical bootstrap, randomisation, Holm, effect size.

Arrays in, arrays out. A sample is a one-dimensional float64 array of differences, one per query; functions take many at
once, of any lengths. What comes out for a sample depends on that sample and the seed alone, not on its company.
Repeated trainings are replicates: the hierarchical bootstrap draws them as well as their queries.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES = 10_000
"""Resamples of either method; up to as many sign patterns, all of them are counted instead."""

HIERARCHICAL_RESAMPLES = 2000
"""Resamples of replicates and sentences."""

CONFIDENCE = 0.95
"""Level of an interval."""

_DRAWN = (128, 1024)
"""Resamples and queries that are drawn at a time: buffers stay in a core's cache."""

_SIGNED = (2048, 1024)
"""Resamples and queries that get signs at a time: few products, as BLAS waits for all its threads after each."""


@dataclass(frozen=True)
class Replicate:
    """Scores of one training.

    Attributes:
        scores: Of queries, `[n]`.
        sentences: Id of each query's English source sentence, `[n]`.
        cluster: What the training shares with others, which are drawn together; a training without one stands alone.
    """

    scores: Array
    sentences: Sequence[str]
    cluster: str = ""


def bootstrap_intervals(
    samples: Sequence[Array], *, resamples: int = RESAMPLES, confidence: float = CONFIDENCE, seed: int = 0
) -> Array:
    """Percentile intervals of means: quantiles of the means of resamples, drawn with replacement (Efron 1979).

    Samples share their random numbers.

    Args:
        samples: Differences, `[n_i]` each.
        resamples: Resamples of each sample.
        confidence: Probability between the two quantiles.
        seed: Seed of the draws.

    Returns:
        Lower and upper bounds, `[samples, 2]`.

    Raises:
        ValueError: A sample is empty.
    """
    if not all(len(sample) for sample in samples):
        raise ValueError("a sample without differences has no interval")
    return percentile_intervals(_resampled_means(samples, resamples, seed), confidence=confidence)


def hierarchical_means(points: Sequence[Sequence[Replicate]]) -> Array:
    """Means of resamples of replicates and of their sentences (Davison and Hinkley 1997, section 3.8).

    A resample draws clusters, then the replicates of each, then sentences, all with replacement: the translations of a
    sentence are drawn together. A cluster weighs as much as another, however many replicates it has. All points share
    the draws of a resample, so what they have in common cancels in their differences.

    Args:
        points: Replicates of each point, as many and in the same order everywhere.

    Returns:
        Means, `[points, HIERARCHICAL_RESAMPLES]`; `percentile_intervals` makes intervals of them.

    Raises:
        ValueError: The points do not have as many replicates as each other.
    """
    numbers = {len(replicates) for replicates in points}
    if len(numbers) != 1:
        raise ValueError(f"expected as many replicates everywhere, found {sorted(numbers)}")
    names = {name for replicates in points for replicate in replicates for name in replicate.sentences}
    universe = {name: place for place, name in enumerate(sorted(names))}
    weights, drawn = _drawn(tuple(map(tuple, clusters(points[0]))), len(universe))
    means = np.empty((len(points), HIERARCHICAL_RESAMPLES))
    for place, replicates in enumerate(points):
        sums, counts = np.empty((2, len(universe), len(replicates)))
        for column, replicate in enumerate(replicates):
            index = [universe[name] for name in replicate.sentences]
            sums[:, column] = np.bincount(index, weights=replicate.scores, minlength=len(universe))
            counts[:, column] = np.bincount(index, minlength=len(universe))
        means[place] = (weights * (drawn @ sums) / np.maximum(drawn @ counts, 1)).sum(1)
    return means


def replicate_weights(replicates: Sequence[Replicate]) -> Array:
    """What each replicate weighs in a mean, `[replicates]`: every cluster the same, and so its replicates within it."""
    members = clusters(replicates)
    weights = np.empty(len(replicates))
    for places in members:
        weights[places] = 1 / len(members) / len(places)
    return weights


def clusters(replicates: Sequence[Replicate]) -> list[list[int]]:
    """Places of the replicates of each cluster."""
    members: dict[str | int, list[int]] = {}
    for place, replicate in enumerate(replicates):
        members.setdefault(replicate.cluster or place, []).append(place)
    return list(members.values())


def percentile_intervals(means: Array, *, confidence: float = CONFIDENCE) -> Array:
    """Quantiles of the means of resamples.

    Args:
        means: Means, `[samples, resamples]`; their order is lost.
        confidence: Probability between the two quantiles.

    Returns:
        Lower and upper bounds, `[samples, 2]`.
    """
    tail = (1 - confidence) / 2
    return np.quantile(means, [tail, 1 - tail], axis=1, overwrite_input=True).T


def sums_by_id(ids: Sequence[str], values: Array) -> Array:
    """Sums of the values that share an id: what depends on each other becomes one unit, with one sign.

    Args:
        ids: Id of each value, `[n]`.
        values: Values, `[n]`.

    Returns:
        A sum for every id, ids sorted.
    """
    _, places = np.unique(ids, return_inverse=True)
    return np.bincount(places, weights=values).astype(np.float64)


def randomisation_tests(samples: Sequence[Array], *, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Two-sided paired randomisation tests of means that are zero (Fisher 1935; for retrieval Smucker et al. 2007).

    Under the null hypothesis either sign of a difference is as likely. The p-value is the share of sign patterns whose
    absolute mean is at least the observed one. Differences of zero have no sign: where the others have no more than
    `resamples` patterns, all of these are counted; else `resamples` random ones are drawn, b of them reach the
    observed mean, and the p-value is (b + 1) / (resamples + 1) (Phipson and Smyth 2010, equation 2).

    Args:
        samples: Differences, `[n_i]` each.
        resamples: Sign patterns drawn.
        seed: Seed of the signs.

    Returns:
        p-values, `[samples]`; 1 where all differences are zero.
    """
    signed = [sample[sample != 0] for sample in samples]
    exact = [len(sample) < resamples.bit_length() for sample in signed]
    p_values = np.empty(len(samples))
    for index, sample in enumerate(signed):
        if exact[index]:
            p_values[index] = _share_of_all_patterns(sample)
    # Longest first: those that reach a block of queries are then the first columns.
    drawn = sorted((index for index in range(len(samples)) if not exact[index]), key=lambda index: -len(signed[index]))
    if drawn:
        reached = _reaching_patterns([signed[index] for index in drawn], resamples, seed)
        p_values[drawn] = (reached + 1) / (resamples + 1)
    return p_values


def holm(p_values: Array) -> Array:
    """p-values that hold for a whole family of tests, whatever their dependence (Holm 1979).

    The k-th smallest of m is multiplied by m - k + 1; none falls below a smaller one's, none exceeds 1.

    Args:
        p_values: p-values of the family, `[m]`.

    Returns:
        Adjusted p-values, `[m]`.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)))
    return adjusted


def effect_size(sample: Array) -> float | None:
    """Standardised mean difference of paired scores, d_z (Cohen 1988): mean by sample standard deviation.

    Args:
        sample: Differences, `[n]`.

    Returns:
        None where there is no deviation to divide by: fewer than two differences, or equal ones that are not zero.
    """
    if not sample.any():
        return 0.0
    deviation = float(sample.std(ddof=1)) if len(sample) > 1 else 0.0
    # Equal values leave rounding errors of the order of their size.
    return float(sample.mean()) / deviation if deviation > 1e-12 * float(np.abs(sample).max()) else None


def _resampled_means(samples: Sequence[Array], resamples: int, seed: int) -> Array:
    """Means of resamples, `[samples, resamples]`; a random number is an index into every sample, times its length."""
    rows, width = _DRAWN
    by_size: dict[int, list[int]] = {}
    for number, sample in enumerate(samples):
        by_size.setdefault(len(sample), []).append(number)
    sums = np.zeros((len(samples), resamples))
    workers = os.cpu_count() or 1

    def work(worker: int) -> None:
        # Buffers that are kept: fresh pages cost more than the draws.
        uniform, indices, values = np.empty((rows, width)), np.empty(rows * width, np.int64), np.empty(rows * width)
        for start in range(worker * rows, resamples, workers * rows):
            for first in range(0, max(by_size, default=0), width):
                np.random.Generator(np.random.SFC64([seed, start, first])).random(out=uniform)
                for size, members in by_size.items():
                    used = min(width, size - first)
                    if used <= 0:
                        continue
                    of_size = values[: rows * used].reshape(rows, used)
                    drawn = indices[: rows * used].reshape(rows, used)
                    np.multiply(uniform[:, :used], size, out=of_size)
                    np.copyto(drawn, of_size, casting="unsafe")
                    for number in members:
                        np.take(samples[number], drawn, out=of_size, mode="clip")
                        sums[number, start : start + rows] += of_size.sum(axis=1)[: resamples - start]

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    means: Array = sums / np.array([[len(sample)] for sample in samples]).reshape(-1, 1)
    return means


@lru_cache(maxsize=16)
def _drawn(members: tuple[tuple[int, ...], ...], sentences: int) -> tuple[Array, Array]:
    """What each replicate, and each sentence, weighs in each resample: `[resamples, replicates]`, `[resamples, sentences]`."""
    rng = np.random.default_rng(0)
    number, resamples = len(members), HIERARCHICAL_RESAMPLES
    times = rng.multinomial(number, np.full(number, 1 / number), size=resamples)
    weights = np.empty((resamples, sum(map(len, members))))
    for cluster, places in enumerate(members):
        size = len(places)
        drawn = rng.multinomial(times[:, cluster] * size, np.full(size, 1 / size))
        weights[:, list(places)] = drawn / size / number
    return weights, rng.multinomial(sentences, np.full(sentences, 1 / sentences), size=resamples).astype(np.float64)


def _share_of_all_patterns(sample: Array) -> float:
    patterns = (np.arange(2 ** len(sample))[:, None] >> np.arange(len(sample))) & 1
    return float(_reaches(patterns.astype(np.float64) @ sample, sample).mean())


def _reaching_patterns(samples: Sequence[Array], resamples: int, seed: int) -> NDArray[np.int64]:
    """Number of random sign patterns, of `resamples`, that reach the mean of each sample; longest sample first."""
    rows, width = _SIGNED
    rows = min(rows, resamples)
    blocks = []
    for start in range(0, len(samples[0]), width):
        parts = [sample[start : start + width] for sample in samples if len(sample) > start]
        block = np.zeros((len(parts[0]), len(parts)))
        for column, part in enumerate(parts):
            block[: len(part), column] = part
        blocks.append(block)
    weights = np.empty((rows, width))
    reached = np.zeros(len(samples), np.int64)
    for start in range(0, resamples, rows):
        positive = np.zeros((rows, len(samples)))
        for number, block in enumerate(blocks):
            words = np.random.SFC64([seed, start, number]).random_raw(rows * width // 64)
            np.copyto(weights, np.unpackbits(words.view(np.uint8)).reshape(rows, width))
            positive[:, : block.shape[1]] += weights[:, : len(block)] @ block
        positive = positive[: resamples - start]
        reached += [int(_reaches(column, sample).sum()) for column, sample in zip(positive.T, samples, strict=True)]
    return reached


def _reaches(positive: Array, sample: Array) -> NDArray[np.bool_]:
    """Whether patterns reach the observed sum, up to rounding; `positive` sums the differences whose sign is plus."""
    total = sample.sum()
    flipped: NDArray[np.bool_] = np.abs(2 * positive - total) >= abs(total) - 1e-12 * np.abs(sample).sum()
    return flipped
