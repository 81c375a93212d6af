"""Running the trainings of a study: each once, whoever else runs the study in the same folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import disable_progress_bars
from mteb.abstasks import AbsTaskRetrieval

from optical_mteb.bases import base_revision
from optical_mteb.errors import InputError
from optical_mteb.hardware import check_device, computes_in_bfloat16
from optical_mteb.students.meta import load_student
from optical_mteb.study.cells import DIGITS, CellFolder, CellRecord
from optical_mteb.study.evaluation import METRICS, evaluate
from optical_mteb.study.experiment import Say, forget, trained, untrained
from optical_mteb.study.grid import ZERO_SHOT
from optical_mteb.study.jobs import Job, Study, describe, find_recipe_of, load_study
from optical_mteb.training.frozen_layers import shared_layers

LIBRARIES = ("optical-mteb", "mteb", "sentence-transformers", "transformers", "torch")


def run(
    study: Study, cells: CellFolder, jobs: Sequence[Job], *, device: str | None = None, say: Say = print
) -> dict[str, str]:
    """Train and score what is not done; what another process has in hand is left to it, and done here if it dies.

    Args:
        study: The study.
        cells: Where records are kept.
        jobs: Trainings of the study to run.
        device: As in `train`.
        say: Takes the lines that report progress.

    Returns:
        Why trainings failed, by fingerprint.

    Raises:
        InputError: The device is not there, the folder cannot be written to, or a record in it is damaged.
    """
    check_device(device)
    disable_progress_bars()
    failed: dict[str, str] = {}
    loaded: dict[str, AbsTaskRetrieval] = {}
    missing = [job for job in jobs if cells.read(job.fingerprint) is None]
    started = time.monotonic()
    for number, job in enumerate(_in_turn(cells, missing), start=1):
        left = (time.monotonic() - started) / max(number - 1, 1) * (len(missing) - number + 1)
        say(
            f"{number} of {len(missing)}: {describe(job.training)}{f', about {left / 60:.0f} min left' if number > 1 else ''}"
        )
        try:
            record = run_job(study, job, device=device, loaded=loaded)
        except InputError as error:
            failed[job.fingerprint] = f"{describe(job.training)}: {error}"
            say(f"  failed: {error}")
            continue
        cells.write(record)
        say(f"  trained in {record.figures.get('seconds', 0):.0f} s, scored in {record.evaluation_seconds:.0f} s")
    return failed


def run_on_ray(
    study: Study,
    cells: CellFolder,
    jobs: Sequence[Job],
    *,
    address: str | None = None,
    workers: int | None = None,
    device: str | None = None,
    say: Say = print,
) -> dict[str, str]:
    """Train and score what is not done on the workers of a Ray cluster; records are written here.

    Every machine of it must find the study's file, its bitext and its data under the same names. Arguments and what
    comes back are as in `run`; `address` and `workers` as in `cluster`.

    Raises:
        InputError: As in `run`; or Ray is not installed, no cluster answers, or workers keep dying.
    """
    from optical_mteb.ray_cluster import cluster, spread

    failed: dict[str, str] = {}
    words = {job.fingerprint: describe(job.training) for job in jobs}
    with cluster(address, workers=workers) as number, ExitStack() as held:
        missing = [
            (study.path.absolute(), fingerprint, device)
            for fingerprint in words
            if held.enter_context(cells.held(fingerprint)) and cells.read(fingerprint) is None
        ]
        say(f"{len(missing)} trainings by Ray, {number} workers")
        for count, ((_, fingerprint, _), answer) in enumerate(spread(_run_remotely, missing), start=1):
            if isinstance(answer, str):
                failed[fingerprint] = f"{words[fingerprint]}: {answer}"
                say(f"{count} of {len(missing)}: {words[fingerprint]}: failed: {answer}")
                continue
            cells.write(answer)
            say(f"{count} of {len(missing)}: {words[fingerprint]}: done in {answer.seconds():.0f} s")
    return failed


def _run_remotely(item: tuple[Path, str, str | None]) -> CellRecord | str:
    """The record of the training of a study's file, a fingerprint and a device; or why there is none."""
    path, fingerprint, device = item
    disable_progress_bars()
    try:
        study = load_study(path)
        job = next((job for job in study.jobs.values() if job.fingerprint == fingerprint), None)
        if job is None:
            return "a worker has another bitext, base or task; bring all machines to the same state"
        return run_job(study, job, device=device)
    except InputError as error:
        return str(error)


def run_job(
    study: Study, job: Job, *, device: str | None = None, loaded: dict[str, AbsTaskRetrieval] | None = None
) -> CellRecord:
    """Train a student, where it is not in the store yet, and score it; it leaves the store unless it is to be kept.

    `device` is as in `train`, `loaded` as in `evaluate`.

    Raises:
        InputError: The training or a task fails.
    """
    settings = study.settings
    if job.training.approach == ZERO_SHOT:
        model, base = untrained(job.recipe.student, device)
        revision, figures = base_revision(base), {}
    else:
        recipe_folder = find_recipe_of(settings, study.path).parent
        sidecar = trained(job.recipe, recipe_folder=recipe_folder, device=device, say=lambda _: None)
        model = load_student(sidecar.name, sidecar.weights, device)
        revision, figures = sidecar.weights, sidecar.metrics
    chosen = job.recipe.training.precision
    low = chosen == "auto" and computes_in_bfloat16(model.model.device)
    precision = torch.bfloat16 if low or chosen == "bfloat16" else torch.float32
    started = time.monotonic()
    scores = evaluate(
        model,
        settings.tasks,
        batch_size=settings.batch_size,
        precision=precision,
        shared=shared_layers(job.recipe.student),
        loaded=loaded,
    )
    seconds = time.monotonic() - started
    queries = {
        task: {subset: sorted(by_metric[METRICS[0]]) for subset, by_metric in subsets.items()}
        for task, subsets in scores.items()
    }
    record = CellRecord(
        fingerprint=job.fingerprint,
        determined_by=job.determined_by,
        student=revision,
        figures=figures,
        evaluation_seconds=round(seconds, 1),
        precision="bfloat16" if precision == torch.bfloat16 else "float32",
        versions={library: version(library) for library in LIBRARIES},
        queries=queries,
        scores={
            task: {
                subset: {
                    metric: [round(by_query[query], DIGITS) for query in queries[task][subset]]
                    for metric, by_query in by_metric.items()
                }
                for subset, by_metric in subsets.items()
            }
            for task, subsets in scores.items()
        },
    )
    if job.training.approach != ZERO_SHOT and not settings.keep_students:
        forget(job.recipe.name)
    return record


def _in_turn(cells: CellFolder, jobs: Sequence[Job]) -> Iterator[Job]:
    """Jobs that are not done, held while they are worked on; those that another process has in hand come last."""
    busy = []
    for job in jobs:
        with cells.held(job.fingerprint) as mine:
            if not mine:
                busy.append(job)
            elif cells.read(job.fingerprint) is None:
                yield job
    for job in busy:
        with cells.held(job.fingerprint, wait=True):
            if cells.read(job.fingerprint) is None:
                yield job
