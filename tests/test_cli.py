"""The command: exit codes, one-line errors, and help with an example."""

import shlex

import pytest
import typer

from optical_mteb import cli
from optical_mteb.cli import doctor
from optical_mteb.storage import runs_folder
from tests.conftest import tiny_recipe, write_toml


def commands(group=None, path=()):
    """Every command with the words that call it."""
    for name, command in (group or typer.main.get_command(cli.app)).commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


def test_every_command_has_a_purpose_and_an_example_that_is_read():
    """Guards against help without a purpose of one line, or with an example that is none or has a wrong option."""
    found = dict(commands())
    assert len(found) > 25
    for path, command in found.items():
        purpose = command.help.split("\n\n")[0]
        assert len(purpose) <= 90, (path, purpose)
        assert "\n" not in purpose, path
        program, *words = shlex.split(command.epilog.removeprefix("Example: "))
        assert (program, *words[: len(path)]) == ("optical-mteb", *path)
        assert all(parameter.help for parameter in command.params if parameter.name != "context"), path
        if "--help" not in words:
            command.make_context(path[-1], words[len(path) :])


def test_doctor_finds_what_is_wrong(monkeypatch, command, tmp_path, own_home):
    """Guards against a doctor that writes, waits for the network, or calls a broken set-up sound."""
    monkeypatch.delenv("OPTICAL_MTEB_DATA", raising=False)
    found = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "mteb" else found(name))
    code, output, errors = command("doctor")
    lines = {line.split("  ")[0]: line for line in output.splitlines()}
    assert lines["Hugging Face Hub"].endswith("not asked: HF_HUB_OFFLINE is set")
    assert f"{own_home / 'students'}, 0 students" in lines["student store"]
    assert not own_home.exists()
    assert code == 1
    assert "mteb: pip install 'mteb<3,>=2.26'" in errors
    monkeypatch.setattr(doctor, "_version", found)
    monkeypatch.setenv("OPTICAL_MTEB_DISABLE", "1")
    monkeypatch.setenv("OPTICAL_MTEB_DATA", str(tmp_path / "nothing"))
    own_home.write_text("a file, not a folder")
    code, output, errors = command("doctor")
    assert code == 1
    assert "off: OPTICAL_MTEB_DISABLE=1" in output
    assert "data folder: OPTICAL_MTEB_DATA=" in errors
    assert "student store: " in errors
    assert "set OPTICAL_MTEB_HOME" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "quickstart", "--set", "bitext=[{source='b.tsv', language='swh'}]"], "b.tsv: no such file in"),
        (
            ["run", "-m", "pypi:all-minilm-l6-v2", "-t", "x"],
            "model 'pypi:all-minilm-l6-v2' is unknown; did you mean 'pypi:a",
        ),
        (
            ["run", "-m", "half", "-t", "x"],
            "model 'half' is not trained yet: its training was interrupted; continue it",
        ),
        (["run", "-m", "pypi:all-MiniLM-L6-v2", "-t", "CLDRNamesRetrieval"], "did you mean 'CLDRNameRetrieval'"),
        (["models", "tico19-student"], "run: optical-mteb train tico19"),
        (["compare", "a/b", "c/d", "-t", "CLDRNameRetrieval", "--results", "."], "no results of a/b"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(monkeypatch, command, tmp_path, arguments, message):
    """Guards against tracebacks and other exit codes for mistakes of the user."""
    monkeypatch.chdir(tmp_path)
    (runs_folder() / "half").mkdir(parents=True)
    code, output, errors = command(*arguments)
    assert (code, output) == (2, "")
    assert errors.startswith("optical-mteb: error: ")
    assert message in errors
    assert errors.count("\n") == 1


def test_bases_and_students_are_listed(monkeypatch, command):
    """Guards against a base that nobody finds, and an empty table where a store has no students."""
    monkeypatch.setenv("COLUMNS", "60")
    _, output, _ = command("bases")
    assert {"pypi:multilingual-e5-small", "pypi:all-MiniLM-L6-v2"} <= set(output.split())
    code, output, _ = command("models")
    assert code == 0
    assert "train one: optical-mteb train quickstart" in output


def test_run_hands_its_arguments_to_mteb(command):
    """Guards against options of `mteb run` that the command keeps to itself, its help included."""
    code, output, _ = command("run", "--help")
    assert code == 0
    assert "usage: mteb run" in output
    assert "Example: optical-mteb run" in output
    assert "--prediction-folder" in output


@pytest.mark.long
def test_a_dry_run_trains_nothing(monkeypatch, command, tmp_path, tiny_base, own_home):
    """Guards against a dry run that trains or writes, and a table of other numbers than steps times batch size."""
    from optical_mteb.training.trainer import DistillationTrainer

    def train(*_, **__):
        raise AssertionError("a dry run trains")

    monkeypatch.setattr(DistillationTrainer, "train", train)
    monkeypatch.delenv("OPTICAL_MTEB_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    recipe = tiny_recipe(
        tiny_base,
        bitext=[{"source": "cldr:swh"}, {"source": "cldr:som"}],
        batches={"monolingual": 1, "cross_lingual": 2, "multilingual": 1},
        training={"steps": 3, "batch_size": 16},
    )
    path = write_toml(tmp_path / "dry.toml", recipe)
    code, output, _ = command("train", str(path), "--dry-run", "--device", "cpu")
    assert code == 0
    lines = output.splitlines()
    assert any(line.startswith("no overlap with test data: CLDRNameRetrieval") for line in lines)
    head = next(number for number, line in enumerate(lines) if line.split()[:2] == ["kind", "language"])
    assert lines[head].split() == ["kind", "language", "examples", "share", "tokens", "padding"]
    rows = [line.split() for line in lines[head + 1 : -1]]
    kinds = [["cross-lingual", "som"], ["cross-lingual", "swh"], ["monolingual", "eng"]]
    kinds += [["multilingual", "som"], ["multilingual", "swh"]]
    assert [row[:2] for row in rows[:-1]] == kinds
    assert rows[-1][:5] == ["all", "3", "languages", "48", "100.0%"]
    assert sum(int(row[2]) for row in rows[:-1]) == 48
    assert sum(int(row[4].replace(",", "")) for row in rows[:-1]) == int(rows[-1][5].replace(",", ""))
    assert lines[-1].startswith("3 steps, 0.")
    assert not own_home.exists() or not any(own_home.iterdir())
