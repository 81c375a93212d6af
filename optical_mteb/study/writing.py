"""What a study leaves for its readers: the table, the summary, the figures and the document."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from optical_mteb.errors import InputError
from optical_mteb.storage import held, write_text
from optical_mteb.study.cells import CellFolder
from optical_mteb.study.document import document as as_document
from optical_mteb.study.jobs import Study
from optical_mteb.study.replicates import MEASURE
from optical_mteb.study.summary import summarise
from optical_mteb.study.table import read_records, rows, write_table


def write(
    study: Study, cells: CellFolder, folder: Path, *, document: Path | None, figures: bool, command: str
) -> Iterator[Path]:
    """Write what there is to say of the trainings that are done; of several processes, one after the other.

    Args:
        study: The study.
        cells: Its records.
        folder: Folder of `table.csv`, `summary.json` and `figures`.
        document: Markdown file; `study.md` in the folder by default.
        figures: Whether to draw.
        command: What makes the study, for the document.

    Yields:
        What was written.

    Raises:
        InputError: Nothing is done yet, a record is damaged, or the folder cannot be written to.
    """
    if not read_records(study, cells):
        raise InputError(f"{cells.folder}: no training of {study.settings.name} is done; leave --report out")
    # Read again: a table of fewer trainings must not take the place of another process's.
    with held(folder / ".writing.lock"):
        records = read_records(study, cells)
        write_table(folder / "table.csv", rows(study, records))
        yield folder / "table.csv"
        summary = summarise(study, records)
        told = {name: value for name, value in asdict(summary).items() if isinstance(value, list)}
        content = {"study": study.settings.name, "metric": MEASURE, **told}
        write_text(folder / "summary.json", json.dumps(content, indent=1) + "\n")
        yield folder / "summary.json"
        drawn: dict[str, Path] = {}
        if figures:
            from optical_mteb.study.figures import draw

            drawn = draw(summary, folder / "figures")
            yield from drawn.values()
        target = document or folder / "study.md"
        links = {title: Path(os.path.relpath(path, target.parent)).as_posix() for title, path in drawn.items()}
        write_text(target, as_document(study, summary, records, figures=links, command=command))
        yield target
