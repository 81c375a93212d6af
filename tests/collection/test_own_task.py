"""The user's own collections as tasks: without code, under a revision that is of their content, and never in the way."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mteb
import pytest

from optical_mteb.collection import own_retrieval
from optical_mteb.collection.beir import cache_folder, read_beir
from optical_mteb.collection.own_task import add_task, own_tasks, remove_task
from optical_mteb.registry import register
from tests.collection.conftest import refused

TOML = """name = "MyNewsRetrieval"
query_language = "so"
document_language = "en"
"""


def write_collection(folder: Path, toml: str = TOML) -> Path:
    folder.mkdir(parents=True)
    documents = {"d1": "abc def", "d2": "ghi jkl", "d3": "mno pqr"}
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in documents.items())
    )
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "abc"}\n{"_id": "q2", "text": "jkl"}\n')
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")
    (folder / "task.toml").write_text(toml, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A data folder without tasks; and mteb's registry without own tasks afterwards."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("OPTICAL_MTEB_DATA", str(folder))
    yield folder
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("OPTICAL_MTEB_DATA", str(tmp_path / "empty"))
    monkeypatch.setenv("OPTICAL_MTEB_HOME", str(tmp_path / "empty"))
    register()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A collection that is not a task yet."""
    return write_collection(tmp_path / "mine")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What registering says."""
    said: list[str] = []
    monkeypatch.setattr("optical_mteb.registry._say_once", said.append)
    return said


def listed() -> list[str]:
    return [task.metadata.name for task in mteb.get_tasks(languages=["som"], task_types=["Retrieval"])]


def test_added_folder_is_a_task_until_it_is_removed(folder: Path):
    """Guards against an added collection that mteb does not find, by name or by language, or does not read.

    And against a removed one that stays in mteb's registry or in the cache, and data that are deleted.
    """
    loaded = add_task(folder)
    assert loaded.dataset["som-eng"]["test"]["relevant_docs"] == {"q1": {"d1": 1}, "q2": {"d2": 1}}
    register()
    register()
    assert listed().count("MyNewsRetrieval") == 1
    task = mteb.get_task("MyNewsRetrieval", languages=["som"])
    assert task.hf_subsets == ["som-eng"]
    assert task.metadata.eval_langs == {"som-eng": ["som-Latn", "eng-Latn"]}
    task.load_data()
    assert list(task.dataset["som-eng"]["test"]["corpus"]["text"]) == ["abc def", "ghi jkl", "mno pqr"]
    with refused(r"no task 'MyNewRetrieval' was added; did you mean 'MyNewsRetrieval'\?"):
        remove_task("MyNewRetrieval")
    assert remove_task("MyNewsRetrieval") == folder
    register()
    assert "MyNewsRetrieval" not in listed()
    assert not cache_folder(folder / "corpus.jsonl").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["corpus.jsonl", "qrels.tsv", "queries.jsonl", "task.toml"]


def test_found_folder_is_a_task(data: Path):
    """Guards against a collection in the data folder that has to be added first, and a removal that does nothing."""
    found = write_collection(data / "tasks" / "mine")
    register()
    assert "MyNewsRetrieval" in listed()
    with refused(f"is found in {found}; move that folder"):
        remove_task("MyNewsRetrieval")


def test_all_keys_reach_mteb(tmp_path: Path):
    """Guards against a key that is checked and then dropped."""
    toml = """
        name = "FullRetrieval"
        query_language = "swa"
        document_language = "kik-Latn"
        description = "Matini."
        split = "dev"
        reference = "https://example.org/data"
        date = [2020-01-01, "2021-02-03"]
        domains = ["News", "Written"]
        task_subtypes = ["Article retrieval"]
        license = "cc-by-4.0"
        annotations_creators = "human-annotated"
        dialect = ["sw-KE"]
        sample_creation = "found"
        citation = '''
@misc{full, title = {A, B}}'''
    """
    about = own_retrieval.own_task_class(write_collection(tmp_path / "full", toml)).metadata
    assert about.eval_langs == {"swh-kik": ["swh-Latn", "swa-Latn", "kik-Latn"]}
    assert (about.description, about.eval_splits, about.reference) == ("Matini.", ["dev"], "https://example.org/data")
    assert about.date == ("2020-01-01", "2021-02-03")
    assert (about.domains, about.task_subtypes) == (["News", "Written"], ["Article retrieval"])
    assert (about.license, about.annotations_creators) == ("cc-by-4.0", "human-annotated")
    assert (about.dialect, about.sample_creation) == (["sw-KE"], "found")
    assert about.intext_citation() == "\\cite{full}"
    assert about.is_filled()


WRONG = {
    'name = "MyNewsRetrieval"\nquery_languge = "so"\ndocument_language = "en"': (
        r":2: unknown key 'query_languge'; did you mean 'query_language'\?"
    ),
    'name = "MyNewsRetrieval"\nquery_language = "so"': r": key 'document_language' is missing",
    TOML.replace("Retrieval", "Task"): r":1: name: expected .* end in 'Retrieval', as in .*, found 'MyNewsTask'",
    TOML.replace('"so"', '"sommali"'): r":2: query_language: language 'sommali' is unknown",
    TOML.replace('"so"', '"qqq-Latn"'): r":2: query_language: Invalid language code: qqq",
    TOML.replace('"so"', "5"): r":2: query_language: .*string \(it is 5\)",
    TOML + 'domains = ["news"]': r":4: domains.0: not a value that is known; did you mean 'News'\? \(it is 'news'\)",
    TOML + 'license = "CC-BY-4.0"': r":4: license: not a value that is known; did you mean 'cc-by-4.0'\?",
    TOML + 'date = ["2020-01-01", "soon"]': r":4: date.1: .*\(it is 'soon'\)",
    TOML + 'citation = "Doe 2020"': r":4: citation: expected a BibTeX entry",
    TOML + 'split = "a/b"': r":4: split: expected letters",
    TOML + "split = test": r": not a readable TOML file: .*line 4",
}


@pytest.mark.parametrize("toml", WRONG)
def test_wrong_task_file_is_placed(tmp_path: Path, toml: str):
    """Guards against a task.toml that is taken although a key is wrong, or an error without line and key."""
    folder = write_collection(tmp_path / "mine", toml)
    with refused(WRONG[toml]) as error:
        own_retrieval.own_task_class(folder)
    assert str(error.value).startswith(f"{folder}/task.toml")


@pytest.mark.parametrize("damage", ["task.toml", "corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_damaged_collection_is_not_added(folder: Path, own_home: Path, damage: str):
    """Guards against a task that is remembered although it cannot be loaded."""
    (folder / damage).write_text("{")
    with refused(damage):
        add_task(folder)
    assert not (own_home / "tasks.json").exists()
    assert own_tasks() == []


def test_name_of_another_task_is_refused(folder: Path, tmp_path: Path):
    """Guards against a task that takes the place of MTEB's, of this package's or of another folder's."""
    for name in ("SciFact", "CLDRNameRetrieval"):
        clash = write_collection(tmp_path / name, TOML.replace("MyNewsRetrieval", name))
        with refused(r"task\.toml: name: |task\.toml:1: name: "):
            add_task(clash)
    add_task(folder)
    with refused(f"'MyNewsRetrieval' is a task of {folder} already"):
        add_task(write_collection(tmp_path / "other"))
    assert add_task(folder).metadata.name == "MyNewsRetrieval"


