"""The commands on scores: what they print, and their exit codes."""

import pytest

from optical_mteb.scores import reproduction
from tests.scores.conftest import INSTALLED_DATA

ENTRY = f"""\
- name: {{name}}
  commands: [mteb run -m a/base -t CLDRNameRetrieval]
  model: a/base
  revision: r1
  task: CLDRNameRetrieval
  data_revision: {INSTALLED_DATA}
  tolerance: 0.001
  scores:
    som-eng: {{{{ndcg_at_10: {{som}}}}}}
    swh-eng: {{{{ndcg_at_10: 0.75}}}}
"""


@pytest.fixture(autouse=True)
def made(monkeypatch, tmp_path, write, cache):
    """Has commands of expectations leave one result."""

    def run(commands, folder):
        write("a/base", {"som-eng": {"q": 0.5}, "swh-eng": {"q": 0.75}})
        cache.rename(folder / "results")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(reproduction, "run_commands", run)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "project" / "expected.yaml"
    path.parent.mkdir()
    path.write_text("# Kept.\n" + ENTRY.format(name="right", som=0.5) + ENTRY.format(name="wrong", som=0.6))
    return path


def test_expect_fails_on_a_miss_alone(command, file):
    """Guards against an exit code that CI reads wrongly, and a table that does not say what was missed."""
    code, output, errors = command("expect", "--file", str(file))
    assert code == 1
    rows = [line.split() for line in output.splitlines()]
    assert rows[0] == ["expectation", "subset", "score", "expected", "got", "difference", "verdict"]
    assert ["right", "som-eng", "ndcg_at_10", "0.50000", "0.50000", "+0.00000", "met"] in rows
    assert ["wrong", "som-eng", "ndcg_at_10", "0.60000", "0.50000", "-0.10000", "miss"] in rows
    assert sum("miss" in row for row in rows) == 1
    assert errors == "1 of 1: right, wrong: mteb run -m a/base -t CLDRNameRetrieval\n"


def test_only_some_are_run(command, file):
    """Guards against a pattern that is not looked at, and one that fits nothing and passes."""
    code, output, _ = command("expect", "--only", "ri*", "--file", str(file))
    assert code == 0
    assert "wrong" not in output
    code, output, errors = command("expect", "--only", "x*", "--file", str(file))
    assert (code, output) == (2, "")
    assert "no expectation fits 'x*'; there are right, wrong" in errors


def test_an_update_is_a_small_difference(command, file):
    """Guards against an update that changes what was met, or that does not make the next run pass."""
    before = file.read_text()
    code, output, _ = command("expect", "--update", "--file", str(file))
    assert code == 0
    assert f"wrote wrong into {file}; review the difference" in output
    assert file.read_text().startswith(before[: before.index("- name: wrong")])
    assert command("expect", "--file", str(file))[0] == 0


def test_an_update_does_not_hide_a_failure(command, file, monkeypatch):
    """Guards against exit code 0 of an update that had nothing to write."""

    def run(commands, folder):
        pass

    monkeypatch.setattr(reproduction, "run_commands", run)
    before = file.read_text()
    code, output, _ = command("expect", "--update", "--file", str(file))
    assert code == 1
    assert [line.split() for line in output.splitlines()[1:3]] == [["right", "failed"], ["wrong", "failed"]]
    assert "right: the commands left no results of a/base; of none" in output
    assert file.read_text() == before


def test_scores_are_exported(command, write, tmp_path):
    """Guards against arguments that do not arrive."""
    write("a/base", {"som-eng": {"q1": 0.5, "q2": 1.0}})
    assert command("scores", "export", "a/base")[:2] == (0, "wrote base-csv\n")
    assert (tmp_path / "base-csv" / "scores.csv").read_text().splitlines()[1:] == [
        "CLDRNameRetrieval,test,som-eng,q1,0.5,0.5",
        "CLDRNameRetrieval,test,som-eng,q2,1.0,1.0",
    ]
    code, _, errors = command("scores", "export", "a/base", "--format", "trec")
    assert code == 2
    assert "--predictions" in errors
