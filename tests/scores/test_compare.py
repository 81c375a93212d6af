"""Comparisons of models: rows against plain loops, planted differences, and what must not be compared."""

import itertools
from statistics import fmean

import numpy as np
import pytest

from optical_mteb.errors import InputError
from optical_mteb.scores.compare import compare_models, regressions
from optical_mteb.scores.results import find_results
from tests.scores.conftest import INSTALLED_DATA, draw

METRICS = ["ndcg_at_10", "map_at_100"]
SUBSETS = ["fra-eng", "mar-eng", "som-eng", "spa-eng", "swh-eng", "yor-eng"]


def compare(cache, *names, **options):
    baseline, *models = (find_results(name, cache) for name in names)
    return compare_models(baseline, models, **{"metrics": METRICS, **options})


@pytest.fixture
def compared(write, cache):
    """Compares two models whose scores, by subset and query, it writes."""

    def compare_two(base, student, *, keep=True, **options):
        write("a/base", base, keep=keep)
        write("b/student", student, keep=keep)
        [comparison] = compare(cache, "a/base", "b/student", **options)
        return comparison

    return compare_two


def rows_of(comparison, metric="ndcg_at_10"):
    return {row.name: row for row in comparison.rows if row.metric == metric}


def lower(scores, subset, amount, share=0.3, seed=1):
    """The same scores, those of some queries of a subset lower."""
    generator = np.random.default_rng(seed)
    changed = {q: max(0, s - amount * (generator.random() < share)) for q, s in scores[subset].items()}
    return {**scores, subset: changed}


def test_means_differences_and_groups(compared):
    """Guards against rows of one subset beside those of another, and means over the wrong ones."""
    comparison = compared(
        {"som-eng": {"q": 0.5}, "swh-eng": {"q": 0.6}, "fra-eng": {"q": 0.9}},
        {"fra-eng": {"q": 0.8}, "som-eng": {"q": 0.7}, "swh-eng": {"q": 0.7}},
        groups={"low-resource": ["som-eng", "swh-eng", "mar-eng"]},
    )
    found = {name: (row.baseline, row.model, row.difference) for name, row in rows_of(comparison).items()}
    assert list(found) == ["fra-eng", "som-eng", "swh-eng", "low-resource", "all"]
    assert found["som-eng"] == pytest.approx((0.5, 0.7, 0.2))
    assert found["fra-eng"] == pytest.approx((0.9, 0.8, -0.1))
    assert found["low-resource"] == pytest.approx((0.55, 0.7, 0.15))
    assert found["all"] == pytest.approx((2 / 3, 2.2 / 3, 0.2 / 3))


def test_a_planted_regression_is_caught_by_name(compared):
    """Guards against a guard that misses languages that got worse, or names others."""
    base = draw(SUBSETS)
    noise = np.random.default_rng(5)
    student = {s: {q: min(1, max(0, v + noise.normal(0, 0.02))) for q, v in of.items()} for s, of in base.items()}
    comparison = compared(base, lower(lower(student, "som-eng", 0.4), "mar-eng", 0.4, seed=2))
    worse = regressions(comparison, 0.5, "ndcg_at_10")
    assert {row.name for row in worse if not row.is_group} == {"som-eng", "mar-eng"}
    significant = {row.name for row in comparison.rows if not row.is_group and row.significance.adjusted < 0.05}
    assert significant == {"som-eng", "mar-eng"}
    by_points = -100 * rows_of(comparison)["som-eng"].difference
    assert "som-eng" not in {row.name for row in regressions(comparison, by_points + 0.1, "ndcg_at_10")}


