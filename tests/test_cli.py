"""The command: exit codes, one-line errors, and help with an example."""

import sys

import pytest
from typer.testing import CliRunner

from optical_mteb import cli

RUNNER = CliRunner()
COMMANDS = ["train", "models", "bases", "compare"]


def run_main(monkeypatch, capsys, *arguments):
    """Runs the command as its console script does; returns exit code, output and errors."""
    monkeypatch.setattr(sys, "argv", ["optical-mteb", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    return stopped.value.code or 0, captured.out, captured.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    """Pins help without an example."""
    result = RUNNER.invoke(cli.app, [command, "--help"])
    assert result.exit_code == 0
    assert f"Example: optical-mteb {command}" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nothing.toml"], "recipe 'nothing.toml': no such file"),
        (["train", "quickstart", "--set", "training.stps=1"], "unknown key 'training.stps'; did you mean 'steps'?"),
        (
            ["run", "-m", "pypi:all-minilm-l6-v2", "-t", "x"],
            "model 'pypi:all-minilm-l6-v2' is unknown; did you mean 'pypi:a",
        ),
        (["models", "tico19-student"], "run: optical-mteb train tico19"),
        (["compare", "a/b", "c/d", "-t", "CLDRNameRetrieval", "--results", "."], "no results of a/b"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, message):
    """Pins tracebacks and other exit codes for mistakes of the user."""
    monkeypatch.chdir(tmp_path)
    code, output, errors = run_main(monkeypatch, capsys, *arguments)
    assert (code, output) == (2, "")
    assert errors.startswith("optical-mteb: error: ")
    assert message in errors
    assert errors.count("\n") == 1


def test_an_empty_store_says_how_to_fill_it(monkeypatch, capsys):
    """Pins an empty table."""
    code, output, _ = run_main(monkeypatch, capsys, "models")
    assert code == 0
    assert "train one: optical-mteb train quickstart" in output


def test_bases_are_listed(monkeypatch, capsys):
    """Pins a base that nobody finds."""
    for columns in ("200", "60"):
        monkeypatch.setenv("COLUMNS", columns)
        _, output, _ = run_main(monkeypatch, capsys, "bases")
        assert "pypi:multilingual-e5-small" in output
        assert "pypi:all-MiniLM-L6-v2" in output


def test_run_hands_its_arguments_to_mteb(monkeypatch, capsys):
    """Pins options of `mteb run` that the command keeps to itself, its help included."""
    code, output, _ = run_main(monkeypatch, capsys, "run", "--help")
    assert code == 0
    assert "usage: mteb run" in output
    assert "Example: optical-mteb run" in output
    assert "--prediction-folder" in output


DRY = """name = "dry"
[student]
base = "{base}"
prompt = "query"
[teacher]
base = "{base}"
[[bitext]]
source = "cldr:swh"
[[bitext]]
source = "cldr:som"
[batches]
monolingual = 1
cross_lingual = 2
multilingual = 1
[objective.optical]
[training]
steps = 3
batch_size = 16
"""


def test_a_dry_run_trains_nothing(monkeypatch, capsys, tmp_path, tiny_base, own_home):
    """Pins a dry run that trains or writes, and a table of other numbers than steps times batch size."""
    from optical_mteb.training.trainer import DistillationTrainer

    def train(*_, **__):
        raise AssertionError("a dry run trains")

    monkeypatch.setattr(DistillationTrainer, "train", train)
    monkeypatch.delenv("OPTICAL_MTEB_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    path = tmp_path / "dry.toml"
    path.write_text(DRY.format(base=tiny_base))
    code, output, _ = run_main(monkeypatch, capsys, "train", str(path), "--dry-run", "--device", "cpu")
    assert code == 0
    lines = output.splitlines()
    assert any(line.startswith("no pair is in CLDRNameRetrieval") for line in lines)
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
