"""Scores by query from predictions, against those that MTEB itself computed in the same run."""

import pytest

from optical_mteb.errors import InputError
from optical_mteb.scores.per_query import read_scores
from optical_mteb.scores.predictions import with_predictions
from optical_mteb.scores.results import find_results
from optical_mteb.tasks import CLDRNameRetrieval
from tests.scores.conftest import change, evaluate_tiny, forget

TASK = "CLDRNameRetrieval"
METRICS = ["ndcg_at_10", "map_at_100"]


def read(folder):
    return read_scores(find_results("a/tiny", folder / "results", [TASK]), TASK, METRICS)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, tiny_base):
    """A folder with predictions and results without scores by query, and the scores that these had."""
    folder = tmp_path_factory.mktemp("evaluated")
    evaluate_tiny(folder, tiny_base)
    expected = read(folder)
    change(expected.path, forget)
    return folder, expected


@pytest.mark.long
@pytest.mark.parametrize("changed", [False, True])
def test_they_are_those_of_mteb(evaluated, tiny_base, tmp_path, monkeypatch, changed):
    """Guards against other measures, judgements of another subset, and runs that MTEB changes before it scores them."""
    if changed:
        monkeypatch.setattr(CLDRNameRetrieval, "ignore_identical_ids", True)
        monkeypatch.setattr(CLDRNameRetrieval, "skip_first_result", True)
        evaluate_tiny(tmp_path, tiny_base)
        folder, expected = tmp_path, read(tmp_path)
        assert expected.values != evaluated[1].values
        change(expected.path, forget)
    else:
        folder, expected = evaluated
    stripped = read(folder)
    assert stripped.per_query == {"por-eng": {}, "zul-eng": {}}
    [found] = with_predictions([stripped], [folder / "predictions"])
    assert found.values == expected.values
    for subset, by_metric in expected.per_query.items():
        for metric, by_query in by_metric.items():
            assert found.per_query[subset][metric] == pytest.approx(by_query, abs=6e-7)


def test_nothing_is_loaded_without_need(evaluated, monkeypatch):
    """Guards against a task whose data are read although all scores are there, or nothing was predicted."""
    folder, expected = evaluated

    def load_data(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr(CLDRNameRetrieval, "load_data", load_data)
    assert with_predictions([expected], [folder / "predictions"]) == [expected]
    assert with_predictions([read(folder)], [folder / "results"]) == [read(folder)]
    assert with_predictions([read(folder)], []) == [read(folder)]


def change_scores(content):
    for documents in content["zul-eng"]["test"].values():
        documents.update(dict.fromkeys(documents, 0.5))


@pytest.mark.long
def test_predictions_of_another_run_are_not_taken(evaluated, tmp_path):
    """Guards against scores of one run tested beside the means of another."""
    folder, _ = evaluated
    path = tmp_path / "model" / f"{TASK}_predictions.json"
    path.parent.mkdir()
    path.write_bytes((folder / "predictions" / path.name).read_bytes())
    change(path, change_scores)
    with pytest.raises(InputError, match=r"zul-eng: ndcg_at_10 is .* but the mean"):
        with_predictions([read(folder)], [tmp_path])
    change(path, lambda content: content["mteb_model_meta"].update(revision="r2"))
    assert with_predictions([read(folder)], [tmp_path]) == [read(folder)]


def test_judgements_of_other_data_are_not_taken(evaluated, monkeypatch):
    """Guards against old runs that are scored by the installed task's judgements."""
    folder, _ = evaluated
    about = CLDRNameRetrieval.metadata
    monkeypatch.setattr(
        CLDRNameRetrieval, "metadata", about.model_copy(update={"dataset": {"path": "babel", "revision": "CLDR-99"}})
    )
    with pytest.raises(InputError, match=r"is of data revision CLDR-\d+, the installed task has .* of CLDR-99"):
        with_predictions([read(folder)], [folder / "predictions"])


def test_what_cannot_be_read_is_named(evaluated, tmp_path):
    """Guards against tracebacks, and a choice between two files that nobody made."""
    folder, _ = evaluated
    with pytest.raises(InputError, match="absent: no such folder"):
        with_predictions([read(folder)], [tmp_path / "absent"])
    (tmp_path / f"{TASK}_predictions.json").write_text("{")
    with pytest.raises(InputError, match=f"{TASK}_predictions.json: not JSON"):
        with_predictions([read(folder)], [tmp_path])
    (tmp_path / f"{TASK}_predictions.json").write_text("[]")
    with pytest.raises(InputError, match=f"{TASK}_predictions.json: no predictions of MTEB"):
        with_predictions([read(folder)], [tmp_path])
    source = folder / "predictions" / f"{TASK}_predictions.json"
    (tmp_path / f"{TASK}_predictions.json").write_bytes(source.read_bytes())
    with pytest.raises(InputError, match="both have predictions of a/tiny"):
        with_predictions([read(folder)], [folder / "predictions", tmp_path])
