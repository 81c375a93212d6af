"""`optical-mteb submit --push`: what is handed over, to whom, and that nothing is without credentials."""

import pytest

from optical_mteb.submission import push as pushing
from optical_mteb.submission.package import OVERVIEW
from tests.submission.conftest import COMMIT, TASK, lose_a_subset


@pytest.fixture
def submit(tmp_path, write, quick, command):
    """Runs the command on a result on a task of MTEB and one of ours; returns its exit code and output."""
    write()
    write("LocalWordsRetrieval")
    words = ["submit", "tiny-student", "--output", str(tmp_path / "made"), "--results", str(tmp_path / "cache")]
    return lambda *options: command(*words, "--no-rerun", *options)[:2]


def test_both_are_handed_over(tmp_path, submit, online):
    """Guards against results under another revision than that of the upload, or of tasks that MTEB does not have."""
    code, output = submit("--push", "--hub-id", "a/b")
    assert code == 0
    assert online == [
        ("create", "model", "a/b"),
        ("upload", "model", "a/b", True),
        ("cache", tmp_path / "made"),
        ("submit", ["a/b"], [TASK], True),
    ]
    assert (tmp_path / "made" / "results" / "a__b" / COMMIT / f"{TASK}.json").is_file()
    assert "https://github.com/pull/1" in output


def test_weights_that_are_uploaded_stay(submit, online):
    """Guards against a second upload, whose commit is not the one that was given."""
    assert submit("--push", "--hub-id", "a/b", "--revision", COMMIT)[0] == 0
    assert [each[0] for each in online] == ["cache", "submit"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "lacking", "said"),
    [
        (["--hub-id", "a/b"], "get_token", "would upload {made}/hub to https://huggingface.co/a/b (no token"),
        ([], None, "would upload {made}/hub to the Hub (name the repository: --hub-id OWNER/NAME)"),
        (["--hub-id", "a/b"], "connection", "(HF_HUB_OFFLINE is set)"),
        (["--hub-id", "a/b", "--revision", COMMIT], "connection", "(HF_HUB_OFFLINE is set)"),
        (["--hub-id", "a/b", "--revision", COMMIT], "check_pull_request_tools", "(no GitHub token)"),
    ],
)
def test_without_credentials_it_is_said(tmp_path, submit, online, monkeypatch, options, lacking, said):
    """Guards against a submission that fails where it should only say what it would do."""

    def refuse():
        raise RuntimeError("no GitHub token")

    if lacking == "get_token":
        monkeypatch.setattr(pushing, "get_token", lambda: None)
    elif lacking == "check_pull_request_tools":
        monkeypatch.setattr(pushing, "check_pull_request_tools", refuse)
    elif lacking == "connection":
        monkeypatch.setattr(pushing.constants, "HF_HUB_OFFLINE", True)
    code, output = submit("--push", *options)
    assert code == 0
    assert online == []
    assert said.format(made=tmp_path / "made") in output
    name = "a/b" if options else "optical-mteb/tiny-student"
    assert f"would run: mteb submit-results -m {name} -t {TASK} --output-folder {tmp_path / 'made'}" in output


def test_a_failed_check_hands_nothing_over(tmp_path, submit, write, online):
    """Guards against an upload of what a check has failed, an exit code of 0, and other tasks that are kept back with it.

    And against a pull request without results.
    """
    lose_a_subset(write())
    code, output = submit("--push", "--hub-id", "a/b")
    assert (code, online) == (1, [])
    assert f"FAILED  no split, subset or language is dropped: {TASK}: test lacks 1 of 2" in output
    overview = (tmp_path / "made" / OVERVIEW).read_text()
    assert "| FAILED | no split, subset or language is dropped |" in overview
    code, output = submit("--push", "--hub-id", "a/b", "--revision", COMMIT, "-t", "LocalWordsRetrieval")
    assert (code, online) == (0, [])
    assert "nothing for the results repository: MTEB does not have LocalWordsRetrieval" in output
    assert TASK not in next((tmp_path / "made").rglob("run_settings.jsonl")).read_text()
