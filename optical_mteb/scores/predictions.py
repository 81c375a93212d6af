"""Scores by query of results that lack them, from what `mteb run --prediction-folder` wrote and the task's judgements."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mteb
import pytrec_eval
from mteb.abstasks import AbsTaskRetrieval
from mteb.get_tasks import _TASKS_REGISTRY

from optical_mteb.collection.task import PER_QUERY
from optical_mteb.errors import InputError
from optical_mteb.scores.per_query import Scores, checked_queries

Run = Mapping[str, Mapping[str, float]]
"""Score by query and document."""


def with_predictions(sides: Sequence[Scores], folders: Sequence[Path]) -> list[Scores]:
    """Scores of several models on one task, completed by scores of every query where there are predictions.

    The task's data is loaded where a result lacks scores by query and has predictions, and only then.

    Args:
        sides: Scores of models on one task and split.
        folders: Folders that hold `<Task>_predictions.json`, at any depth; a file says whose predictions it has.

    Raises:
        InputError: A model has two files of predictions, or a file is damaged, or is of another run than the result:
            the means disagree.
    """
    files = [None if _is_complete(scores) else _predictions_of(scores, folders) for scores in sides]
    if not any(files):
        return list(sides)
    subsets = sorted({subset for scores in sides for subset in scores.values})
    judgements = _judgements(sides[0].task, sides[0].split, subsets)
    return [
        scores if file is None else _completed(scores, file, *judgements)
        for scores, file in zip(sides, files, strict=True)
    ]


def _is_complete(scores: Scores) -> bool:
    wanted = {metric for metrics in scores.values.values() for metric in metrics if metric in PER_QUERY}
    return all(wanted <= scores.per_query.get(subset, {}).keys() for subset in scores.values)


def _predictions_of(scores: Scores, folders: Sequence[Path]) -> Path | None:
    """The file with the predictions of one revision of a model."""
    found = [
        path
        for path in _files(f"{scores.task}_predictions.json", folders)
        if _owner(path) == (scores.results.model, scores.results.revision)
    ]
    if len(found) > 1:
        raise InputError(
            f"{found[0]} and {found[1]} both have predictions of {scores.results.model}; name the folder of one"
        )
    return found[0] if found else None


def _files(name: str, folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected what mteb run --prediction-folder wrote")
        yield from sorted(folder.rglob(name))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); evaluate the model again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: no predictions of MTEB; evaluate the model again")
    return content


def _owner(path: Path) -> tuple[object, object]:
    meta = _read(path).get("mteb_model_meta", {})
    return meta.get("model_name"), meta.get("revision")


def _judgements(task: str, split: str, subsets: list[str]) -> tuple[AbsTaskRetrieval, dict[str, dict[str, Any]]]:
    """The loaded task, and its judgements by subset and query."""
    if not issubclass(_TASKS_REGISTRY.get(task, object), AbsTaskRetrieval):
        raise InputError(f"task {task!r} is no retrieval task of the installed mteb, so its predictions have no scores")
    loaded = mteb.get_task(task, hf_subsets=subsets, eval_splits=[split])
    assert isinstance(loaded, AbsTaskRetrieval)  # noqa: S101 - for the type checker
    loaded.load_data()
    loaded.convert_v1_dataset_format_to_v2(num_proc=None)
    qrels = {
        subset: {
            query: documents for query, documents in loaded.dataset[subset][split]["relevant_docs"].items() if documents
        }
        for subset in subsets
    }
    return loaded, qrels


def _completed(scores: Scores, path: Path, task: AbsTaskRetrieval, qrels: Mapping[str, dict[str, Any]]) -> Scores:
    content = _read(path)
    per_query = dict(scores.per_query)
    for subset, means in scores.values.items():
        run = content.get(subset, {}).get(scores.split)
        if run is None:
            continue
        found = _scores_by_query(run, task, qrels[subset])
        per_query[subset] = {
            metric: checked_queries(
                {query: values[PER_QUERY[metric]] for query, values in found.items()},
                mean,
                f"{scores.path}, {path}: subset {subset}: {metric}",
            )
            for metric, mean in means.items()
            if metric in PER_QUERY
        }
    return replace(scores, per_query=per_query)


def _scores_by_query(run: Run, task: AbsTaskRetrieval, qrels: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What trec_eval says of every query, after the two changes that MTEB makes to the runs of some tasks."""
    ranked = {query: dict(documents) for query, documents in run.items()}
    if task.ignore_identical_ids:
        for query, documents in ranked.items():
            documents.pop(query, None)
    if task.skip_first_result:
        ranked = {
            query: dict(sorted(documents.items(), key=lambda item: item[1], reverse=True)[1:])
            for query, documents in ranked.items()
        }
    measures = {"ndcg_cut.10", "map_cut.100"}
    scores: dict[str, dict[str, float]] = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(ranked)
    return scores
