"""Finding the results of one model: by its name in a folder that `mteb run --output-folder` wrote, or by a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mteb import ResultCache

from optical_mteb.errors import InputError
from optical_mteb.mteb_compat import model_registry, model_renames

HOLDS_COPIES = {".optical-mteb-report", "SUBMISSION.md"}
"""Files by which a report and a submission are known."""

_EXPERIMENTS = "experiments"  # MTEB's folder of results with settings of their own


@dataclass(frozen=True)
class ModelResults:
    """Where the results of one revision of a model are.

    Attributes:
        model: MTEB's name of the model.
        revision: Revision of the model.
        experiment: Settings that MTEB keeps apart from the plain model's results, such as those of an index.
        folder: Folder with a JSON file for each task.
        published: Whether they are from MTEB's results repository, which has no scores by query.
    """

    model: str
    revision: str
    experiment: Mapping[str, Any]
    folder: Path
    published: bool = False

    @property
    def settings(self) -> str:
        """The experiment in words; empty for plain results."""
        return ", ".join(f"{key} = {value}" for key, value in sorted(self.experiment.items()))

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks that there are results of."""
        return sorted(path.stem for path in _result_files(self.folder))

    def path(self, task: str) -> Path:
        """The file of a task.

        Raises:
            InputError: There is none.
        """
        path = self.folder / f"{task}.json"
        if not path.is_file():
            raise InputError(f"{self.folder}: no results on {task}; there are {', '.join(self.tasks)}")
        return path


def find_results(source: str, cache: Path, tasks: Sequence[str] = ()) -> ModelResults:
    """Find the results of one revision of a model.

    Args:
        source: A folder that holds the results of one revision, somewhere below it. Or a model in `cache`:
            `organisation/name`, or the short name of one of this package's students or bases; `@` and a revision
            behind it choose that revision, else it is the registered one of this package's models, or the only one.
        cache: Result folder of `mteb run`.
        tasks: Look for results on any of these only.

    Raises:
        InputError: There are no such results, or results of several revisions.
    """
    folder = Path(source)
    below = _folders_below(folder, tasks) if folder.is_dir() else []
    if below:
        if len(below) > 1:
            found = ", ".join(str(path.relative_to(folder)) for path in below)
            raise InputError(f"{folder}: results of several models or revisions ({found}); name one of these folders")
        return _model_results(below[0])
    name, _, revision = source.partition("@")
    name = model_renames().get(name, name)
    is_path = folder.is_dir() or folder.is_absolute() or source.startswith(".") or source.count("/") > 1
    if is_path and name not in model_registry():
        raise InputError(
            f"{folder}: no results{_on(tasks)}; expected a folder below the --output-folder of mteb run, "
            "or the name of a model"
        )
    return results_of(name, revision or _registered_revision(name), cache, tasks)


def results_of(name: str, revision: str, cache: Path, tasks: Sequence[str] = ()) -> ModelResults:
    """The results of a model in a result folder.

    Args:
        name: MTEB's name of the model.
        revision: The start of its revision; empty where there is but one.
        cache: Result folder of `mteb run`, or a copy of MTEB's results repository.
        tasks: Look for results on any of these only.

    Raises:
        InputError: There are no such results, or results of several revisions.
    """
    paths: Iterable[Path] = ()
    # MTEB makes the folder that it is to look into.
    if cache.is_dir():
        paths = ResultCache(cache).get_cache_paths(
            models=[name],
            tasks=tasks or None,
            include_remote=False,
            require_model_meta=False,
            load_experiments="match_name",
        )
    all_folders = _plain_ones(path.parent for path in paths if _is_result(path))
    folders = [folder for folder in all_folders if _revision_folder(folder).name.startswith(revision)]
    if not folders:
        which = f"{name} at revision {revision[:12]}" if revision else name
        run = f"optical-mteb run -m {name} -t {' '.join(tasks) or 'TASK'} --output-folder {cache}"
        others = ", ".join(sorted({f"{name}@{_revision_folder(folder).name[:12]}" for folder in all_folders}))
        there = f", but of {others}; name that, or" if others else ";"
        raise InputError(f"{cache}: no results of {which}{_on(tasks)}{there} run: {run}")
    if len({_revision_folder(folder) for folder in folders}) > 1:
        found = sorted({_revision_folder(folder).name[:12] for folder in folders})
        raise InputError(
            f"{cache}: {name} has results of several revisions{_on(tasks)} ({', '.join(found)}); "
            f"choose one, as in {name}@{found[0]}"
        )
    if len(folders) > 1:
        raise InputError(
            f"{cache}: {name} has results of several experiments{_on(tasks)}; "
            f"name the folder of one: {', '.join(map(str, folders))}"
        )
    return _model_results(folders[0])


