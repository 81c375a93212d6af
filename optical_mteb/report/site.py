"""The page of a report and the files that it links to, written whole or not at all."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from optical_mteb.errors import InputError
from optical_mteb.report.collect import Model, ResultFolder, collect
from optical_mteb.report.curves import find_studies
from optical_mteb.report.standings import standings
from optical_mteb.report.tables import HEADINGS, MAIN, overview, seen_languages, task_tables
from optical_mteb.storage import atomic_folder

MARKER = ".optical-mteb-report"
"""File that a folder has which this package wrote: no other folder is replaced."""

SPEED_FILE = "students.json"
"""What benchmarks/students.py writes with --output."""

_SPEED_KEYS = ("documents_a_second", "megabytes")


def write_report(
    results: Path, output: Path, *, reference: str | None = None, published: Sequence[str] = ()
) -> ResultFolder:
    """Write a report on the results that `collect` finds; an older report in the output folder is replaced.

    Returns:
        What the page shows; its notes are on the page, too.

    Raises:
        InputError: There are no results, or the output folder is something else, or cannot be written to.
    """
    if output.exists() and not (output / MARKER).is_file():
        raise InputError(f"{output}: exists and is not a report; choose another folder")
    if output.resolve() in (results.resolve(), *results.resolve().parents):
        raise InputError(f"{output}: holds the results; choose another folder")
    collection = collect(results, reference, published=published)
    notes = list(collection.notes)
    tables = task_tables(collection, notes)
    notes += seen_languages(collection)
    studies = find_studies(results, notes)
    speed = _speed(results, notes)
    names = _file_names(collection)
    drawn = [study.figure for study in studies if study.figure]
    figures = {figure: f"figures/{number}-{_safe_part(figure.name)}" for number, figure in enumerate(drawn, start=1)}
    environment = Environment(
        loader=PackageLoader("optical_mteb.report", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["points"] = lambda score: f"{score:.1f}"
    environment.filters["signed"] = lambda score: f"{score:+.1f}"
    page = environment.get_template("page.html.j2").render(
        collection=collection,
        overview=overview(collection, tables),
        tables=tables,
        standings=standings(collection),
        studies=studies,
        figures=figures,
        speed=speed,
        links={key: f"data/{name}" for key, name in names.items()},
        notes=notes,
        headings=HEADINGS,
        main=MAIN,
        versions={library: version(library) for library in ("optical-mteb", "mteb")},
        id_of=lambda text: re.sub(r"[^A-Za-z0-9_-]", "-", text),
    )
    with atomic_folder(output) as folder:
        (folder / "index.html").write_text(page, encoding="utf-8")
        (folder / MARKER).write_text("")
        for figure, name in figures.items():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(figure, folder / name)
        for (place, task), name in names.items():
            target = folder / "data" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(collection.models[place].results.path(task), target)
    return ResultFolder(collection.models, notes)


def _file_names(collection: ResultFolder) -> dict[tuple[int, str], str]:
    """Path of every result below `data/`, by place of the model and task."""
    return {
        (place, task): f"{_safe(model)}/{_safe_part(task)}.json"
        for place, model in enumerate(collection.models)
        for task in sorted({task for task, _ in model.scores})
    }


def _safe(model: Model) -> str:
    parts = [model.results.model.replace("/", "__"), model.results.revision]
    if model.results.experiment:
        parts.append(model.results.folder.name)
    return "/".join(_safe_part(part) for part in parts)


def _safe_part(name: str) -> str:
    return re.sub(r"[^\w.+=-]", "_", name).lstrip(".") or "_"


def _speed(results: Path, notes: list[str]) -> dict[str, dict[str, float]]:
    """Documents a second and megabytes by model, where the benchmark's file is in the folder."""
    path = next(iter(sorted(results.rglob(SPEED_FILE))), None)
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = {str(name): {key: float(row[key]) for key in _SPEED_KEYS} for name, row in found.items()}
        if not all(math.isfinite(number) for row in rows.values() for number in row.values()):
            raise ValueError("a number is not finite")
        return rows
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        notes.append(f"{path}: not what benchmarks/students.py writes ({error}); left out")
        return {}
