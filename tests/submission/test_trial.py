"""The sample that is run again: the smallest, of data that are there, and another score fails."""

import mteb
import pytest

from optical_mteb.submission import Verdict
from optical_mteb.submission.hub_folder import load_hub_folder
from optical_mteb.submission.published import as_published, published_meta
from optical_mteb.submission.results_folder import read_results
from optical_mteb.submission.trial import check_rerun
from tests.submission.conftest import TASK, LocalWordsRetrieval, PublicWordsRetrieval, Words


@pytest.fixture
def model(student):
    published = as_published("tiny-student")
    return load_hub_folder(published.folder, published_meta(published))


@pytest.fixture
def scores(model):
    """What MTEB gives the student on the two subsets."""
    made = mteb.evaluate(model, mteb.get_task(TASK), cache=None, co2_tracker=False, show_progress_bar=False)
    Words.loaded.clear()
    return [row["main_score"] for row in made.task_results[0].scores["test"]]


def results(tmp_path):
    return read_results(as_published("tiny-student"), tmp_path / "cache")


@pytest.mark.long
@pytest.mark.parametrize(
    ("shift", "verdict"), [(0, Verdict.OK), (0.0009, Verdict.OK), (0.0011, Verdict.FAILED), (-0.0011, Verdict.FAILED)]
)
def test_the_tolerance(tmp_path, model, write, scores, shift, verdict):
    """Guards against a refusal of the largest change that the results repository accepts, in either direction."""
    write(scores=[score + shift for score in scores])
    assert 0.01 < scores[0] < 0.99
    check = check_rerun(model, results(tmp_path))
    assert check.verdict is verdict
    assert f"{TASK} som-eng (test): {scores[0] + shift:.5f} on file, {scores[0]:.5f} again" in check.detail


@pytest.mark.long
def test_the_smallest_sample_that_is_there(tmp_path, model, write, scores, monkeypatch):
    """Guards against a check that takes as long as the evaluation: one subset is loaded, the smallest by the task's statistics.

    And against a sample that is given up at the first task whose data cannot be loaded, and one that passes without any.
    """
    sizes = {"som-eng": {"num_samples": 900}, "swh-eng": {"num_samples": 60}}
    statistics = {TASK: {"test": {"num_samples": 960, "hf_subset_descriptive_stats": sizes}}}
    metadata = type(PublicWordsRetrieval.metadata)
    write("LocalWordsRetrieval")
    write(TASK, scores=scores)
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "descriptive_stats", property(lambda self: statistics.get(self.name)))
        check = check_rerun(model, results(tmp_path))
    assert check.verdict is Verdict.OK
    assert f"{TASK} swh-eng (test)" in check.detail
    assert Words.loaded == [(TASK, "swh-eng")]

    def absent(self, subset, split):
        raise ConnectionError("no network")

    monkeypatch.setattr(LocalWordsRetrieval, "load_split", absent)
    assert TASK in check_rerun(model, results(tmp_path)).detail
    monkeypatch.setattr(Words, "load_split", absent)
    check = check_rerun(model, results(tmp_path))
    assert check.verdict is Verdict.FAILED
    assert "LocalWordsRetrieval: no network; PublicWordsRetrieval: no network" in check.detail
    assert "--no-rerun" in check.detail