def all_results(cache: Path) -> list[ModelResults]:
    """All results in a folder, those of experiments too, by model and revision.

    Args:
        cache: Folder that `mteb run --output-folder` wrote, or one above it.

    Raises:
        InputError: There are none, or a `model_meta.json` is damaged or of another revision than its folder.
    """
    folders = sorted({path.parent for path in _results_below(cache)})
    if not folders:
        raise InputError(f"{cache}: no results; expected the --output-folder of mteb run")
    return sorted((_model_results(folder) for folder in folders), key=lambda each: (each.model, str(each.folder)))


def _registered_revision(name: str) -> str:
    meta = model_registry().get(name)
    ours = meta is not None and name.startswith(("optical-mteb/", "pypi/"))
    revision = (meta.revision or "") if ours and meta else ""
    # What mteb fills in for a student that is not trained here.
    return "" if revision.startswith("no_revision") else revision


def _on(tasks: Sequence[str]) -> str:
    return f" on {' or '.join(tasks)}" if tasks else ""


def _folders_below(folder: Path, tasks: Sequence[str]) -> list[Path]:
    """Folders with results on any of the tasks, the folder itself before all others."""
    if any(not tasks or path.stem in tasks for path in _result_files(folder)):
        return [folder]
    return _plain_ones(path.parent for path in _results_below(folder) if not tasks or path.stem in tasks)


def _results_below(folder: Path) -> Iterator[Path]:
    """The result files of a folder and of those in it, but for copies of results that a report or a submission has."""
    for place, folders, files in os.walk(folder):
        if Path(place) != folder and not HOLDS_COPIES.isdisjoint(files):
            folders.clear()
            continue
        paths = (Path(place, name) for name in files if name.endswith(".json"))
        yield from (path for path in paths if _is_result(path))


def _plain_ones(folders: Iterable[Path]) -> list[Path]:
    """The distinct folders; those of experiments only where there are no others."""
    distinct = sorted(set(folders))
    return [folder for folder in distinct if folder.parent.name != _EXPERIMENTS] or distinct


def _revision_folder(folder: Path) -> Path:
    return folder.parent.parent if folder.parent.name == _EXPERIMENTS else folder


def _result_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.json") if _is_result(path)]


def _is_result(path: Path) -> bool:
    if path.name == "model_meta.json" or path.stem.endswith("_predictions"):
        return False
    # Other JSON may lie about; MTEB's results begin with the revision of the data.
    with path.open(encoding="utf-8", errors="replace") as text:
        return '"dataset_revision"' in text.read(4096)


def _is_well_formed(record: Mapping[str, Any]) -> bool:
    texts = (record.get("name") or "", record.get("revision") or "")
    return all(isinstance(text, str) for text in texts) and isinstance(record.get("experiment_kwargs") or {}, dict)


def _model_results(folder: Path) -> ModelResults:
    revision = _revision_folder(folder)
    record: dict[str, Any] = {}
    path = folder / "model_meta.json"
    if path.is_file():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: not JSON ({error}); evaluate the model again") from None
        if not (isinstance(record, dict) and _is_well_formed(record)):
            raise InputError(f"{path}: not the record of a model; evaluate the model again")
    name, recorded = record.get("name"), record.get("revision")
    if name and recorded and revision.parent.name == name.replace("/", "__") and recorded != revision.name:
        raise InputError(
            f"{path}: is of revision {recorded}, but its folder of {revision.name}; results of two revisions were "
            "put together: evaluate the model again"
        )
    return ModelResults(
        model=name or revision.parent.name.replace("__", "/", 1),
        revision=recorded or revision.name,
        experiment=record.get("experiment_kwargs") or ({"experiment": folder.name} if folder != revision else {}),
        folder=folder,
    )
