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
        (["models", "optical-student"], "run: optical-mteb train quickstart"),
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
