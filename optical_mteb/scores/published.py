"""Results that MTEB's results repository has of a model: means, without scores by query."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mteb import ResultCache
from mteb.models.model_implementations import MODEL_REGISTRY

from optical_mteb.collection.published_data import offline
from optical_mteb.errors import InputError
from optical_mteb.scores.results import ModelResults, results_of

REPOSITORY = "https://github.com/embeddings-benchmark/results"


def published_results(model: str, tasks: Sequence[str] = ()) -> ModelResults:
    """Find the published results of one revision of a model.

    Args:
        model: MTEB's name of the model; `@` and the start of a revision behind it choose that revision, else it is the
            one that MTEB runs, or the only one.
        tasks: Look for results on any of these only.

    Raises:
        InputError: There are none, or of several revisions; or the repository is not here and cannot be fetched.
    """
    name, _, revision = model.partition("@")
    folder = results_repository()
    if not revision:
        revision = _known_revision(name, folder, tasks)
    try:
        return replace(results_of(name, revision, folder, tasks), published=True)
    except InputError as error:
        raise InputError(f"--published {model}: {str(error).partition('; run: ')[0]}") from None


def _known_revision(name: str, folder: Path, tasks: Sequence[str]) -> str:
    """The revision that MTEB runs, where the repository has results of it; else empty."""
    meta = MODEL_REGISTRY.get(name)
    if meta is None or not meta.revision:
        return ""
    known = folder / "results" / name.replace("/", "__") / meta.revision
    names = [f"{task}.json" for task in tasks] or ["*.json"]
    return meta.revision if any(any(known.glob(pattern)) for pattern in names) else ""


def results_repository() -> Path:
    """The copy of the results repository in MTEB's cache (`MTEB_CACHE`); fetched where there is none.

    A copy that is there stays as it is: `git pull` in it brings newer results.

    Raises:
        InputError: There is none, and it cannot be fetched.
    """
    cache = ResultCache()
    place = cache.remote_repo_path
    hint = f"get it by: git clone --depth 1 {REPOSITORY} {place}"
    try:
        if not cache.has_remote:
            if offline():
                raise InputError(f"{place}: MTEB's results are not here, and HF_HUB_OFFLINE is set; {hint}")
            cache.download_from_remote(REPOSITORY)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"MTEB's results repository cannot be fetched ({error}); {hint}") from None
    return place


def published_note(results: ModelResults) -> str:
    """What to know of a side that is published."""
    return (
        f"{results.model} at {results.revision[:12]}: published means of MTEB's results repository, without scores by "
        "query; no test of significance"
    )
