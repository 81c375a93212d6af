"""The tidy table of a study: one row a cell, subset and metric; and the scores by query behind it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean

from optical_mteb.errors import InputError
from optical_mteb.storage import write_text
from optical_mteb.study.analysis import Group, group_of
from optical_mteb.study.cells import DIGITS, CellFolder, CellRecord
from optical_mteb.study.grid import ZERO_SHOT, Cell
from optical_mteb.study.jobs import Study, load_task

SAME_LANGUAGE = {"fil": "tgl"}
"""Filipino is the standard form of Tagalog: who is trained on one is asked in the other."""


@dataclass(frozen=True)
class TableRow:
    """A line of the table.

    Attributes:
        cell: Fingerprint of the training; cells that coincide share it.
        approach: Name of the approach.
        budget: `per_pair` or `total`.
        order: Name of the order.
        pairs: Number of language pairs in the grid; zero-shot stands at each.
        seed: Seed in the grid.
        steps: Steps trained.
        trained: Languages trained on, in the order's order, space-separated.
        task: MTEB's name of the task.
        split: Its split.
        subset: Its subset.
        language: Language of the queries.
        group: How the training stands to that language: `trained`, `later`, `never` or `english`.
        metric: `map_at_100` or `ndcg_at_10`.
        queries: Number of queries.
        value: Mean over them, a fraction of 1.
        training_pairs: Examples that the training read.
        tokens: Tokens that it read.
        seconds: Time that it took.
        precision: What the student was scored in, as in `CellRecord`.
    """

    cell: str
    approach: str
    budget: str
    order: str
    pairs: int
    seed: int
    steps: int
    trained: str
    task: str
    split: str
    subset: str
    language: str
    group: Group
    metric: str
    queries: int
    value: float
    training_pairs: int
    tokens: int
    seconds: float
    precision: str


def rows(study: Study, records: dict[str, CellRecord]) -> list[TableRow]:
    """The table of the cells that are done, from their records by fingerprint."""
    splits = {each.name: load_task(each).eval_splits[0] for each in study.settings.tasks}
    return [row for cell in study.cells for row in _rows_of(study, cell, records, splits)]


def read_records(study: Study, cells: CellFolder) -> dict[str, CellRecord]:
    """The records that there are of a study's trainings, by fingerprint.

    Raises:
        InputError: One is damaged.
    """
    found = ((job.fingerprint, cells.read(job.fingerprint)) for job in study.jobs.values())
    return {fingerprint: record for fingerprint, record in found if record is not None}


def language_of(subset: str) -> str:
    """Language of a subset's queries, in the code that trainings have it under."""
    code = subset.partition("-")[0].partition("_")[0]
    return SAME_LANGUAGE.get(code, code)


def write_table(path: Path, table: Sequence[TableRow]) -> None:
    """Write the table as CSV, whole or not at all.

    Raises:
        InputError: The place cannot be written to.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [each.name for each in fields(TableRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in table)
    write_text(path, text.getvalue())


def read_table(path: Path) -> list[TableRow]:
    """Read a table that `write_table` wrote.

    Raises:
        InputError: It is not there, or is no such table.
    """
    kinds = {"int": int, "float": float}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
        if reader.fieldnames != [each.name for each in fields(TableRow)]:
            raise ValueError("other columns")
        return [
            TableRow(**{each.name: kinds.get(str(each.type), str)(line[each.name]) for each in fields(TableRow)})
            for line in lines
        ]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not the table of a study ({error}); run the study again") from error


def _rows_of(study: Study, cell: Cell, records: dict[str, CellRecord], splits: dict[str, str]) -> Iterator[TableRow]:
    job = study.jobs[cell.training]
    record = records.get(job.fingerprint)
    if record is None:
        return
    order = study.orders[cell.order]
    joined = 0 if cell.approach == ZERO_SHOT else cell.pairs
    for task, subsets in record.scores.items():
        for subset, metrics in subsets.items():
            language = language_of(subset)
            for metric, values in metrics.items():
                yield TableRow(
                    cell=job.fingerprint,
                    approach=cell.approach,
                    budget=cell.budget,
                    order=cell.order,
                    pairs=cell.pairs,
                    seed=cell.seed,
                    steps=cell.training.steps,
                    trained=" ".join(order[:joined]),
                    task=task,
                    split=splits[task],
                    subset=subset,
                    language=language,
                    group=group_of(language, order, cell.pairs),
                    metric=metric,
                    queries=len(values),
                    value=round(fmean(values), DIGITS + 2),
                    training_pairs=int(record.figures.get("pairs", 0)),
                    tokens=int(record.figures.get("tokens", 0)),
                    seconds=record.figures.get("seconds", 0.0),
                    precision=record.precision,
                )
