"""Scores by query of results that lack them, from what `mteb run --prediction-folder` wrote and the task's judgements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mteb
import pytrec_eval
from mteb.abstasks import AbsTaskRetrieval

from optical_mteb.collection import PER_QUERY
from optical_mteb.errors import InputError
from optical_mteb.mteb_compat import task_registry
from optical_mteb.scores.per_query import Scores, checked_queries

Run = Mapping[str, Mapping[str, float]]
"""Score by query and document."""

Qrels = Mapping[str, Mapping[str, int]]
"""Grade by query and document."""


class MissingPredictionsError(InputError):
    """There are no predictions of a model on a task, or on a subset of it."""


@dataclass(frozen=True)
class Rankings:
    """What a model retrieved on one subset of a task, and how it is judged.

    Attributes:
        run: The documents that MTEB scored, after the changes that it makes to the runs of some tasks.
        qrels: Judgements of the queries of the run.
    """

    run: Run
    qrels: Qrels


def with_predictions(sides: Sequence[Scores], folders: Sequence[Path]) -> list[Scores]:
    """Scores of several models on one task, completed by scores of every query where there are predictions.

    The task's data is loaded where a result lacks scores by query and has predictions, and only then.

    Args:
        sides: Scores of models on one task and split.
        folders: Folders that hold `<Task>_predictions.json`, at any depth; a file says whose predictions it has.

    Raises:
        InputError: A model has two files of predictions, or a file is damaged, or is of another run than the result:
            the means disagree; or the result is of other data than the installed task.
    """
    files = [None if _is_complete(scores) else _predictions_of(scores, folders) for scores in sides]
    lacking = [scores for scores, file in zip(sides, files, strict=True) if file is not None]
    if not lacking:
        return list(sides)
    task, judgements = _judgements(lacking)
    return [
        scores if file is None else _completed(scores, file, _rankings(scores, file, task, judgements))
        for scores, file in zip(sides, files, strict=True)
    ]


def read_rankings(scores: Scores, folders: Sequence[Path]) -> dict[str, Rankings]:
    """What a model retrieved, by subset; without subsets that the predictions lack.

    Args:
        scores: Scores of the model on one task and split.
        folders: As of `with_predictions`.

    Raises:
        InputError: As `with_predictions`.
        MissingPredictionsError: There are no predictions of the model.
    """
    file = _predictions_of(scores, folders)
    if file is None:
        model = f"{scores.results.model} at revision {scores.results.revision[:12]}"
        raise MissingPredictionsError(
            f"{scores.task}: no predictions of {model} in {', '.join(map(str, folders)) or 'any folder'}; run: "
            f"mteb run -m {scores.results.model} -t {scores.task} --prediction-folder FOLDER --overwrite-strategy always"
        )
    rankings = _rankings(scores, file, *_judgements([scores]))
    _completed(scores, file, rankings)
    return rankings


def _is_complete(scores: Scores) -> bool:
    wanted = {metric for metrics in scores.values.values() for metric in metrics if metric in PER_QUERY}
    return all(wanted <= scores.per_query.get(subset, {}).keys() for subset in scores.values)


def _predictions_of(scores: Scores, folders: Sequence[Path]) -> Path | None:
    """The file with the predictions of one revision of a model."""
    found = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected what mteb run --prediction-folder wrote")
        for path in sorted(folder.rglob(f"{scores.task}_predictions.json")):
            meta = _read(path).get("mteb_model_meta", {})
            if (meta.get("model_name"), meta.get("revision")) == (scores.results.model, scores.results.revision):
                found.append(path)
    if len(found) > 1:
        raise InputError(
            f"{found[0]} and {found[1]} both have predictions of {scores.results.model}; name the folder of one"
        )
    return found[0] if found else None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); evaluate the model again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: no predictions of MTEB; evaluate the model again")
    return content


def _judgements(sides: Sequence[Scores]) -> tuple[AbsTaskRetrieval, dict[str, dict[str, Any]]]:
    """The loaded task, and its judgements by subset and query."""
    name, split = sides[0].task, sides[0].split
    installed = task_registry().get(name)
    if installed is None or not issubclass(installed, AbsTaskRetrieval):
        raise InputError(
            f"task {name!r} is not a retrieval task of the installed mteb, so its predictions have no scores"
        )
    for scores in sides:
        if scores.data_revision != installed.metadata.revision:
            raise InputError(
                f"{scores.path}: is of data revision {scores.data_revision}, the installed task has the judgements of "
                f"{installed.metadata.revision}; evaluate the model again"
            )
    subsets = sorted({subset for scores in sides for subset in scores.values})
    loaded = mteb.get_task(name, hf_subsets=subsets, eval_splits=[split])
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


def _rankings(
    scores: Scores, path: Path, task: AbsTaskRetrieval, judgements: Mapping[str, dict[str, Any]]
) -> dict[str, Rankings]:
    content = _read(path)
    found = {}
    for subset in scores.values:
        run = content.get(subset, {}).get(scores.split)
        if run is not None:
            judged = judgements[subset]
            qrels = {query: judged[query] for query in run if query in judged}
            found[subset] = Rankings(_as_scored(run, task), qrels)
    return found


def _as_scored(run: Run, task: AbsTaskRetrieval) -> Run:
    """The run after the two changes that MTEB makes to those of some tasks."""
    ranked = {query: dict(documents) for query, documents in run.items()}
    if task.ignore_identical_ids:
        for query, documents in ranked.items():
            documents.pop(query, None)
    if task.skip_first_result:
        ranked = {
            query: dict(sorted(documents.items(), key=lambda item: item[1], reverse=True)[1:])
            for query, documents in ranked.items()
        }
    return ranked


def _completed(scores: Scores, path: Path, rankings: Mapping[str, Rankings]) -> Scores:
    """The scores with those of every query, which agree with the means."""
    per_query = dict(scores.per_query)
    measures = {"ndcg_cut.10", "map_cut.100"}
    for subset, ranking in rankings.items():
        found = pytrec_eval.RelevanceEvaluator(ranking.qrels, measures).evaluate(ranking.run)
        per_query[subset] = {
            metric: checked_queries(
                {query: values[PER_QUERY[metric]] for query, values in found.items()},
                mean,
                f"{scores.path}, {path}: subset {subset}: {metric}",
            )
            for metric, mean in scores.values[subset].items()
            if metric in PER_QUERY
        }
    return replace(scores, per_query=per_query)
