"""Running expectations: verdicts by hand, and commands that fail or touch what is not theirs."""

import re

import pytest

from optical_mteb.errors import InputError
from optical_mteb.scores.expected import Expectation
from optical_mteb.scores.reproduction import _own_store, check, run_commands
from tests.scores.conftest import INSTALLED_DATA

COMMAND = "mteb run -m a/base -t CLDRNameRetrieval"
SCORES = {"som-eng": {"q": 0.5}, "swh-eng": {"q": 0.75}}


def expected(name="one", scores=None, **changes):
    default = {"som-eng": {"ndcg_at_10": 0.5}, "swh-eng": {"ndcg_at_10": 0.75}}
    known = {"revision": "r1", "data_revision": INSTALLED_DATA, "tolerance": 0.001, "versions": {"mteb": "1.0"}}
    fields = {"commands": [COMMAND], "model": "a/base", "task": "CLDRNameRetrieval", **known, **changes}
    return Expectation(name=name, scores=scores or default, **fields)


@pytest.fixture
def runs(write, cache):
    """Builds a runner whose commands leave given results, as `mteb run` does in its folder."""

    def runner(scores=SCORES, model="a/base", **options):
        def run(commands, folder):
            write(model, scores, **options)
            cache.rename(folder / "results")

        return run

    return runner


TRAINED = {"commands": ["optical-mteb train quickstart"]}
OTHER = {"data": "CLDR-46", "experiment": {"index": "hnsw"}}


@pytest.mark.parametrize(
    ("changes", "left", "som", "swh", "notes"),
    [
        # At the edge of the tolerance, where floats differ.
        ({}, {"scores": {"som-eng": {"q": 0.499}, "swh-eng": {"q": 0.751}}}, "met", "met", []),
        ({}, {"scores": {**SCORES, "som-eng": {"q": 0.4989}}}, "miss", "met", [r"expected with mteb 1\.0 \(here 2\."]),
        ({}, {"scores": {"som-eng": {"q": 0.5}}}, "met", "no score", ["expected with mteb"]),
        (
            {"versions": {}},
            {"scores": {**SCORES, "som-eng": {"q": 0.6}}, "revision": "r2"},
            "other revision, miss",
            "other revision",
            ["expected of revision r1; got of r2$"],
        ),
        # The last digits of a student that is trained here are the processor's.
        (TRAINED, {"revision": "r2"}, "met", "met", []),
        (
            {"versions": {}},
            OTHER,
            "other data, other settings",
            "other data, other settings",
            [
                f"expected on data revision {INSTALLED_DATA}; got on CLDR-46$",
                "got under settings of their own: index = hnsw$",
            ],
        ),
    ],
)
def test_verdicts(runs, changes, left, som, swh, notes):
    """Guards against a miss in another language, one that counts as met, scores of another model, other data or an index.

    And silence about why, and an update without one of the scores.
    """
    [outcome] = check([expected(**changes)], run=runs(**left))
    assert [(found.subset, found.verdict) for found in outcome.findings] == [("som-eng", som), ("swh-eng", swh)]
    assert outcome.is_met == (som == swh == "met")
    assert len(outcome.notes) == len(notes)
    assert all(re.match(f"one: {wanted}", note) for wanted, note in zip(notes, outcome.notes, strict=True))
    assert (outcome.made and outcome.made.revision) == (None if swh == "no score" else left.get("revision", "r1"))


def test_new_ones_are_filled_in(runs):
    """Guards against an entry without scores that counts as met, and one that an update leaves incomplete."""
    new = expected(scores={"som-eng": {"map_at_100": None}}, revision=None, data_revision=None, versions={})
    [outcome] = check([new], run=runs())
    [found] = outcome.findings
    assert (found.subset, found.metric, found.verdict) == ("som-eng", "map_at_100", "new")
    assert not outcome.is_met
    made = outcome.made
    assert (made.revision, made.data_revision, made.scores) == ("r1", INSTALLED_DATA, {"som-eng": {"map_at_100": 0.5}})
    assert {"mteb", "torch", "optical-mteb"} <= made.versions.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"edit": lambda content: content["scores"]["test"][0].update(ndcg_at_10=float("nan"))},
            "one: .*CLDRNameRetrieval.json: subset som-eng: ndcg_at_10 is NaN, expected a number",
        ),
        ({"model": "b/other"}, "one: the commands left no results of a/base; of b/other"),
        ({"task": "NTREXRetrieval"}, "one: .*no results on CLDRNameRetrieval"),
    ],
)
def test_results_that_say_nothing_fail(runs, options, message):
    """Guards against damaged or absent results that stop the other expectations, or count as met."""
    [outcome] = check([expected()], run=runs(**options))
    assert not outcome.is_met
    assert outcome.made is None
    [note] = outcome.notes
    assert re.search(message, note), note


def test_the_same_commands_run_once(runs):
    """Guards against a training for every task, outcomes in another order, and a failure that stops the rest."""
    asked = []

    def run(commands, folder):
        asked.append(list(commands))
        assert list(folder.iterdir()) == []
        if len(asked) == 1:
            raise InputError("mteb run: exit code 1: no such model")
        runs()(commands, folder)

    other = [COMMAND, COMMAND]
    outcomes = check([expected("a"), expected("b", commands=other), expected("c")], run=run)
    assert asked == [[COMMAND], other]
    assert [outcome.expectation.name for outcome in outcomes] == ["a", "b", "c"]
    assert [outcome.is_met for outcome in outcomes] == [False, True, False]
    assert outcomes[2].notes == ["c: mteb run: exit code 1: no such model"]


@pytest.mark.long
def test_commands_have_a_store_of_their_own(tmp_path, own_home, monkeypatch):
    """Guards against a student of the user's that is scored or overwritten, and bases that are converted anew."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("OPTICAL_MTEB_DATA", "data")
    (own_home / "students" / "mine").mkdir(parents=True)
    (own_home / "students" / "mine" / "optical.json").write_text("{}")
    (tmp_path / "run").mkdir()
    run_commands(["optical-mteb models"], tmp_path / "run")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert f"no student in {tmp_path / 'run' / 'home' / 'students'}" in "".join(log.split("\n"))
    assert (tmp_path / "run" / "home" / "bases").resolve() == own_home / "bases"
    (tmp_path / "again").mkdir()
    with pytest.raises(InputError, match=r"^optical-mteb models nobody: exit code 2: .*'nobody' is not trained yet"):
        run_commands(["optical-mteb models nobody"], tmp_path / "again")


def test_a_home_that_cannot_be_written_to_is_not_needed(tmp_path, monkeypatch):
    """Guards against a traceback of `expect` on a read-only home."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OPTICAL_MTEB_HOME", str(tmp_path / "file" / "home"))
    assert list(_own_store(tmp_path).iterdir()) == []
    monkeypatch.setenv("OPTICAL_MTEB_HOME", str(tmp_path / "mine"))
    (tmp_path / "other").mkdir()
    assert sorted(path.name for path in _own_store(tmp_path / "other").iterdir()) == ["bases", "data"]
