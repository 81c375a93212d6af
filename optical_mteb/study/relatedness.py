"""Whether a language gains more from a related one: the effect within numbers of pairs, and a permutation test of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import permutation_test

from optical_mteb.scores.significance import HIERARCHICAL_RESAMPLES, RESAMPLES, Array
from optical_mteb.study.analysis import Estimate, estimate


@dataclass(frozen=True)
class Relatedness:
    """What a related language adds.

    Attributes:
        estimate: Effect; the interval is a bootstrap over languages.
        p: Of the permutation test.
        comparisons: Languages and trainings that it is from.
    """

    estimate: Estimate
    p: float
    comparisons: int


def relatedness(gains: Sequence[Array], related: Sequence[NDArray[np.bool_]]) -> Relatedness | None:
    """What it adds to a language's gain that a training has a related language.

    The effect is the least-squares coefficient of `related` beside a mean for every language and one for every training
    (fixed effects of a two-way layout, by residuals: Frisch and Waugh 1933), each number of pairs with its own: a
    language that gains much, and a training that all languages gain from, count for nothing. The test exchanges which
    orders' languages are held against which orders' gains, whole trainings within a number of pairs, since the languages
    of a training are not independent; p is two-sided (`scipy.stats.permutation_test`, Phipson and Smyth 2010). The
    interval draws languages with replacement.

    Args:
        gains: For each number of pairs the gain on zero-shot, `[languages, orders]`; NaN for a language trained on.
        related: Whether the training has another language that is related, likewise.

    Returns:
        None where no number of pairs has trainings that differ in it.
    """
    layers = [_Layer(*layer) for layer in zip(gains, related, strict=True)]
    layers = [layer for layer in layers if layer.informative]
    orders = {layer.orders for layer in layers}
    if not layers or len(orders) != 1 or orders == {1}:
        return None
    number = orders.pop()

    def effect(*orders: NDArray[np.int64], axis: int) -> Array:
        """Of each row of assignments, one array a number of pairs."""
        sums = sum(layer.parts(np.moveaxis(order, axis, -1)) for layer, order in zip(layers, orders, strict=True))
        return _ratio(np.asarray(sums))

    drawn = permutation_test(
        [np.arange(number)] * len(layers),
        effect,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    parts = np.sum([layer.by_language() for layer in layers], axis=0)
    used = parts[parts[:, 1] > 0]
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(used), np.full(len(used), 1 / len(used)), size=HIERARCHICAL_RESAMPLES)
    comparisons = sum(int(np.isfinite(layer.gains).sum()) for layer in layers)
    return Relatedness(estimate(float(drawn.statistic), _ratio(weights @ used)), float(drawn.pvalue), comparisons)


def _ratio(parts: Array) -> Array:
    """Numerators by denominators, `[..., 2]` to `[...]`; 0 where nothing varies."""
    found: Array = parts[..., 0] / np.maximum(parts[..., 1], 1e-12)
    return found


class _Layer:
    """A number of pairs: gains and relations of the languages that were not trained on, and what means explain of them."""

    def __init__(self, gains: Array, related: NDArray[np.bool_]) -> None:
        self.gains, self.related = gains, related.astype(np.float64)
        self.orders = gains.shape[1]
        self._there = np.isfinite(gains)
        language, order = np.nonzero(self._there)
        dummies = np.zeros((len(language), len(gains) + self.orders))
        dummies[np.arange(len(language)), language] = 1
        dummies[np.arange(len(language)), len(gains) + order] = 1
        values, vectors = np.linalg.eigh(dummies.T @ dummies)
        kept = values > 1e-9 * max(1.0, values.max(initial=0.0))
        self._means = dummies @ vectors[:, kept] / np.sqrt(values[kept])
        self._language = language
        self._left = self._residual(gains[self._there])

    @property
    def informative(self) -> bool:
        """Whether trainings differ in their relation to a language, beyond what means explain."""
        left = self._residual(self.related[self._there])
        return bool(left @ left > 1e-9)

    def parts(self, orders: NDArray[np.int64]) -> Array:
        """Numerator and denominator of the effect, `[..., 2]`, where the gains of orders meet the languages of `orders`."""
        different, places = np.unique(orders.reshape(-1, self.orders), axis=0, return_inverse=True)
        left = [self._residual(self.related[:, order][self._there]) for order in different]
        found = np.array([(each @ self._left, each @ each) for each in left])
        return found[places.reshape(-1)].reshape(*orders.shape[:-1], 2)

    def by_language(self) -> Array:
        """What each language has of numerator and denominator, `[languages, 2]`."""
        left = self._residual(self.related[self._there])
        parts = (left * self._left, left * left)
        return np.column_stack([np.bincount(self._language, part, minlength=len(self.gains)) for part in parts])

    def _residual(self, values: Array) -> Array:
        left: Array = values - self._means @ (self._means.T @ values)
        return left
