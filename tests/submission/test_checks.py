"""The checks of the results repository: each fault that it refuses is found, and nothing else is."""

import shutil

import pytest

from optical_mteb.submission import Verdict
from optical_mteb.submission.checks import check_results
from optical_mteb.submission.published import as_published, published_meta
from optical_mteb.submission.results_folder import read_results, write_results
from tests.submission.conftest import TASK, change, lose_a_subset, recorded, result, row


@pytest.fixture
def prepared(tmp_path, write):
    """A sound cache, the results in it, and the folder of the revision."""
    write(TASK)
    student = as_published("tiny-student")
    results = read_results(student, tmp_path / "cache")
    return tmp_path / "made", results, write_results(results, published_meta(student), tmp_path / "made")


def failed(cache, results):
    return {check.name: check.detail for check in check_results(cache, results) if check.verdict is Verdict.FAILED}


def second_revision(folder):
    recorded(revision="0" * 40)(shutil.copytree(folder, folder.with_name("0" * 40)))


def settings(edit):
    """Changes the settings of the run."""
    return lambda folder: change(folder / "run_settings.jsonl", edit)


def unknown_revision(folder):
    recorded(revision="external")(folder)
    folder.rename(folder.with_name("external"))


AGREE, SETTINGS = "folder and model_meta.json agree", "run_settings.jsonl has every split and subset"
DROPPED, READ = "no split, subset or language is dropped", "MTEB reads the same scores"
OTHER_SCORES = {READ: f"{TASK}: MTEB reads other scores"}
FAULTS = {
    "a file under another name": (
        lambda folder: (folder / f"{TASK}.json").rename(folder / "LocalWordsRetrieval.json"),
        {"file names are task names": f"LocalWordsRetrieval.json has results on {TASK}", SETTINGS: ""},
    ),
    "another name": (recorded(name="a/b"), {AGREE: "is of a/b"}),
    "no organisation": (recorded(name="tiny-student"), {AGREE: "no name with an organisation"}),
    "another revision": (recorded(revision="r2"), {AGREE: "is of revision r2"}),
    "no commit": (unknown_revision, {"the revision has the form of a commit": "external is not a commit"}),
    "two revisions of a task": (second_revision, {"one revision a task": f"{TASK}: 0000000000"}),
    "a large file": (
        result(lambda content: content.update(filler="x" * 10 * 2**20)),
        {"files under 10 MB": f"{TASK}.json has 10.0 MB"},
    ),
    "no settings": (lambda folder: (folder / "run_settings.jsonl").unlink(), {SETTINGS: "no run_settings.jsonl"}),
    "settings of one subset": (
        settings(lambda entry: entry.update(subsets=["som-eng"])),
        {SETTINGS: f"{TASK}: test of swh-eng is not in it"},
    ),
    "settings of an old mteb": (
        settings(lambda entry: entry["version"].update(mteb="2.13.9")),
        {SETTINGS: f"{TASK}: test of som-eng was run with mteb 2.13.9"},
    ),
    "results of an old mteb": (
        result(lambda content: content.update(mteb_version="2.1.0")),
        {SETTINGS: f"{TASK}: evaluated with mteb 2.1.0"},
    ),
    "no subset": (lose_a_subset, {DROPPED: "test lacks 1 of 2 subsets (swh-eng)", **OTHER_SCORES}),
    "no split": (
        result(lambda content: content["scores"].update(dev=content["scores"].pop("test"))),
        {DROPPED: "test lacks 2 of 2 subsets", SETTINGS: "dev of som-eng is not in it", **OTHER_SCORES},
    ),
    "no language": (
        result(lambda content: row(content, "swh-eng")["languages"].remove("swh-Latn")),
        {DROPPED: "test of swh-eng lacks the language swh-Latn"},
    ),
    "another score": (result(lambda content: row(content, "swh-eng").update(main_score=0.501)), OTHER_SCORES),
}


def test_a_fault_fails_its_check_alone(prepared, tmp_path):
    """Guards against a fault that the results repository would be the first to find, and a check that always fails."""
    cache, results, folder = prepared
    assert failed(cache, results) == {}
    sound = shutil.copytree(cache, tmp_path / "sound")
    for fault, (plant, expected) in FAULTS.items():
        shutil.rmtree(cache)
        shutil.copytree(sound, cache)
        plant(folder)
        found = failed(cache, results)
        assert found.keys() == expected.keys(), fault
        assert all(reason in found[name] for name, reason in expected.items()), (fault, found)


def test_an_empty_folder_fails(tmp_path):
    """Guards against a folder without results that passes because nothing is wrong with any of them."""
    assert failed(tmp_path, []) == {"folder and model_meta.json agree": "there are no results"}
