"""Results of a student: read and checked, and written as the results repository has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mteb import TaskResult

from optical_mteb.errors import InputError
from optical_mteb.mteb_compat import merge_run_settings, read_run_settings, task_registry
from optical_mteb.scores.per_query import read_scores, splits_of
from optical_mteb.scores.results import ModelResults, find_results

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta

    from optical_mteb.submission.published import Published

RUN_SETTINGS = "run_settings.jsonl"
"""What `mteb run` writes beside results: the versions and settings of every split and subset."""


@dataclass(frozen=True)
class Evaluated:
    """A student's result on one task, and the file that it is from.

    The results repository takes no tasks but those that MTEB itself has: `in_mteb`.
    """

    task: str
    path: Path
    result: TaskResult
    in_mteb: bool


def read_results(student: Published, cache: Path, tasks: Sequence[str] = ()) -> list[Evaluated]:
    """Read the results of a student, registered with MTEB, from the folder of `mteb run`; on all tasks by default.

    Raises:
        InputError: There are no results; they are of other weights, other data than the installed task's, two
            revisions, or an index; or a file is damaged, edited, renamed, or has scores that are no numbers.
    """
    if not cache.is_dir():
        raise InputError(f"{cache}: no such folder; expected the --output-folder of mteb run -m {student.sidecar.name}")
    found = find_results(student.local_name, cache, tasks)
    if found.experiment:
        settings = ", ".join(f"{name}={value}" for name, value in found.experiment.items())
        raise InputError(
            f"{found.folder}: made with extra settings, such as an approximate index ({settings}); "
            f"expected plain results: mteb run -m {student.sidecar.name}"
        )
    if found.revision != student.sidecar.weights:
        raise InputError(
            f"{found.folder}: results of revision {found.revision[:12]}, but the student in the store is of revision "
            f"{student.sidecar.weights[:12]}; evaluate it again: mteb run -m {student.sidecar.name}"
        )
    return [_evaluated(found, task) for task in (tasks or found.tasks)]


def _evaluated(found: ModelResults, task: str) -> Evaluated:
    path = found.path(task)
    if task not in task_registry():
        raise InputError(f"{path}: neither MTEB nor this package has a task {task}; leave it out with -t")
    installed = task_registry()[task]
    for split in splits_of(found, task):
        read_scores(found, task, [], split=split)
    result = TaskResult.from_disk(path)
    if result.dataset_revision != installed.metadata.revision:
        raise InputError(
            f"{path}: data of revision {result.dataset_revision}, but the installed task's is "
            f"{installed.metadata.revision}; evaluate the model again"
        )
    if not main_scores(result):
        raise InputError(f"{path}: has no scores; evaluate the model again")
    for split, rows in result.scores.items():
        shared = set.intersection(*({name for name, value in row.items() if _is_score(value)} for row in rows))
        # MTEB's nAUC is NaN where all queries score alike.
        names = sorted(name for name in shared - {"main_score"} if not name.startswith("nauc_"))
        read_scores(found, task, names, split=split)
    return Evaluated(task, path, result, installed.__module__.startswith("mteb."))


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def write_results(results: Sequence[Evaluated], meta: ModelMeta, cache: Path) -> Path:
    """Write results as `cache/results/<model>/<revision>/`, with the model's record and the run settings.

    Scores by query are left out: the repository holds means, and its files have a size limit.

    Returns:
        The folder of the revision.
    """
    folder = cache / "results" / meta.model_name_as_path() / str(meta.revision)
    folder.mkdir(parents=True)
    record = meta.to_dict()
    if record["training_datasets"] is not None:
        record["training_datasets"] = sorted(record["training_datasets"])
    (folder / "model_meta.json").write_text(json.dumps(record, indent=4, default=str), encoding="utf-8")
    settings = []
    for evaluated in results:
        means = {
            split: [{name: value for name, value in row.items() if name != "per_query"} for row in rows]
            for split, rows in evaluated.result.scores.items()
        }
        evaluated.result.model_copy(update={"scores": means}).to_disk(folder / f"{evaluated.task}.json")
        recorded = read_run_settings(evaluated.path.parent / RUN_SETTINGS)
        settings += [line for line in recorded if line.get("task") == evaluated.task]
    if settings:
        merge_run_settings(folder / RUN_SETTINGS, settings)
    return folder


def main_scores(result: TaskResult) -> dict[tuple[str, str], float]:
    """Main score by split and subset."""
    return {
        (split, row["hf_subset"]): float(row["main_score"]) for split, rows in result.scores.items() for row in rows
    }
