"""The command `optical-mteb tasks`: list, add, remove, export; exit codes and one-line errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from optical_mteb.registry import package_tasks, register
from tests.collection.test_own_task import TOML, write_collection


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A working folder with a data folder in it, and a wide terminal; no own task stays in mteb's registry."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("OPTICAL_MTEB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    monkeypatch.setenv("OPTICAL_MTEB_HOME", str(tmp_path / "empty"))
    register()


def test_a_task_is_added_listed_exported_and_removed(command, place: Path):
    """Guards against a collection that cannot be added as a task, or not removed again."""
    folder = write_collection(place / "mine", TOML + 'license = "cc0-1.0"\n')
    code, output, errors = command("tasks", "add", "mine")
    assert (code, errors) == (0, "")
    assert output.splitlines() == [
        "added MyNewsRetrieval (som-eng, test): 3 documents, 2 queries",
        "evaluate on it: mteb run -m optical-student -t MyNewsRetrieval",
    ]
    for arguments in ([], ["list"]):
        code, output, _ = command("tasks", *arguments)
        rows = [line.split() for line in output.splitlines()]
        assert (code, rows[0]) == (0, ["task", "subsets", "license", "data"])
        assert ["MyNewsRetrieval", "som-eng", "cc0-1.0", str(folder)] in rows
        assert {task.metadata.name for task in package_tasks()} <= {row[0] for row in rows if row}
    code, output, _ = command("tasks", "export", "MyNewsRetrieval", "--format", "trec")
    assert (code, output) == (0, "wrote MyNewsRetrieval-trec/som-eng\n")
    assert (place / "MyNewsRetrieval-trec" / "som-eng" / "topics.tsv").read_text() == "q1\tabc\nq2\tjkl\n"
    code, output, _ = command("tasks", "remove", "MyNewsRetrieval")
    assert (code, output) == (0, f"removed MyNewsRetrieval; its folder stays: {folder}\n")
    assert "MyNews" not in command("tasks")[1]


def test_options_of_export(command, place: Path):
    """Guards against options that the command keeps to itself."""
    words = "tasks export CLDRNameRetrieval --subset som-eng --subset swh-eng --split test --output out"
    code, output, _ = command(*words.split())
    assert (code, output) == (0, "wrote out/som-eng\nwrote out/swh-eng\n")
    assert sorted(path.name for path in (place / "out" / "som-eng").iterdir()) == [
        "corpus.jsonl",
        "qrels",
        "queries.jsonl",
    ]


def test_a_damaged_task_is_listed_with_what_is_wrong(command, place: Path):
    """Guards against a table without the task that somebody looks for, and a table that fails."""
    write_collection(place / "data" / "tasks" / "broken", "name = 1\n")
    code, output, _ = command("tasks")
    assert code == 0
    (row,) = [line for line in output.splitlines() if line.split()[:2] == ["left", "out"]]
    assert "broken/task.toml:1: name: " in row


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "nowhere"], "nowhere/task.toml: not a readable TOML file"),
        (["add", "bad"], "bad/queries.jsonl:2: query id 'q1' appears twice, the first at "),
        (["remove", "NothingRetrieval"], "no task 'NothingRetrieval' was added; list the tasks: optical-mteb tasks"),
        (["export", "STS12"], "task STS12: is STS of text; only Retrieval of text"),
        (["export", "CLDRNameRetrieval", "--format", "csv"], "format 'csv' is unknown; write one of beir, trec"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, place: Path, arguments, message: str):
    """Guards against tracebacks, other exit codes, and what a refused command leaves behind."""
    bad = write_collection(place / "bad")
    with (bad / "queries.jsonl").open("w") as file:
        file.write('{"_id": "q1", "text": "abc"}\n{"_id": "q1", "text": "jkl"}\n{"_id": "q2", "text": "jkl"}\n')
    code, output, errors = command("tasks", *arguments)
    assert (code, output) == (2, "")
    assert errors.startswith("optical-mteb: error: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert sorted(path.name for path in place.iterdir() if path.name != "home") == ["bad", "data"]
    assert not (place / "home" / "tasks.json").exists()
