"""Results as files for other programs: runs and judgements in TREC's form or ranx's, or scores by query as a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from optical_mteb.collection import PER_QUERY
from optical_mteb.errors import InputError
from optical_mteb.scores.per_query import MissingScoreError, Scores, read_scores, splits_of
from optical_mteb.scores.predictions import (
    MissingPredictionsError,
    Qrels,
    Rankings,
    Run,
    read_rankings,
    with_predictions,
)
from optical_mteb.scores.results import ModelResults
from optical_mteb.storage import atomic_folder

TABLE = "scores.csv"
"""The file of the format csv."""


def export_scores(
    results: ModelResults,
    file_format: str,
    output: Path,
    *,
    tasks: Sequence[str] = (),
    predictions: Sequence[Path] = (),
    say: Callable[[str], None],
) -> None:
    """Write what a model retrieved, or how it scored on every query; all splits that there are results of.

    `trec` and `ranx` write `<task>/<subset>/<split>.run.*` and `<split>.qrels.*`, which hold what MTEB scored: nDCG and
    MAP of them, by trec_eval's definitions, are the scores of the result. `csv` writes one table.

    Args:
        results: Where a model's results are.
        file_format: `trec`, `ranx` or `csv`.
        output: A folder that is not there yet; complete or not at all.
        tasks: Tasks to write; all that can be by default.
        predictions: Folders that `mteb run --prediction-folder` wrote; `csv` needs them where results lack scores by
            query.
        say: Told what is left out.

    Raises:
        InputError: The format is unknown, the folder is there, there is nothing to write, a named task cannot be
            written, an id cannot stand in a file, or results or predictions are damaged, do not agree, or are of other
            data than the installed task.
    """
    if file_format not in FORMATS:
        raise InputError(f"format {file_format!r} is unknown; write one of {', '.join(FORMATS)}")
    if file_format in _RUN_FORMATS and not predictions:
        raise InputError(
            f"format {file_format}: needs what mteb run --prediction-folder wrote; name it by --predictions"
        )
    if output.exists():
        raise InputError(f"{output}: is there already; remove it, or choose another folder by --output")
    written = False
    splits = [(task, split) for task in tasks or results.tasks for split in splits_of(results, task)]
    with atomic_folder(output, replace=False) as scratch:
        for task, split in splits:
            try:
                scores = read_scores(results, task, list(PER_QUERY), split=split)
                if file_format in _RUN_FORMATS:
                    _write_runs(scores, read_rankings(scores, predictions), file_format, scratch / task)
                else:
                    [completed] = with_predictions([scores], predictions)
                    _write_table(completed, scratch / TABLE)
            except (MissingScoreError, MissingPredictionsError) as error:
                if tasks:
                    raise
                say(f"left out: {error}")
            else:
                written = True
        if not written:
            raise InputError(f"{results.folder}: nothing to write as {file_format}")


def _write_table(scores: Scores, path: Path) -> None:
    """Append the scores of a split; a query that lacks one has an empty cell."""
    if not any(scores.per_query.values()):
        raise MissingScoreError(
            f"{scores.path}: no scores by query; evaluate the model again with --overwrite-strategy always, or name "
            "a folder of predictions by --predictions"
        )
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if is_new:
            table.writerow(["task", "split", "subset", "query", *PER_QUERY])
        for subset, by_metric in scores.per_query.items():
            for query in dict.fromkeys(query for by_query in by_metric.values() for query in by_query):
                cells = [by_metric.get(metric, {}).get(query, "") for metric in PER_QUERY]
                table.writerow([scores.task, scores.split, subset, query, *cells])


def _write_runs(scores: Scores, rankings: Mapping[str, Rankings], file_format: str, folder: Path) -> None:
    absent = [subset for subset in scores.values if subset not in rankings]
    if absent:
        raise MissingPredictionsError(
            f"{scores.path}: there are no predictions of {', '.join(absent)}; evaluate the model again with "
            "--prediction-folder and --overwrite-strategy always"
        )
    extension, run_text, qrels_text = _RUN_FORMATS[file_format]
    for subset, ranking in rankings.items():
        (folder / subset).mkdir(parents=True, exist_ok=True)
        texts = {"run": run_text(ranking.run, scores.results.model), "qrels": qrels_text(ranking.qrels)}
        for kind, text in texts.items():
            path = folder / subset / f"{scores.split}.{kind}.{extension}"
            path.write_text(text, encoding="utf-8", newline="\n")


def _trec_run(run: Run, model: str) -> str:
    """Lines `query Q0 document rank score tag`, ranked as trec_eval ranks: by score, then by id, both descending."""
    tag = "-".join(model.split())
    lines = []
    for query, documents in run.items():
        ranked = sorted(documents.items(), key=lambda item: (item[1], item[0]), reverse=True)
        for rank, (document, score) in enumerate(ranked, start=1):
            lines.append(f"{_id(query)} Q0 {_id(document)} {rank} {score!r} {tag}\n")
    return "".join(lines)


def _trec_qrels(qrels: Qrels) -> str:
    return "".join(
        f"{_id(query)} 0 {_id(document)} {grade}\n"
        for query, documents in qrels.items()
        for document, grade in documents.items()
    )


def _id(key: str) -> str:
    if key.split() != [key]:
        raise InputError(
            f"id {key!r}: is empty or has white space, which no line of TREC's can hold; write ranx or csv"
        )
    return key


def _json(content: Run | Qrels) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"


_RUN_FORMATS: dict[str, tuple[str, Callable[[Run, str], str], Callable[[Qrels], str]]] = {
    "trec": ("txt", _trec_run, _trec_qrels),
    "ranx": ("json", lambda run, _: _json(run), _json),
}
"""How runs and judgements are written: extension of the files, text of a run of a model, text of judgements."""

FORMATS = (*_RUN_FORMATS, "csv")
"""Names of the formats."""
