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


HARD = np.random.default_rng(2).random(50)
HEIGHTS = {1: 0.1, 2: 0.3, 4: 0.2, 7: 0.5}


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (
            {number: [replicate([height] * 3)] * 2 for number, height in HEIGHTS.items()},
            stats.linregress(np.log2(list(HEIGHTS)), list(HEIGHTS.values())).slope,
        ),
        # What a sentence adds to all numbers of pairs cancels.
        ({1: [replicate(HARD)], 2: [replicate(HARD + 0.1)]}, 0.1),
    ],
)
def test_slope_is_per_doubling_and_shares_its_draws(points, expected):
    """Guards against a slope against pairs or another logarithm, and numbers of pairs that are resampled each by itself."""
    found = slope(curve(points))
    assert (found.value, found.low, found.high) == pytest.approx((expected,) * 3)


def test_a_difference_is_after_less_before_and_corrected():
    """Guards against a swapped sign, an uncorrected p, translations of one sentence tested apart, and other queries."""
    ids = ["a", "a", "b", "c", "d", "e"]
    before, after = [replicate([0.5] * 6, ids)] * 2, [replicate([0.4] * 6, ids)] * 2
    hurt, nothing = differences([(before, after), (before, before)])
    assert hurt.estimate.value == pytest.approx(-0.1)
    assert hurt.p == pytest.approx(2 * 2 / 2**5)
    assert nothing.p == 1
    with pytest.raises(ValueError, match="different queries"):
        differences([(before, [replicate([0.4] * 6, [*ids[:-1], "f"])] * 2)])
