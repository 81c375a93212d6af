"""The statistics of a study, against hand-computed values and scipy."""

import numpy as np
import pytest
from scipy import stats

from optical_mteb.scores.significance import Replicate
from optical_mteb.study.analysis import curve, differences, group_of, mean, orders_needed, slope


def replicate(scores, sentences=None):
    scores = np.asarray(scores, float)
    return Replicate(scores, sentences or [str(number) for number in range(len(scores))])


def test_groups_follow_the_order():
    """Guards against a language that joins one step early or late."""
    groups = [group_of(language, ["swh", "fra", "som"], 2) for language in ("swh", "fra", "som", "hau", "eng")]
    assert groups == ["trained", "trained", "later", "never", "english"]


def test_one_replicate_gives_the_interval_of_the_mean():
    """Guards against resampled replicates or queries that widen or narrow the interval."""
    scores = np.random.default_rng(1).random(400)
    found = mean([replicate(scores)])
    low, high = stats.norm.interval(0.95, scores.mean(), stats.sem(scores))
    assert found.value == pytest.approx(scores.mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=3e-3)


def test_replicates_and_sentences_are_resampled_whole():
    """Guards against replicates, or translations of one sentence, that count as independent."""
    seeds = mean([replicate([0.0] * 50), replicate([1.0] * 50)])
    assert (seeds.low, seeds.high) == (0, 1)
    shared = mean([replicate([0.0] * 50 + [1.0] * 50, ["a"] * 50 + ["b"] * 50)])
    assert (shared.low, shared.high) == (0, 1)


def test_an_order_weighs_as_much_as_another():
    """Guards against an order that counts by its seeds, and seeds that are drawn as if they were orders."""
    three, one = [Replicate(np.full(9, value), ["a"] * 9, "first") for value in (0.0, 0.1, 0.2)], replicate([0.9] * 9)
    found = mean([*three, one])
    assert found.value == pytest.approx((0.1 + 0.9) / 2)
    assert (found.low, found.high) == pytest.approx((0.03, 0.9), abs=0.035)
    alone = mean(three)
    assert (alone.low, alone.high) == (0, pytest.approx(0.2))


def test_orders_needed_for_an_interval():
    """Guards against a width that is promised from more orders, though the queries alone make it wider."""
    slopes = np.array([0.01, 0.02, 0.03, 0.04, 0.05])
    points = {2**n: [replicate(np.full(20, n * each)) for each in slopes] for n in range(4)}
    needed = orders_needed(curve(points), 0.005)
    assert needed == pytest.approx(slopes.var(ddof=1) * (2 * 1.96 / 0.005) ** 2, rel=0.15)
    steep = np.random.default_rng(3).normal(0, 0.5, 20)
    assert (
        orders_needed(curve({2**n: [replicate(n * (steep + each)) for each in slopes] for n in range(4)}), 0.005)
        is None
    )
    assert orders_needed(curve({2**n: [replicate(n * steep)] for n in range(4)}), 0.005) is None


def test_a_sentence_weighs_as_much_as_its_queries():
    """Guards against a mean over sentences in the place of one over queries, in the value or in its interval."""
    found = mean(
        [replicate([1.0] * 300 + [0.0] * 100, [str(n % 100) for n in range(300)] + [f"s{n}" for n in range(100)])]
    )
    assert found.value == 0.75
    assert found.low < 0.75 < found.high
    assert (found.low + found.high) / 2 == pytest.approx(0.75, abs=0.01)


def test_slope_is_per_doubling():
    """Guards against a slope against pairs, or against another logarithm."""
    points = {n: [replicate(np.full(3, y))] * 2 for n, y in ((1, 0.1), (2, 0.3), (4, 0.2), (7, 0.5))}
    expected = stats.linregress(np.log2([1, 2, 4, 7]), [0.1, 0.3, 0.2, 0.5]).slope
    found = slope(curve(points))
    assert (found.value, found.low, found.high) == pytest.approx((expected,) * 3)


def test_slope_shares_its_draws():
    """Guards against numbers of pairs that are resampled each by itself: what a sentence adds to all of them cancels."""
    hard = np.random.default_rng(2).random(50)
    found = slope(curve({1: [replicate(hard)], 2: [replicate(hard + 0.1)]}))
    assert (found.value, found.low, found.high) == pytest.approx((0.1,) * 3)


def test_a_group_that_grows_has_a_slope():
    """Guards against numbers of pairs that must have the same queries: who is trained on changes with them."""
    found = slope(curve({1: [replicate([0.1, 0.3])], 2: [replicate([0.1, 0.3, 0.5, 0.7], ["0", "1", "0", "1"])]}))
    assert found.value == pytest.approx(0.2)


def test_a_difference_is_after_less_before_and_corrected():
    """Guards against a swapped sign, an uncorrected p, and translations of one sentence that are tested apart."""
    ids = ["a", "a", "b", "c", "d", "e"]
    before, after = [replicate([0.5] * 6, ids)] * 2, [replicate([0.4] * 6, ids)] * 2
    hurt, nothing = differences([(before, after), (before, before)])
    assert hurt.estimate.value == pytest.approx(-0.1)
    assert hurt.p == pytest.approx(2 * 2 / 2**5)
    assert nothing.p == 1


def test_other_queries_are_no_pair():
    """Guards against scores of different queries that are subtracted."""
    with pytest.raises(ValueError, match="different queries"):
        differences([([replicate([1.0], ["a"])], [replicate([1.0], ["b"])])])
