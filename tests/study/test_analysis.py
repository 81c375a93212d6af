"""The statistics of a study, against hand-computed values and scipy."""

import numpy as np
import pytest
from scipy import stats

from optical_mteb.study.analysis import group_of, interference, mean, slope


def test_groups_follow_the_order():
    """Pins a language that joins one step early or late."""
    groups = [group_of(language, ["swh", "fra", "som"], 2) for language in ("swh", "fra", "som", "hau", "eng")]
    assert groups == ["trained", "trained", "later", "never", "english"]


def test_one_seed_gives_the_interval_of_the_mean():
    """Pins resampled seeds or queries that widen or narrow the interval."""
    scores = np.random.default_rng(1).random((1, 400))
    found = mean(scores, [str(n) for n in range(400)], resamples=5000)
    low, high = stats.norm.interval(0.95, scores.mean(), stats.sem(scores[0]))
    assert found.value == pytest.approx(scores.mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=3e-3)


def test_seeds_and_sentences_are_resampled_whole():
    """Pins seeds, or translations of one sentence, that count as independent."""
    seeds = mean(np.array([[0.0] * 50, [1.0] * 50]), [str(n) for n in range(50)])
    assert (seeds.low, seeds.high) == (0, 1)
    shared = mean(np.array([[0.0] * 50 + [1.0] * 50]), ["a"] * 50 + ["b"] * 50)
    assert (shared.low, shared.high) == (0, 1)


def test_slope_is_per_doubling():
    """Pins a slope against pairs, or against another logarithm."""
    scores = {pairs: np.full((2, 3), y) for pairs, y in ((1, 0.1), (2, 0.3), (4, 0.2), (7, 0.5))}
    expected = stats.linregress(np.log2([1, 2, 4, 7]), [0.1, 0.3, 0.2, 0.5]).slope
    found = slope(scores, ["a", "b", "c"])
    assert (found.value, found.low, found.high) == pytest.approx((expected,) * 3)


def test_interference_is_after_less_before_and_corrected():
    """Pins a swapped sign, an uncorrected p, and translations of one sentence that are tested apart."""
    before, after = np.full((2, 6), 0.5), np.full((2, 6), 0.4)
    ids = ["a", "a", "b", "c", "d", "e"]
    hurt, nothing = interference([(before, after), (before, before)], [ids, ids])
    assert hurt.difference.value == pytest.approx(-0.1)
    assert hurt.p == pytest.approx(2 * 2 / 2**5)
    assert nothing.p == 1
