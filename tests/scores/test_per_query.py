"""Reading a result, and what is wrong with one."""

import math

import pytest

from optical_mteb.errors import InputError
from optical_mteb.scores.per_query import MissingScoreError, pair, read_scores
from optical_mteb.scores.results import find_results
from tests.scores.conftest import INSTALLED_DATA

METRICS = ["ndcg_at_10", "map_at_100"]
SCORES = {"swh-eng": {"x": 0.25, "y": 0.75}, "som-eng": {"b": 1.0, "a": 0.5, "c": 0.0}}


def read(cache, model="a/base", metrics=METRICS):
    return read_scores(find_results(model, cache), "CLDRNameRetrieval", metrics)


def test_scores_are_those_of_the_file(write, cache):
    """Guards against subsets or queries that are mixed up."""
    write("a/base", SCORES)
    scores = read(cache)
    assert list(scores.values) == ["som-eng", "swh-eng"]
    assert scores.values["som-eng"] == {"ndcg_at_10": 0.5, "map_at_100": 0.5}
    assert scores.per_query["som-eng"]["map_at_100"] == {"a": 0.5, "b": 1.0, "c": 0.0}
    assert scores.data_revision == INSTALLED_DATA


SOMALI, SWAHILI = ("scores", "test", 1), ("scores", "test", 0)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((*SWAHILI, "ndcg_at_10"), 0.55, r"swh-eng: ndcg_at_10 is 0\.55000, but the mean of its 2 queries is 0\.50000"),
        ((*SWAHILI, "main_score"), 0.8, r"swh-eng: main_score is 0\.8, but no other score of it is; one of them was"),
        ((*SWAHILI, "ndcg_at_10"), 50.0, r"swh-eng: ndcg_at_10 is 50\.0, expected a fraction of 1"),
        ((*SWAHILI, "per_query", "map_at_100", "x"), 0.3, r"map_at_100 is 0\.50000, but the mean .* is 0\.52500"),
        ((*SWAHILI, "per_query", "ndcg_at_10", "x"), math.nan, r"ndcg_at_10 of query x is NaN, expected a number"),
        ((*SOMALI, "map_at_100"), None, r"subset som-eng: map_at_100 is None, expected a number"),
        ((*SWAHILI, "per_query", "ndcg_at_10"), {}, r"subset swh-eng: ndcg_at_10: no scores by query"),
        ((*SWAHILI, "per_query"), [0.5], r"subset swh-eng: per_query is not a mapping"),
        ((*SWAHILI, "hf_subset"), "som-eng", r"subset som-eng is there twice"),
        (("task_name",), "NTREXRetrieval", r"results on NTREXRetrieval, expected CLDRNameRetrieval"),
        (("scores", "test"), 3, r"not a result of MTEB"),
        (("dataset_revision",), None, r"not a result of MTEB"),
    ],
)
def test_a_damaged_or_edited_result_is_refused(write, cache, place, value, message):
    """Guards against figures from a file that nobody should believe; the line names the file."""

    def edit(content):
        for key in place[:-1]:
            content = content[key]
        content[place[-1]] = value

    folder = write("a/base", SCORES, edit=edit)
    with pytest.raises(InputError, match=message) as caught:
        read(cache)
    assert str(folder / "CLDRNameRetrieval.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rounding_is_no_edit(write, cache):
    """Guards against a refusal of means that MTEB rounded to five digits, and of queries that it rounded to six."""
    scores = {f"q{number}": 1 / math.log2(2 + number % 9) for number in range(777)}
    write("a/base", {"som-eng": scores})
    assert len(read(cache).per_query["som-eng"]["ndcg_at_10"]) == 777


def test_scores_that_are_not_there_are_named(write, cache):
    """Guards against a KeyError for scores and splits."""
    write("a/base", SCORES)
    with pytest.raises(MissingScoreError, match="no score 'ndcg_at_7' of som-eng; expected one such as ndcg_at_10"):
        read(cache, metrics=["ndcg_at_7"])
    with pytest.raises(MissingScoreError, match="no split 'dev'; choose one by --split: test"):
        read_scores(find_results("a/base", cache), "CLDRNameRetrieval", METRICS, split="dev")
    with pytest.raises(InputError, match="no results on NTREXRetrieval; there are CLDRNameRetrieval"):
        read_scores(find_results("a/base", cache), "NTREXRetrieval", METRICS)


def test_queries_stand_side_by_side(write, cache):
    """Guards against a pairing by position."""
    write("a/base", SCORES)
    write("b/student", {"swh-eng": {"y": 0.75, "x": 1.0}, "som-eng": {"c": 0.5, "a": 0.5, "b": 0.9999995}})
    paired = pair(read(cache), read(cache, "b/student"), "som-eng", "ndcg_at_10")
    assert paired.queries == ["a", "b", "c"]
    assert paired.differences.tolist() == [0, 0, 0.5]
    assert pair(read(cache), read(cache, "b/student"), "swh-eng", "ndcg_at_10").differences.tolist() == [0.75, 0]


def test_queries_of_one_side_are_refused(write, cache):
    """Guards against means over different queries; the line says which side lacks which."""
    write("a/base", {"som-eng": {"a": 0.5, "b": 1.0, "c": 0.0}})
    write("b/student", {"som-eng": {"a": 0.5, "b": 1.0}})
    write("c/other", {"som-eng": {"z": 0.5}})
    base, student, other = (read(cache, model) for model in ("a/base", "b/student", "c/other"))
    for sides in ((base, student), (student, base)):
        with pytest.raises(InputError, match=r"b__student.*1 queries of the other side have no score here \(c\)"):
            pair(*sides, "som-eng", "ndcg_at_10")
    assert pair(base, student, "som-eng", "ndcg_at_10", intersect=True).queries == ["a", "b"]
    with pytest.raises(InputError, match="no query in common"):
        pair(base, other, "som-eng", "ndcg_at_10", intersect=True)
