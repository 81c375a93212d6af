"""What is not fit to be submitted is refused by name before anything is written."""

import shutil

import pytest

from optical_mteb.errors import InputError
from optical_mteb.students import student_path
from tests.submission.conftest import COMMIT, TASK, recorded, result, row


def no_number(content):
    row(content, "som-eng").update(ndcg_at_10=float("nan"), main_score=float("nan"))
    row(content, "som-eng").pop("per_query")


def no_number_beside(content):
    for each in content["scores"]["test"]:
        each["recall_at_5"] = 0.5
    row(content, "som-eng").update(recall_at_5=float("nan"))


def another_training(folder):
    recorded(revision="f" * 40)(folder)
    folder.rename(folder.with_name("f" * 40))


def another_task(folder):
    result(lambda content: content.update(task_name="GoneRetrieval"))(folder)
    (folder / f"{TASK}.json").rename(folder / "GoneRetrieval.json")


FAULTS = {
    "other data": (
        result(lambda content: content.update(dataset_revision="d0")),
        "data of revision d0, but .* d1",
    ),
    "NaN": (result(no_number), "som-eng: main_score is NaN, expected a number"),
    "NaN beside": (result(no_number_beside), "recall_at_5"),
    "a mean": (
        result(lambda content: row(content, "som-eng").update(main_score=0.9, ndcg_at_10=0.9)),
        "ndcg_at_10 is 0.90000, but the mean of its 2 queries is 0.25000",
    ),
    "nothing": (result(lambda content: content.update(scores={})), "has no scores"),
    "two trainings": (recorded(revision="f" * 40), "results of two revisions were put together"),
    "another training": (another_training, "no results of optical-mteb/tiny-student at revision"),
    "an approximate index": (
        recorded(experiment_kwargs={"index_backend": "hnsw:m=8"}),
        r"approximate index \(index_backend=hnsw:m=8\)",
    ),
    "a task that nobody has": (another_task, "neither MTEB nor this package has a task GoneRetrieval"),
}


def test_an_edited_or_damaged_result(tmp_path, write, prepare):
    """Guards against a submission of scores that no run of the model has given, or that no check can hold it to."""
    for plant, message in FAULTS.values():
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        plant(write())
        with pytest.raises(InputError, match=message):
            prepare()
        assert not (tmp_path / "made").exists()


def test_weights_that_changed_since_the_training(write, prepare):
    """Guards against an upload of weights that are not those that were evaluated."""
    write()
    config = student_path("tiny-student") / "config_sentence_transformers.json"
    config.write_text(config.read_text().replace("query: ", "question: "))
    with pytest.raises(InputError, match=r"the weights hash to .*; they changed .* train the student again"):
        prepare()


OPTIONS = [
    ({"model": "intfloat/multilingual-e5-small"}, "expected a student of the store"),
    ({"model": "pypi:multilingual-e5-small"}, "expected a student of the store"),
    ({"model": "nobody"}, "student 'nobody' is not trained yet"),
    ({"hub_id": "name"}, "expected OWNER/NAME"),
    ({"revision": COMMIT}, "give both"),
    ({"hub_id": "a/b", "revision": "main"}, "expected a commit on the Hub"),
    ({"cache": "nowhere"}, "no such folder"),
    ({"tasks": ["LocalWordsRetrieval"]}, "no results of optical-mteb/tiny-student .* on LocalWordsRetrieval"),
    ({"output": "mine"}, "holds something else than a submission"),
    ({"output": "mine/thesis.tex"}, "is a file"),
]


def test_options_that_cannot_be_meant(tmp_path, write, student, prepare):
    """Guards against a mistake on the command line that ends in a traceback, or in the loss of the user's own files."""
    write()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    for options, message in [*OPTIONS, ({"hub_id": "a/b", "revision": student.weights}, "the hash of the weights")]:
        with pytest.raises(InputError, match=message):
            prepare(**options)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "mine"
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "nowhere").exists()