def test_renamed_task_is_added_again(folder: Path, lines: list[str], own_home: Path):
    """Guards against a folder that is two tasks once its name has changed."""
    add_task(folder)
    (folder / "task.toml").write_text(TOML.replace("MyNews", "YourNews"))
    register()
    (line,) = lines
    assert "was added as 'MyNewsRetrieval', is called 'YourNewsRetrieval' now" in line
    assert line.endswith(f"run: optical-mteb tasks add {folder}")
    add_task(folder)
    assert [own.task.metadata.name for own in own_tasks() if own.task] == ["YourNewsRetrieval"]
    assert json.loads((own_home / "tasks.json").read_text()) == {"folders": {"YourNewsRetrieval": str(folder)}}


def test_damaged_tasks_are_left_out_in_one_line_each(data: Path, folder: Path, lines: list[str], own_home: Path):
    """Guards against one broken folder that stops mteb, or takes the other tasks with it."""
    add_task(folder)
    write_collection(data / "tasks" / "broken", "name = ")
    write_collection(data / "tasks" / "clash", TOML.replace("MyNews", "CLDRName"))
    write_collection(data / "tasks" / "copy", TOML.replace("MyNews", "Copied"))
    write_collection(data / "tasks" / "twin", TOML.replace("MyNews", "Copied"))
    (write_collection(data / "tasks" / "without", TOML.replace("MyNews", "Without")) / "qrels.tsv").unlink()
    gone = write_collection(folder.parent / "gone", TOML.replace("MyNews", "Gone"))
    add_task(gone)
    (gone / "task.toml").unlink()
    register()
    assert {"MyNewsRetrieval", "CopiedRetrieval"} <= set(listed())
    assert mteb.get_task("CLDRNameRetrieval").metadata.dataset["path"] == "babel"
    words = ["broken/task.toml", "clash: 'CLDRNameRetrieval'", "twin: is called 'Copied", "without/qrels.tsv", "gone/"]
    assert len(lines) == len(words)
    for line, word in zip(lines, words, strict=True):
        assert word in line
        assert "\n" not in line
    lines.clear()
    (own_home / "tasks.json").write_text("[")
    register()
    assert "tasks.json: cannot be read" in lines[0]
    assert "CopiedRetrieval" in listed()
    with refused(r"tasks\.json: cannot be read .*; fix it, or remove it"):
        remove_task("MyNewsRetrieval")


def test_missing_data_folder_does_not_stop_registering(folder: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch):
    """Guards against a wrong OPTICAL_MTEB_DATA that takes all tasks with it."""
    add_task(folder)
    monkeypatch.setenv("OPTICAL_MTEB_DATA", str(folder / "nowhere"))
    register()
    assert "MyNewsRetrieval" in listed()
    assert len(lines) == 1
    assert "no such folder" in lines[0]


