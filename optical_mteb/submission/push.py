"""Handing a submission over: to the Hub by huggingface_hub, to the results repository by mteb."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from huggingface_hub import HfApi, constants, get_token
from mteb import ResultCache

from optical_mteb.mteb_compat import check_pull_request_tools
from optical_mteb.submission.package import MODEL_REQUEST

if TYPE_CHECKING:
    from optical_mteb.submission.package import Submission

Say = Callable[[str], None]


def push(submission: Submission, again: Callable[[str], Submission], *, say: Say = print) -> Submission:
    """Upload the weights, prepare the submission `again` for their commit, and open the pull request of the results.

    Steps that need a repository, credentials or a connection are skipped with a message. Returns what was handed over.
    """
    if submission.student.commit is None:
        commit = _upload(submission, say)
        if commit is not None:
            submission = again(commit)
            for check in submission.checks:
                say(str(check))
    if submission.is_sound:
        _submit(submission, say)
        say(f"then open a pull request to embeddings-benchmark/mteb: {submission.folder / MODEL_REQUEST} has its text")
    else:
        say("a check failed: no results are handed over")
    return submission


def _upload(submission: Submission, say: Say) -> str | None:
    name, folder = submission.student.name, submission.folder / "hub"
    reason = why_no_upload(submission.student.hub_id)
    if reason:
        say(f"would upload {folder} to {submission.meta.reference or 'the Hub'} ({reason})")
        return None
    api = HfApi()
    api.create_repo(name, exist_ok=True)
    commit: str = api.upload_folder(repo_id=name, folder_path=folder, commit_message="Add the model").oid
    say(f"uploaded {folder} to {submission.meta.reference}, commit {commit}")
    return commit


def why_no_upload(hub_id: str | None) -> str | None:
    """What keeps a folder from being uploaded to a repository on the Hub; None where nothing does."""
    if hub_id is None:
        return "name the repository: --hub-id OWNER/NAME"
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    return None if get_token() else "no token: hf auth login"


def _submit(submission: Submission, say: Say) -> None:
    tasks, name = submission.submittable, submission.student.name
    if not tasks:
        say(f"nothing for the results repository: MTEB does not have {', '.join(submission.waiting)}")
        return
    command = f"mteb submit-results -m {name} -t {' '.join(tasks)} --output-folder {submission.folder} --create-pr"
    reason = _why_no_request(submission)
    if reason:
        say(f"would run: {command} ({reason})")
        return
    say(command)
    answer = ResultCache(submission.folder).submit_results([name], tasks=tasks, create_pr=True)
    say(f"results: {answer.get('pr_url') or answer['status']}")


def _why_no_request(submission: Submission) -> str | None:
    if submission.student.commit is None:
        return "once the weights are on the Hub"
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    # Without it, git asks at the terminal for what it does not have.
    os.environ.setdefault("GIT_TERMINAL_PROMPT", "0")
    try:
        check_pull_request_tools()
    except (ImportError, RuntimeError) as error:
        return (str(error).splitlines() or ["no GitHub token"])[0]
    return None
