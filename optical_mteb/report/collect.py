"""What a report shows: models, their scores by task and subset, and what is wrong with some of them."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optical_mteb.errors import InputError
from optical_mteb.scores.per_query import Scores, read_scores, splits_of
from optical_mteb.scores.published import published_note, published_results
from optical_mteb.scores.results import ModelResults, all_results, find_results

METRICS = ("ndcg_at_10", "map_at_100")

_STUDENTS = "optical-mteb/"


@dataclass(frozen=True)
class Model:
    """A revision of a model, under the settings of an experiment where there are any.

    Attributes:
        results: Where its scores are.
        record: Its `model_meta.json`.
        scores: Scores by task and split.
    """

    results: ModelResults
    record: dict[str, Any]
    scores: dict[tuple[str, str], Scores] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name without its organisation, which the page shows once."""
        return self.results.model.partition("/")[2] or self.results.model

    @property
    def label(self) -> str:
        """Name, and what makes its scores others: settings, or that somebody else published them."""
        told = "published" if self.results.published else self.results.settings
        return f"{self.name} ({told})" if told else self.name

    @property
    def parameters(self) -> float | None:
        """Millions of parameters."""
        found = _number(self.record.get("n_parameters"))
        return None if found is None else found / 1e6

    @property
    def megabytes(self) -> float | None:
        """Memory of the weights as they are loaded, in MB."""
        return _number(self.record.get("memory_usage_mb"))

    @property
    def training_tasks(self) -> set[str] | None:
        """Tasks whose data it was trained on, as its record names them; None where that is unknown."""
        found = self.record.get("training_datasets")
        return {str(task) for task in found} if isinstance(found, list) else None

    @property
    def training_languages(self) -> set[str]:
        """Languages that a student of this package was trained on, ISO 639-3; of other models, none is told."""
        found = self.record.get("languages")
        is_student = self.results.model.startswith(_STUDENTS)
        return {str(tag).partition("-")[0] for tag in found} if is_student and isinstance(found, list) else set()


@dataclass(frozen=True)
class ResultFolder:
    """Everything in a result folder.

    Attributes:
        models: The reference first.
        notes: What could not be read, a line each.
    """

    models: list[Model]
    notes: list[str]

    @property
    def reference(self) -> Model:
        """The model that the others are compared with."""
        return self.models[0]

    @property
    def tasks(self) -> list[tuple[str, str]]:
        """Tasks and splits that any model has scores of."""
        return sorted({key for model in self.models for key in model.scores})


def collect(folder: Path, reference: str | None = None, *, published: Sequence[str] = ()) -> ResultFolder:
    """Read all results below a folder; a file that is damaged is left out and noted.

    Args:
        folder: As in `all_results`.
        reference: Model to compare with, as in `find_results`; by default the base that a student came from, or the
            first model.
        published: Models to add as `published_results` finds them, on the tasks and subsets that the folder has.

    Raises:
        InputError: There are no results, none can be read, or there is no such reference.
    """
    notes: list[str] = []
    models = [_model(results, notes) for results in all_results(folder)]
    models = [model for model in models if model.scores]
    if not models:
        raise InputError(f"{folder}: none of its results can be read: {notes[0] if notes else 'there are none'}")
    first = _chosen(models, folder, reference) if reference else _base_of(models)
    others = [_published(name, models, notes) for name in published]
    return ResultFolder([first, *(model for model in models if model is not first), *others], notes)


def _published(name: str, models: Sequence[Model], notes: list[str]) -> Model:
    """The published scores of a model on what the others have been run on."""
    subsets: dict[tuple[str, str], set[str]] = {}
    for model in models:
        for key, scores in model.scores.items():
            subsets.setdefault(key, set()).update(scores.values)
    results = published_results(name, sorted({task for task, _ in subsets}))
    notes.append(published_note(results))
    everything = _model(results, notes, tasks={task for task, _ in subsets})
    shown = {
        key: replace(found, values={subset: found.values[subset] for subset in found.values if subset in subsets[key]})
        for key, found in everything.scores.items()
        if key in subsets and subsets[key] & found.values.keys()
    }
    return replace(everything, scores=shown)


def _model(results: ModelResults, notes: list[str], tasks: Container[str] | None = None) -> Model:
    path = results.folder / "model_meta.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    model = Model(results, record)
    for task in results.tasks:
        if tasks is not None and task not in tasks:
            continue
        try:
            for split in splits_of(results, task):
                model.scores[task, split] = read_scores(results, task, METRICS, split=split)
        except InputError as error:
            notes.append(str(error))
    return model


def _chosen(models: Sequence[Model], folder: Path, reference: str) -> Model:
    wanted = find_results(reference, folder).folder
    found = next((model for model in models if model.results.folder.resolve() == wanted.resolve()), None)
    if found is None:
        raise InputError(f"--reference {reference}: its results cannot be read, or are not below {folder}")
    return found


def _base_of(models: Sequence[Model]) -> Model:
    """The model that most others are adapted from; of equals, the first."""
    plain = [model for model in models if not model.results.experiment] or list(models)

    def followers(model: Model) -> int:
        names = [model.results.model]
        if model.record.get("adapted_from") and not model.results.model.startswith(_STUDENTS):
            names.append(model.record["adapted_from"])
        return sum(other.record.get("adapted_from") in names for other in models if other is not model)

    return max(plain, key=followers)


def _number(found: object) -> float | None:
    if not isinstance(found, int | float) or isinstance(found, bool) or not math.isfinite(found):
        return None
    return float(found)
