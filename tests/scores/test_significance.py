"""Intervals, tests and corrections against scipy, enumeration and figures worked out by hand."""

import itertools
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from optical_mteb.scores.significance import bootstrap_intervals, effect_size, holm, randomisation_tests

RESAMPLES = 10_000


def differences(size, shift=0.0, seed=0):
    """Differences as two models have them: many zeros, few values."""
    generator = np.random.default_rng(seed)
    levels = np.array([0.0, 1.0, *(1 / np.log2(np.arange(3, 12)))])
    return generator.choice(levels, size) - generator.choice(levels, size) + shift


def scipy_p_value(sample, resamples):
    """The paired permutation test of the mean difference that scipy has."""
    return stats.permutation_test(
        (sample, np.zeros_like(sample)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(1),
    ).pvalue


@pytest.mark.parametrize("seed", range(5))
def test_a_short_sample_is_tested_exactly(seed):
    """Guards against an approximation, or a tie counted as no tie, where all sign patterns can be counted."""
    sample = np.round(differences(11, 0.2, seed), 1)
    assert randomisation_tests([sample])[0] == pytest.approx(scipy_p_value(sample, np.inf), abs=1e-12)


def test_zeros_change_no_exact_test():
    """Guards against random sampling where a long sample has few differences that are not zero."""
    sample = np.zeros(500)
    sample[[3, 70, 200, 411]] = [0.5, 0.2, -0.1, 0.4]
    patterns = [abs(np.dot(signs, [0.5, 0.2, 0.1, 0.4])) for signs in itertools.product((-1, 1), repeat=4)]
    assert randomisation_tests([sample])[0] == sum(value >= 1.0 - 1e-9 for value in patterns) / 16


@pytest.mark.long
def test_long_samples_of_any_length_against_scipy():
    """Guards against columns of one sample that get into another's, and queries beyond the first block."""
    samples = [differences(size, shift, size) for size, shift in [(60, 0.05), (1024, -0.02), (2500, 0.01), (1025, 0)]]
    found = randomisation_tests(samples, resamples=RESAMPLES)
    for sample, p_value in zip(samples, found, strict=True):
        expected = scipy_p_value(sample, 4000)
        assert p_value == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 2500) + 1e-3)


def test_no_sampled_p_value_is_zero():
    """Guards against p-values of b / m: the smallest p-value of m random patterns is 1 / (m + 1)."""
    assert randomisation_tests([np.full(40, 0.5)], resamples=999)[0] == 1 / 1000


def test_the_null_hypothesis_is_rejected_as_often_as_promised():
    """Guards against a test that is biased, as two seeds of one recipe would show: 5% of p-values below 0.05, uniform."""
    samples = [differences(50, seed=seed) for seed in range(600)]
    p_values = randomisation_tests(samples, resamples=999)
    assert 0.025 < (p_values < 0.05).mean() < 0.075
    assert 0.44 < (p_values < 0.5).mean() < 0.56
    intervals = bootstrap_intervals(samples, resamples=999)
    assert 0.91 < ((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0)).mean() < 0.97


def test_intervals_of_any_length_against_scipy():
    """Guards against another quantile, another estimator, and draws that miss a part of a sample."""
    samples = [differences(size, 0.1, size) for size in (30, 200, 2000, 200)]
    found = bootstrap_intervals(samples, resamples=RESAMPLES)
    for sample, interval in zip(samples, found, strict=True):
        expected = stats.bootstrap(
            (sample,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(1)
        )
        error = sample.std() / np.sqrt(len(sample))
        assert interval == pytest.approx([*expected.confidence_interval], abs=0.15 * error)


@pytest.mark.long
def test_every_resample_is_as_likely():
    """Guards against an index that is drawn too often: all 27 resamples of three values, counted."""
    sample = np.array([0.0, 0.1, 1.0])
    means = sorted(np.mean(drawn) for drawn in itertools.product(sample, repeat=3))
    for confidence in (0.5, 0.8, 0.95):
        tail = (1 - confidence) / 2
        [found] = bootstrap_intervals([sample], resamples=100_000, confidence=confidence)
        expected = [means[int(np.floor(27 * share))] for share in (tail, 1 - tail)]
        assert found == pytest.approx(expected, abs=1e-9)


def test_company_changes_nothing():
    """Guards against a p-value or an interval that depends on what else is compared."""
    samples = [differences(size, 0.02, size) for size in (300, 1500, 300, 12)]
    assert randomisation_tests(samples)[0] == randomisation_tests(samples[:1])[0]
    assert (bootstrap_intervals(samples)[2] == bootstrap_intervals(samples[2:3])[0]).all()


def test_a_seed_decides():
    """Guards against figures that change from run to run, and a seed that does nothing."""
    sample = [differences(200, 0.03)]
    assert (bootstrap_intervals(sample) == bootstrap_intervals(sample)).all()
    assert (bootstrap_intervals(sample) != bootstrap_intervals(sample, seed=1)).all()
    assert randomisation_tests(sample)[0] == randomisation_tests(sample)[0] != randomisation_tests(sample, seed=1)[0]


def test_an_empty_sample_is_refused():
    """Guards against a division by zero."""
    with pytest.raises(ValueError, match="no interval"):
        bootstrap_intervals([np.zeros(0)])


def test_memory_is_bounded():
    """Guards against a matrix of resamples by queries, 320 MB here."""
    sample = [differences(20_000)]
    tracemalloc.start()
    bootstrap_intervals(sample, resamples=2000)
    randomisation_tests(sample, resamples=2000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_holm_by_hand():
    """Guards against Bonferroni, and adjusted values that are not monotone."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.5])) == pytest.approx([1, 1])
    assert holm(np.array([])).tolist() == []


def test_effect_size_by_hand():
    """Guards against the deviation of a population, and a division by rounding errors."""
    assert effect_size(np.array([0.1, 0.3])) == pytest.approx(0.2 / (0.1 * np.sqrt(2)))
    assert effect_size(np.array([0.1] * 3)) is None
    assert effect_size(np.array([0.1])) is None