def test_a_difference_within_chance_is_no_regression(compared):
    """Guards against a guard that fails on a lower mean alone, and one that stays silent where only means are known."""
    base = {"som-eng": {f"q{number}": number % 2 for number in range(40)}}
    student = {"som-eng": {f"q{number}": (number // 2) % 2 if number < 39 else 0 for number in range(40)}}
    for keep, expected in ((True, []), (False, ["som-eng"])):
        comparison = compared(base, student, keep=keep)
        assert comparison.rows[0].difference < -0.01
        assert [row.name for row in regressions(comparison, 0.5, "ndcg_at_10")] == expected


def test_identical_results_are_ties(compared):
    """Guards against NaN, and wins of rounding."""
    comparison = compared(draw(SUBSETS), draw(SUBSETS))
    assert len(comparison.rows) == 2 * (len(SUBSETS) + 2)
    for row in comparison.rows:
        found = row.significance
        assert (row.difference, found.low, found.high, found.p_value, found.effect_size) == (0, 0, 0, 1, 0)
        assert (found.wins, found.ties, found.losses) == (0, found.queries, 0)
        assert found.adjusted == (None if row.is_group else 1)
    assert regressions(comparison, 0, "ndcg_at_10") == []


def test_the_family_is_all_subsets_of_all_tasks(write, cache):
    """Guards against a correction by task, with groups or other scores in the family, or of all models together."""
    subsets = SUBSETS[:2]
    for task in ("CLDRNameRetrieval", "NTREXRetrieval"):
        write("a/base", draw(subsets, seed=1), task=task)
        write("b/student", lower(draw(subsets, seed=1), "fra-eng", 0.5), task=task)
        write("c/other", draw(subsets, seed=3), task=task)
    for comparison in compare(cache, "a/base", "b/student", "c/other"):
        rows = [row for row in comparison.rows if row.metric == "ndcg_at_10" and not row.is_group]
        assert [(row.task, row.name) for row in rows] == [
            (task, subset) for task in ("CLDRNameRetrieval", "NTREXRetrieval") for subset in subsets
        ]
        smallest = min(row.significance.p_value for row in rows)
        assert min(row.significance.adjusted for row in rows) == pytest.approx(min(1, 4 * smallest))


def test_wins_ties_losses_and_effect_size(compared):
    """Guards against counts of the wrong side, and an effect size that is not that of pairs."""
    base, student = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}, {"a": 0.1, "b": 0.5, "c": 0.2, "d": 0.9}
    [row] = compared({"som-eng": base}, {"som-eng": student}, metrics=["map_at_100"]).rows
    found = row.significance
    assert (found.queries, found.wins, found.ties, found.losses) == (4, 2, 1, 1)
    assert found.effect_size == pytest.approx(fmean([0, 0.3, -0.1, 0.5]) / np.std([0, 0.3, -0.1, 0.5], ddof=1))
    signs = [abs(a * 0.3 - b * 0.1 + c * 0.5) for a, b, c in itertools.product((-1, 1), repeat=3)]
    assert found.p_value == sum(value >= 0.7 - 1e-9 for value in signs) / 8


def test_a_group_of_subsets_with_queries_of_their_own(compared):
    """Guards against weights by number of queries, and resamples that change the subsets' weights; the oracle is a stratified bootstrap by loop."""
    base = {**draw(["som-eng"], 30, 1), **draw(["swh-eng"], 90, 2)}
    student = lower({**draw(["som-eng"], 30, 1), **draw(["swh-eng"], 90, 2)}, "som-eng", 0.5, share=0.6)
    row = rows_of(compared(base, student))["all"]
    samples = [np.array([student[s][q] - base[s][q] for q in base[s]]) for s in base]
    generator = np.random.default_rng(0)
    resampled = [fmean(generator.choice(each, len(each)).mean() for each in samples) for _ in range(4000)]
    flipped = [
        abs(fmean((each * generator.choice([-1, 1], len(each))).mean() for each in samples)) for _ in range(4000)
    ]
    expected = np.quantile(resampled, [0.025, 0.975])
    assert [row.significance.low, row.significance.high] == pytest.approx(expected, abs=0.2 * np.std(resampled))
    assert row.significance.p_value == pytest.approx(np.mean(np.array(flipped) >= abs(row.difference)), abs=0.03)
    assert row.significance.queries == 120


def test_a_group_of_subsets_that_ask_the_same_queries(compared):
    """Guards against subsets taken for independent; the oracle is a bootstrap of queries, each with all its languages, by loop."""
    generator = np.random.default_rng(3)
    ids = [f"q{number}" for number in range(50)]
    gains = generator.choice([0, 0, 0.2, -0.2, 0.1], 50)
    base = {s: dict(zip(ids, generator.uniform(0.3, 0.7, 50).round(6), strict=True)) for s in SUBSETS}
    student = {s: {q: v + gain for (q, v), gain in zip(of.items(), gains, strict=True)} for s, of in base.items()}
    comparison = compared(base, student, groups={})
    found = rows_of(comparison)["all"].significance
    resampled = [generator.choice(gains, 50).mean() for _ in range(4000)]
    expected = np.quantile(resampled, [0.025, 0.975])
    assert [found.low, found.high] == pytest.approx(expected, abs=0.2 * np.std(resampled))
    flipped = [abs((gains * generator.choice([-1, 1], 50)).mean()) for _ in range(4000)]
    assert found.p_value == pytest.approx(np.mean(np.array(flipped) >= abs(gains.mean()) - 1e-9), abs=0.03)
    assert found.p_value == pytest.approx(rows_of(comparison)["som-eng"].significance.p_value, abs=0.02)


def test_different_subsets_are_refused_or_left_out(compared):
    """Guards against means over languages that only one model was scored on."""
    sides = draw(SUBSETS[:3]), draw(SUBSETS[:2])
    with pytest.raises(InputError, match=r"CLDRNameRetrieval: only one side has scores of som-eng; .*--intersect"):
        compared(*sides)
    comparison = compared(*sides, intersect=True)
    assert set(rows_of(comparison)) == {*SUBSETS[:2], "low-resource", "all"}
    assert any("left out, as only one side has scores of it: som-eng" in note for note in comparison.notes)


def test_queries_in_common_make_the_means(compared):
    """Guards against means over all queries beside a test of some."""
    sides = {"som-eng": {"a": 0.5, "b": 1.0, "c": 0.0}}, {"som-eng": {"a": 0.5, "b": 0.7, "d": 1.0}}
    with pytest.raises(InputError, match="--intersect"):
        compared(*sides)
    comparison = compared(*sides, intersect=True)
    row = rows_of(comparison)["som-eng"]
    assert (row.baseline, row.model) == pytest.approx((0.75, 0.6))
    assert "som-eng: ndcg_at_10 of the 2 queries that both sides have, of 3 and 3" in comparison.notes[0]


def test_other_data_are_refused_or_flagged(write, cache):
    """Guards against a comparison across revisions of a task's data."""
    write("a/base", draw(SUBSETS), data="CLDR-46")
    write("b/student", draw(SUBSETS))
    write("c/other", draw(SUBSETS), data="CLDR-46")
    with pytest.raises(InputError, match=rf"a__base.* is of data revision CLDR-46, .*b__student.* of {INSTALLED_DATA}"):
        compare(cache, "a/base", "b/student")
    [comparison] = compare(cache, "a/base", "c/other")
    installed = f"both results are of data revision CLDR-46; the installed task has {INSTALLED_DATA}"
    assert f"CLDRNameRetrieval: {installed}" in comparison.notes


def test_an_approximate_index_is_flagged(write, cache):
    """Guards against the loss of an index that is taken for the model's."""
    write("a/base", draw(SUBSETS))
    write("b/student", draw(SUBSETS), experiment={"index": "hnsw"})
    [comparison] = compare(cache, "a/base", "b/student")
    [note] = comparison.notes
    assert note.startswith("settings differ: none for ")
    assert "index = hnsw for " in note


def test_without_scores_by_query_one_line_says_so(write, cache):
    """Guards against a test of means alone, and a line for each row."""
    write("a/base", draw(SUBSETS), keep=False)
    folder = write("b/student", draw(SUBSETS))
    [comparison] = compare(cache, "a/base", "b/student")
    assert all(row.significance is None for row in comparison.rows)
    [note] = comparison.notes
    assert "a__base" in note
    assert str(folder) not in note
    assert "--overwrite-strategy always" in note


def test_tasks_are_those_in_common(write, cache):
    """Guards against tasks of one side, or of other scores, that stop a comparison or vanish without a word."""
    for model in ("a/base", "b/student"):
        write(model, draw(SUBSETS[:1]))
    write("a/base", draw(SUBSETS[:1]), task="NTREXRetrieval")

    def rename(content):
        content["scores"]["test"] = [
            {"hf_subset": "default", "languages": ["eng-Latn"], "main_score": 0.5, "accuracy": 0.5}
        ]

    for model in ("a/base", "b/student"):
        write(model, draw(SUBSETS[:1]), task="Banking77Classification", edit=rename)
    [comparison] = compare(cache, "a/base", "b/student")
    assert {row.task for row in comparison.rows} == {"CLDRNameRetrieval"}
    assert comparison.notes == [
        "left out, as one side has no ndcg_at_10, map_at_100 on the split test: Banking77Classification, NTREXRetrieval"
    ]
    with pytest.raises(InputError, match="no results on NTREXRetrieval"):
        compare(cache, "a/base", "b/student", tasks=["NTREXRetrieval"])
    with pytest.raises(InputError, match="no score 'ndcg_at_10' of default"):
        compare(cache, "a/base", "b/student", tasks=["Banking77Classification"])
    with pytest.raises(InputError, match="have no task in common with ndcg_at_10, map_at_100 on the split dev"):
        compare(cache, "a/base", "b/student", split="dev")
