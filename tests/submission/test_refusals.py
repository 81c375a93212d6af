"""What is not fit to be submitted is refused by name before anything is written."""

import json
import shutil

import pytest

from optical_mteb.errors import InputError
from optical_mteb.students import student_path
from optical_mteb.submission import prepare
from tests.submission.conftest import COMMIT

TASK = "PublicWordsRetrieval"


def row(content, subset="som-eng"):
    return next(row for row in content["scores"]["test"] if row["hf_subset"] == subset)


def no_number(content):
    row(content).update(ndcg_at_10=float("nan"), main_score=float("nan"))
    row(content).pop("per_query")


def no_number_beside(content):
    for each in content["scores"]["test"]:
        each["recall_at_5"] = 0.5
    row(content).update(recall_at_5=float("nan"))


EDITS = {
    "other data": (lambda content: content.update(dataset_revision="d0"), "data of revision d0, but .* d1"),
    "NaN": (no_number, "som-eng: main_score is NaN, expected a number"),
    "NaN beside": (no_number_beside, "recall_at_5"),
    "a mean": (
        lambda content: row(content).update(main_score=0.9, ndcg_at_10=0.9),
        "ndcg_at_10 is 0.90000, but the mean of its 2 queries is 0.25000",
    ),
    "nothing": (lambda content: content.update(scores={}), "has no scores"),
}


def test_an_edited_or_damaged_result(tmp_path, write):
    """Guards against a submission of scores that no run of the model has given."""
    for change, message in EDITS.values():
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        write(edit=change)
        with pytest.raises(InputError, match=message):
            prepare("tiny-student", tmp_path / "made", cache=tmp_path / "cache")
        assert not (tmp_path / "made").exists()


def test_an_approximate_index(tmp_path, write):
    """Guards against results of an index that go out as the model's own."""
    write(experiment={"index_backend": "hnsw:m=8"})
    with pytest.raises(InputError, match=r"approximate index \(index_backend=hnsw:m=8\)"):
        prepare("tiny-student", tmp_path / "made", cache=tmp_path / "cache")


def test_results_of_another_training(tmp_path, write):
    """Guards against results of one training under the revision of another, or of weights that the student no longer has."""
    folder = write()
    meta = json.loads((folder / "model_meta.json").read_text())
    (folder / "model_meta.json").write_text(json.dumps(meta | {"revision": "f" * 40}))
    with pytest.raises(InputError, match="results of two revisions were put together"):
        prepare("tiny-student", tmp_path / "made", cache=tmp_path / "cache")
    folder.rename(folder.with_name("f" * 40))
    with pytest.raises(InputError, match="no results of optical-mteb/tiny-student at revision"):
        prepare("tiny-student", tmp_path / "made", cache=tmp_path / "cache")


def test_weights_that_changed_since_the_training(tmp_path, write):
    """Guards against an upload of weights that are not those that were evaluated."""
    write()
    config = student_path("tiny-student") / "config_sentence_transformers.json"
    config.write_text(config.read_text().replace("query: ", "question: "))
    with pytest.raises(InputError, match=r"the weights hash to .*; they changed .* train the student again"):
        prepare("tiny-student", tmp_path / "made", cache=tmp_path / "cache")


def test_a_task_that_nobody_has(tmp_path, write):
    """Guards against a result on a task that no check can hold it to."""
    folder = write()
    content = json.loads((folder / f"{TASK}.json").read_text()) | {"task_name": "GoneRetrieval"}
    (folder / "GoneRetrieval.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="neither MTEB nor this package has a task GoneRetrieval"):
        prepare("tiny-student", tmp_path / "made", cache=tmp_path / "cache")


OPTIONS = [
    ({"model": "intfloat/multilingual-e5-small"}, "expected a student of the store"),
    ({"model": "pypi:multilingual-e5-small"}, "expected a student of the store"),
    ({"model": "nobody"}, "student 'nobody' is not trained yet"),
    ({"hub_id": "name"}, "expected OWNER/NAME"),
    ({"revision": COMMIT}, "give both"),
    ({"hub_id": "a/b", "revision": "main"}, "expected a commit on the Hub"),
    ({"cache": "nowhere"}, "no such folder"),
    ({"tasks": ["LocalWordsRetrieval"]}, "no results of optical-mteb/tiny-student .* on LocalWordsRetrieval"),
]


def test_options_that_cannot_be_meant(tmp_path, write, student):
    """Guards against a mistake on the command line that ends in a traceback, or in a folder of something else."""
    write()
    for options, message in [*OPTIONS, ({"hub_id": "a/b", "revision": student.weights}, "the hash of the weights")]:
        given = {"model": "tiny-student", "cache": "cache"} | options
        given["cache"] = tmp_path / given["cache"]
        with pytest.raises(InputError, match=message):
            prepare(given.pop("model"), tmp_path / "made", **given)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_of_something_else(tmp_path, write):
    """Guards against a submission that takes the place of the user's own files."""
    write()
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds something else than a submission"):
        prepare("tiny-student", tmp_path / "made", cache=tmp_path / "cache")
    with pytest.raises(InputError, match="is a file"):
        prepare("tiny-student", tmp_path / "made" / "thesis.tex", cache=tmp_path / "cache")
    assert (tmp_path / "made" / "thesis.tex").read_text() == "mine"
