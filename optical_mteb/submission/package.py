"""Preparing a submission: the folder with all that the leaderboard asks for, and the checks of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mteb.models.model_implementations import MODEL_REGISTRY

from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder
from optical_mteb.submission.checks import SubmissionCheck, Verdict, check_results
from optical_mteb.submission.hub_folder import check_hub_folder, load_hub_folder, write_hub_folder
from optical_mteb.submission.isolated import check_isolated
from optical_mteb.submission.published import (
    Published,
    as_published,
    local_paths,
    missing_fields,
    model_source,
    published_meta,
    source_name,
)
from optical_mteb.submission.pull_requests import LONGEST, model_pull_request, results_pull_request
from optical_mteb.submission.results_folder import Evaluated, read_results, write_results
from optical_mteb.submission.trial import check_mock_run, check_rerun

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta

OVERVIEW = "SUBMISSION.md"
"""The first thing to read in a prepared folder; without it, a folder is not ours to replace."""

CLONE = "remote"
"""Where mteb keeps its clone of the results repository, in a result cache."""

MODEL_REQUEST, RESULTS_REQUEST = "pull_request_mteb.md", "pull_request_results.md"


@dataclass(frozen=True)
class Submission:
    """A prepared submission: its folder, the student as published, and what the checks say."""

    folder: Path
    student: Published
    meta: ModelMeta
    results: list[Evaluated]
    checks: list[SubmissionCheck]

    @property
    def submittable(self) -> list[str]:
        """Tasks that MTEB itself has."""
        return [each.task for each in self.results if each.in_mteb]

    @property
    def waiting(self) -> list[str]:
        """Tasks that live only here."""
        return [each.task for each in self.results if not each.in_mteb]

    @property
    def is_sound(self) -> bool:
        """Whether no check failed."""
        return all(check.verdict is not Verdict.FAILED for check in self.checks)


def prepare(
    model: str,
    output: Path,
    *,
    cache: Path = Path("results"),
    tasks: Sequence[str] = (),
    hub_id: str | None = None,
    revision: str | None = None,
    rerun: bool = True,
) -> Submission:
    """Write a submission and check it, without network.

    Args:
        model: Name of a student.
        output: Folder to write; an older submission there is replaced, mteb's clone of the repository kept.
        cache: Result folder of `mteb run`.
        tasks: Tasks to submit; all that there are results of by default.
        hub_id: `owner/name` of the student's repository on the Hub.
        revision: Commit of the weights there.
        rerun: Run a sample of the results again.

    Raises:
        InputError: The student, its results or the options are not usable, or the folder holds something else.
    """
    student = as_published(model, hub_id=hub_id, revision=revision)
    _check_replaceable(output)
    results = read_results(student, cache, tasks)
    meta = published_meta(student)
    with _clone_kept(output) as park, atomic_folder(output) as folder:
        write_results(results, meta, folder)
        write_hub_folder(student, meta, folder / "hub")
        source = folder / "mteb" / "models" / "model_implementations" / source_name(meta)
        source.parent.mkdir(parents=True)
        source.write_text(model_source(meta), encoding="utf-8")
        request = model_pull_request(student, meta, results)
        (folder / MODEL_REQUEST).write_text(request, encoding="utf-8")
        (folder / RESULTS_REQUEST).write_text(results_pull_request(student, meta, results), encoding="utf-8")
        too_long = [f"{len(request):,} characters; shorten {MODEL_REQUEST}"] if len(request) > LONGEST else []
        loaded = load_hub_folder(folder / "hub", meta)
        checks = [
            *check_results(folder, results),
            *check_hub_folder(folder / "hub", student),
            check_isolated(source, folder / "hub", meta),
            check_mock_run(loaded, folder / "mteb" / "mteb_mock_run_results.md"),
            *([check_rerun(loaded, results)] if rerun else []),
            SubmissionCheck.of(f"the text for mteb has at most {LONGEST:,} characters", too_long),
            *_left_to_do(student, meta, results),
        ]
        submission = Submission(output, student, meta, results, checks)
        (folder / OVERVIEW).write_text(_overview(submission, source.relative_to(folder)), encoding="utf-8")
        park()
    return submission


@contextmanager
def _clone_kept(output: Path) -> Iterator[Callable[[], None]]:
    """Takes mteb's clone over into the folder that replaces a submission; the block calls what moves it aside.

    A clone that a killed process had moved aside is taken over, too: no moment has it in a folder that is removed.
    """
    place = Path(os.path.realpath(output))
    aside = place.with_name(f".{place.name}.{CLONE}")

    def park() -> None:
        if (place / CLONE).is_dir():
            shutil.rmtree(aside, ignore_errors=True)
            (place / CLONE).rename(aside)

    try:
        yield park
    finally:
        if aside.is_dir() and place.is_dir() and not (place / CLONE).exists():
            aside.rename(place / CLONE)


def _check_replaceable(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file; expected a folder to write")
    if output.is_dir() and any(output.iterdir()) and not (output / OVERVIEW).is_file():
        raise InputError(f"{output}: holds something else than a submission; choose a new or an empty folder")


def _left_to_do(student: Published, meta: ModelMeta, results: Sequence[Evaluated]) -> list[SubmissionCheck]:
    """What no check on this machine can settle."""
    left: dict[str, str] = {}
    if student.commit is None:
        left["the revision is a commit on the Hub"] = (
            f"{student.revision[:12]} is the hash of the student's weights; upload hub/, then prepare this again "
            "with --hub-id OWNER/NAME --revision COMMIT, or let --push do both"
        )
    if paths := local_paths(student.sidecar):
        left["the card names nothing by its path"] = (
            f"hub/README.md has {', '.join(paths)}; say what they are before you upload it"
        )
    if unknown := missing_fields(meta):
        left["ModelMeta is filled out"] = f"not known: {', '.join(unknown)}"
    known = MODEL_REGISTRY.get(str(meta.name))
    if known is None or getattr(known.loader, "__module__", "").startswith("optical_mteb."):
        left["mteb has the model"] = f"open the pull request of {MODEL_REQUEST} first"
    if waiting := [each.task for each in results if not each.in_mteb]:
        left["MTEB has the tasks"] = f"not submittable yet, since they live only here: {', '.join(waiting)}"
    return [SubmissionCheck(name, Verdict.OPEN, detail) for name, detail in left.items()]


def _overview(submission: Submission, source: Path) -> str:
    meta, folder = submission.meta, f"results/{submission.meta.model_name_as_path()}/{submission.meta.revision}"
    submittable = ", ".join(submission.submittable) or "none"
    waiting = ", ".join(submission.waiting) or "none"
    checks = "\n".join(f"| {check.verdict} | {check.name} | {check.detail} |" for check in submission.checks)
    return (
        f"# {meta.name}, prepared for MTEB's leaderboard\n\n"
        "| file | where it goes |\n|---|---|\n"
        f"| `hub/` | {meta.reference or 'a repository of yours on the Hub'} |\n"
        f"| `{source}` | github.com/embeddings-benchmark/mteb, `{source}` |\n"
        f"| `mteb/mteb_mock_run_results.md` | with it |\n"
        f"| `{MODEL_REQUEST}` | title and text of that pull request |\n"
        f"| `{folder}/` | github.com/embeddings-benchmark/results, `{folder}/`: the tasks to submit |\n"
        f"| `{RESULTS_REQUEST}` | title and text of that pull request |\n\n"
        f"Tasks to submit: {submittable}.\n\nNot submittable yet, since MTEB does not have them: {waiting}.\n\n"
        f"| verdict | check | |\n|---|---|---|\n{checks}\n"
    )