def test_registering_reads_no_data(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against a corpus that is hashed or read whenever mteb starts."""
    add_task(folder)
    opened = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *rest, **more: opened.append(path) or real(path, *rest, **more))
    monkeypatch.setattr(own_retrieval.hashlib, "file_digest", lambda *_: pytest.fail("hashed"))
    register()
    assert "MyNewsRetrieval" in listed()
    assert not [path for path in opened if path.suffix in (".jsonl", ".tsv")]


def test_revision_is_of_the_content(folder: Path, tmp_path: Path):
    """Guards against a revision that a copy changes, or that a change of any file does not."""
    task = own_retrieval.own_task_class(folder)
    digests = b"".join(
        hashlib.sha256((folder / name).read_bytes()).digest() for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv")
    )
    first = task.metadata.revision
    assert first == hashlib.sha256(digests).hexdigest()[:40]
    copy = write_collection(tmp_path / "copy", TOML + 'description = "Another."')
    os.utime(copy / "corpus.jsonl", (0, 0))
    copied = own_retrieval.own_task_class(copy)
    assert copied.metadata.revision == first
    assert copied.metadata.dataset["revision"] != task.metadata.dataset["revision"]
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
        text = (folder / name).read_text()
        (folder / name).write_text(text + "\n")
        assert task.metadata.revision != first
        (folder / name).write_text(text)
    assert task.metadata.revision == first


def test_data_that_change_meanwhile_are_not_taken_for_those_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against the score of old data under the revision of the new ones, which the cache gives from then on."""
    task = own_retrieval.own_task_class(folder)()
    first = task.metadata.revision
    task.load_data()
    with (folder / "queries.jsonl").open("a") as file:
        file.write("\n")
    assert task.metadata.revision == first != type(task).metadata.revision

    def changed(*arguments, **options):
        with (folder / "qrels.tsv").open("a") as file:
            file.write("\n")
        return read_beir(*arguments, **options)

    monkeypatch.setattr(own_retrieval, "read_beir", changed)
    with refused("the files changed while they were read; run the command again"):
        own_retrieval.own_task_class(folder)().load_data()


def scores_of(task: mteb.AbsTask, model, results: Path) -> tuple[float, float]:
    """nDCG@10 and the time of evaluation, which a result from the cache has from its first one."""
    result = mteb.evaluate(model, task, cache=mteb.ResultCache(results), show_progress_bar=False, co2_tracker=False)
    (found,) = result.task_results
    return found.scores["test"][0]["ndcg_at_10"], found.evaluation_time


def test_changed_data_are_scored_anew(folder: Path, tmp_path: Path, tiny_model: Callable):
    """Guards against cached scores of another version of the data, and a repeated run where nothing has changed."""
    model = tiny_model()
    add_task(folder)
    register()
    first = scores_of(mteb.get_task("MyNewsRetrieval"), model, tmp_path / "results")
    assert scores_of(mteb.get_task("MyNewsRetrieval"), model, tmp_path / "results") == first
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td3\t1\nq2\td3\t1\n")
    register()
    changed = mteb.get_task("MyNewsRetrieval")
    second = scores_of(changed, model, tmp_path / "results")
    assert second[0] != first[0]
    (file,) = (tmp_path / "results").rglob("MyNewsRetrieval.json")
    written = json.loads(file.read_text())
    assert written["dataset_revision"] == changed.metadata.revision
    assert [entry["ndcg_at_10"] for entry in written["scores"]["test"]] == [second[0]]


def test_other_tasks_keep_mtebs_rule():
    """Guards against a comparison of revisions that is put on tasks that are not the user's own, or on mteb twice."""
    register()
    evaluation = importlib.import_module("mteb.evaluate")
    task = mteb.get_task("CLDRNameRetrieval", hf_subsets=["som-eng"])
    complete = mteb.TaskResult(
        dataset_revision="of another one",
        task_name="CLDRNameRetrieval",
        mteb_version="2",
        scores={"test": [{"hf_subset": "som-eng", "languages": ["som-Latn"], "main_score": 0.5}]},
        evaluation_time=1.0,
        kg_co2_emissions=None,
    )
    assert evaluation._requires_merge(task, complete) is False
    before = evaluation._requires_merge
    register()
    assert evaluation._requires_merge is before


@pytest.mark.slow
def test_the_stock_command_knows_own_tasks(data: Path, folder: Path, own_home: Path):
    """Guards against a task that only this process has, and a broken neighbour that costs more than one line.

    And against `python -m mteb` without the package's tasks: runpy asks for the spec of mteb twice.
    """
    add_task(folder)
    write_collection(data / "tasks" / "broken", "name = 1")
    done = subprocess.run(
        [sys.executable, "-m", "mteb", "available-tasks", "-l", "som"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        check=True,
    )
    assert "MyNewsRetrieval" in done.stdout
    assert "CLDRNameRetrieval" in done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"optical-mteb: left out a task: {data}/tasks/broken/task.toml:1: name: ")
