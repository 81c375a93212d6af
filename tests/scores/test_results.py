"""Finding results by a model's name or by a folder."""

import shutil

import pytest

from optical_mteb.errors import InputError
from optical_mteb.scores.results import all_results, find_results

SCORES = {"som-eng": {"a": 0.5, "b": 1.0}}
TASK = "CLDRNameRetrieval"


def test_a_name_and_a_folder_find_the_same(write, cache, monkeypatch):
    """Guards against a folder at any height that is not looked into, and a model whose name is not its folder's."""
    folder = write("a/base", SCORES)
    by_name = find_results("a/base", cache)
    assert (by_name.model, by_name.revision, by_name.tasks) == ("a/base", "r1", [TASK])
    for path in (folder, folder.parent, cache):
        assert find_results(str(path), cache / "elsewhere") == by_name
    monkeypatch.chdir(cache)
    assert find_results("results/a__base", cache / "elsewhere").model == "a/base"


def test_two_revisions_are_never_mixed(write, cache):
    """Guards against scores of one training taken for another's, by name or by folder."""
    write("a/base", SCORES, revision="r1")
    folder = write("a/base", SCORES, revision="r9")
    with pytest.raises(InputError, match=rf"several revisions on {TASK} \(r1, r9\); choose one, as in a/base@r1"):
        find_results("a/base", cache, [TASK])
    assert find_results("a/base@r9", cache).revision == "r9"
    with pytest.raises(InputError, match="a/base at revision r7, but of a/base@r1, a/base@r9; name that, or run: "):
        find_results("a/base@r7", cache)
    with pytest.raises(InputError, match=r"models or revisions \(r1, r9\); name one of these folders"):
        find_results(str(folder.parent), cache)
    assert find_results(str(folder), cache).revision == "r9"


def test_a_folder_of_another_revision_is_refused(write, cache):
    """Guards against results that were copied beside those of another training."""
    folder = write("a/base", SCORES, revision="r1")
    meta = folder / "model_meta.json"
    meta.write_text(meta.read_text().replace('"r1"', '"r9"'))
    with pytest.raises(
        InputError, match=r"r1/model_meta.json: is of revision r9, but its folder of r1; results of two"
    ):
        find_results("a/base", cache)
    meta.write_text("[]")
    with pytest.raises(InputError, match=r"model_meta\.json: not the record of a model"):
        find_results("a/base", cache)
    meta.write_text('{"name": "a/base", "revision": "r9"}')
    copied = folder.rename(cache / "mine")
    assert find_results(str(copied), cache).revision == "r9"


def test_only_revisions_with_the_task_count(write, cache):
    """Guards against a choice that is asked for although one revision alone has the task."""
    write("a/base", SCORES, revision="r1")
    write("a/base", SCORES, revision="r9", task="NTREXRetrieval")
    assert find_results("a/base", cache, ["NTREXRetrieval"]).revision == "r9"
    with pytest.raises(InputError, match="several revisions"):
        find_results("a/base", cache)


def test_experiments_are_not_the_plain_results(write, cache):
    """Guards against scores of an approximate index taken for those of the exact search."""
    plain = write("a/base", SCORES)
    hnsw = write("a/base", SCORES, experiment={"index": "hnsw"})
    write("b/student", SCORES, experiment={"index": "ivf"})
    assert find_results("a/base", cache).folder == find_results(str(plain.parent), cache).folder == plain
    assert find_results(str(hnsw), cache).experiment == {"index": "hnsw"}
    found = find_results("b/student", cache)
    assert (found.revision, found.experiment) == ("r1", {"index": "ivf"})
    write("b/student", SCORES, experiment={"index": "hnsw"})
    with pytest.raises(InputError, match=r"several experiments; name the folder of one: .*index_hnsw.*index_ivf"):
        find_results("b/student", cache)


def test_other_files_are_no_results(write, cache):
    """Guards against predictions, settings and stray JSON that are taken for tasks."""
    folder = write("a/base", SCORES)
    for name in (f"{TASK}_predictions.json", "notes.json"):
        (folder / name).write_text('{"mteb_model_meta": {}}')
    (cache / "objectives").mkdir()
    (cache / "objectives" / "figures.json").write_text('{"scores": []}')
    assert find_results(str(cache), cache).tasks == [TASK]


def test_copies_in_reports_and_submissions_are_no_results(write, cache):
    """Guards against a report in the folder of the results that counts its own copies as models."""
    own = write("a/base", SCORES)
    for place, marker in (("site", ".optical-mteb-report"), ("submission", "SUBMISSION.md")):
        shutil.copytree(own, cache / place / "data" / "a__base" / "r1")
        (cache / place / marker).write_text("")
    assert [results.folder for results in all_results(cache)] == [own]
    assert find_results(str(cache), cache).folder == own
    assert find_results(str(cache / "site"), cache).folder == cache / "site" / "data" / "a__base" / "r1"


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    """Guards against a folder of a mistyped name that the next command finds empty."""
    with pytest.raises(InputError, match="NOTHERE: no results of a/base; run: optical-mteb run -m a/base"):
        find_results("a/base", tmp_path / "NOTHERE")
    assert not (tmp_path / "NOTHERE").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "a/other",
            r"no results of a/other on CLDRNameRetrieval; run: optical-mteb run -m a/other -t CLDRNameRetrieval",
        ),
        ("./a/other", r"a/other: no results on CLDRNameRetrieval; expected a folder .* or the name of a model"),
        ("empty", r"empty: no results on CLDRNameRetrieval"),
        ("a__base/r1", r"a__base/r1/model_meta.json: not JSON"),
    ],
)
def test_what_is_not_there_is_named(write, cache, monkeypatch, source, message):
    """Guards against tracebacks, and a path taken for a model that should be run."""
    folder = write("a/base", SCORES)
    (folder / "model_meta.json").write_text("{")
    monkeypatch.chdir(cache / "results")
    (cache / "results" / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        find_results(source, cache, [TASK])
