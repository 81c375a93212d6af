"""Scores of one model on one task, read from the folder that `mteb run --output-folder` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mteb import ResultCache, TaskResult
from mteb.models.get_model_meta import _MODEL_RENAMES
from mteb.models.model_implementations import MODEL_REGISTRY

from optical_mteb.errors import InputError


@dataclass(frozen=True)
class Scores:
    """Scores of one model on one split of a task.

    Attributes:
        model: MTEB's name of the model.
        revision: Revision of the model.
        task: MTEB's name of the task.
        values: Score by subset and metric, as fractions of 1.
    """

    model: str
    revision: str
    task: str
    values: dict[str, dict[str, float]]


def read_scores(
    folder: Path,
    model: str,
    task: str,
    metrics: Sequence[str],
    *,
    split: str = "test",
) -> Scores:
    """Read the scores of one revision of a model.

    Args:
        folder: Result folder of `mteb run`.
        model: `organisation/name`, or the short name of one of this package's students or bases; `@` and a revision
            behind it choose that revision, else it is the registered one of this package's models, or the only one.
        task: Name of the task.
        metrics: Names of the scores, as in `ndcg_at_10`.
        split: Split of the task.

    Raises:
        InputError: There are no such results, results of several revisions, or no such score.
    """
    name, _, revision = model.partition("@")
    name = _MODEL_RENAMES.get(name, name)
    path = _result_file(folder, name, task, revision or _registered_revision(name))
    result = TaskResult.from_disk(path)
    if split not in result.scores:
        raise InputError(f"{path}: no split {split!r}; it has {', '.join(result.scores)}")
    missing = [metric for metric in metrics if metric not in result.scores[split][0]]
    if missing:
        raise InputError(f"{path}: no score {missing[0]!r}; expected one such as ndcg_at_10, map_at_100 or mrr_at_10")
    values = {
        row["hf_subset"]: {metric: float(row[metric]) for metric in metrics}
        for row in sorted(result.scores[split], key=lambda row: str(row["hf_subset"]))
    }
    return Scores(name, path.parent.name, task, values)


def _registered_revision(name: str) -> str:
    meta = MODEL_REGISTRY.get(name)
    ours = meta is not None and name.startswith(("optical-mteb/", "pypi/"))
    revision = (meta.revision or "") if ours and meta else ""
    # What mteb fills in for a student that is not trained here.
    return "" if revision.startswith("no_revision") else revision


def _result_file(folder: Path, name: str, task: str, revision: str) -> Path:
    """The one result file of a model; `revision` may be the start of it, or empty where there is but one."""
    paths = ResultCache(folder).get_cache_paths(
        models=[name], tasks=[task], include_remote=False, require_model_meta=False
    )
    paths = [path for path in paths if path.stem == task and path.parent.name.startswith(revision)]
    if not paths:
        which = f"{name} at revision {revision[:12]}" if revision else name
        raise InputError(
            f"{folder}: no results of {which} on {task}; run: mteb run -m {name} -t {task} --output-folder {folder}"
        )
    if len(paths) > 1:
        found = sorted(path.parent.name[:12] for path in paths)
        raise InputError(
            f"{folder}: {name} has results of several revisions on {task} ({', '.join(found)}); "
            f"choose one, as in {name}@{found[0]}"
        )
    return paths[0]
