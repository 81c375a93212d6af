"""One recipe under several objectives, beside its untrained base and machine translation, on MTEB tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import mteb
from mteb.abstasks import AbsTaskRetrieval
from mteb.models.model_meta import ModelMeta
from rich.text import Text

from optical_mteb.bases import is_hub_id, load_base, pypi_bases
from optical_mteb.bitext import ParallelCorpus
from optical_mteb.collection import PER_QUERY
from optical_mteb.errors import InputError, did_you_mean
from optical_mteb.hardware import check_device
from optical_mteb.registry import register
from optical_mteb.scores.compare import GROUPS
from optical_mteb.students import student_path
from optical_mteb.students.meta import pypi_base_meta, student_meta
from optical_mteb.study.experiment import Say, Wrapper, scored, trained, untrained
from optical_mteb.study.grid import ZERO_SHOT
from optical_mteb.study.jobs import retrieval_task
from optical_mteb.study.translation import (
    TranslateThenRetrieve,
    encoder_revision,
    needs_translation,
    path_name,
)
from optical_mteb.study.translator import Translator
from optical_mteb.terminal_table import TerminalTable
from optical_mteb.training.recipe import ObjectiveSettings, Recipe, StudentSettings

OBJECTIVES: dict[str, dict[str, dict[str, Any]]] = {
    "sentence-distillation": {"sentence": {}},
    "optical": {"optical": {}},
    "optical-anchored": {"optical": {}, "anchor": {}},
    "contrastive": {"contrastive": {}},
    "transport-contrastive": {"transport_contrastive": {}},
    "optical-contrastive-anchored": {"contrastive": {}, "optical": {}, "anchor": {}},
}
"""The `[objective]` table of each objective that is compared, terms at their defaults."""

OWN_OBJECTIVE = "recipe"
"""Stands for the objective that the recipe itself has."""

TRANSLATION = "translate-then-retrieve"
"""Queries in machine translation, in front of the recipe's teacher."""

METRICS = tuple(PER_QUERY)
"""Scores that are compared, one table each."""

_HEADINGS = {"ndcg_at_10": "nDCG@10", "map_at_100": "MAP@100"}


TaskScores = dict[str, dict[str, dict[str, float]]]
"""Score of a system by task, subset and metric, as fractions of 1."""


def compare_objectives(
    recipe: Recipe,
    tasks: Sequence[str],
    *,
    only: Sequence[str] | None = None,
    translator: str | None = None,
    results: Path = Path("results"),
    recipe_folder: Path | None = None,
    device: str | None = None,
    say: Say = print,
) -> dict[str, TaskScores]:
    """Train a recipe's student under several objectives and evaluate the lot; what is there already is not done again.

    Everything but the objective is the recipe's, the seed included. A student stands in the store as
    `<recipe>-<objective>`; scores are in `results`, as `mteb run --output-folder` writes them.

    Args:
        recipe: A checked recipe.
        tasks: MTEB's names of retrieval tasks.
        only: Objectives to train, of `OBJECTIVES` and `recipe`; all by default.
        translator: Translation model in front of the recipe's teacher; see `Translator.load`.
        results: Folder that keeps scores.
        recipe_folder: Folder that relative bitext paths are looked up in first.
        device: As in `train`.
        say: Takes the lines that report progress.

    Returns:
        Scores by system, in the order of the columns of a table.

    Raises:
        InputError: An objective or a task is unknown, or the translator cannot be used, all before anything is
            trained; or a training run fails.
    """
    check_device(device)
    register()
    recipes = _recipes(recipe, only)
    if translator and recipe.student.kind != "dense":
        raise InputError("--translator: the English retriever behind it is dense; compare it with a dense student")
    loaded_tasks = [_task(name) for name in dict.fromkeys(tasks)]
    if not loaded_tasks:
        raise InputError("no task to compare on; name one, as in -t CLDRNameRetrieval")
    loaded_translator = _translator(translator, loaded_tasks, device) if translator else None
    ParallelCorpus.load(recipe.bitext, base_folder=recipe_folder)
    scores: dict[str, TaskScores] = {}
    cache = mteb.ResultCache(results)

    def add(system: str, model: ModelMeta | Wrapper) -> None:
        meta = model if isinstance(model, ModelMeta) else model.mteb_model_meta
        say(f"{system}: {meta.name}")
        scores[system] = _evaluate(model, loaded_tasks, cache, device)

    add(ZERO_SHOT, _zero_shot(recipe.student, device))
    for objective, variant in recipes.items():
        trained(variant, recipe_folder=recipe_folder, device=device, say=say)
        add(objective, student_meta(variant.name))
    if loaded_translator:
        retriever = load_base(recipe.teacher.base, revision=recipe.teacher.revision, device=device)
        retriever.prompts.update(recipe.teacher.prompts)
        add(TRANSLATION, TranslateThenRetrieve(loaded_translator, retriever, retriever_name=recipe.teacher.base))
    return scores


def tables(scores: dict[str, TaskScores]) -> list[TerminalTable]:
    """A table for each task and metric, in points (hundredths): a row a subset, a column a system, the best one bold.

    Means of groups of subsets come below, that of all subsets last.
    """
    task_names = dict.fromkeys(task for of_system in scores.values() for task in of_system)
    return [_table(scores, task, metric) for metric in METRICS for task in task_names]


def _recipes(recipe: Recipe, only: Sequence[str] | None) -> dict[str, Recipe]:
    """The recipe under each objective.

    Raises:
        InputError: There is no such objective, or the student's name would be too long.
    """
    known = (*OBJECTIVES, OWN_OBJECTIVE)
    unknown = next((name for name in only or () if name not in known), None)
    if unknown is not None:
        near = did_you_mean(unknown, known, most=3) or f"expected one of {', '.join(known)}"
        raise InputError(f"objective {unknown!r} is unknown; {near}")
    recipes: dict[str, Recipe] = {}
    for name in dict.fromkeys(only or known):
        own = name == OWN_OBJECTIVE
        objective = recipe.objective if own else ObjectiveSettings.model_validate(OBJECTIVES[name])
        if own and not only and any(objective == other.objective for other in recipes.values()):
            continue
        recipes[name] = recipe.model_copy(update={"name": f"{recipe.name}-{name}", "objective": objective})
        student_path(recipes[name].name)
    return recipes


def _task(name: str) -> AbsTaskRetrieval:
    """A retrieval task, cut down to the split whose scores are shown."""
    task = retrieval_task(name)
    task.filter_eval_splits(["test" if "test" in task.metadata.eval_splits else task.metadata.eval_splits[0]])
    return task


def _translator(spec: str, tasks: Iterable[AbsTaskRetrieval], device: str | None) -> Translator:
    """The loaded translator, which knows every language that the tasks ask for.

    Raises:
        InputError: It cannot be loaded, or does not know one of the languages.
    """
    translator = Translator.load(spec, device=device)
    for task in tasks:
        for subset in task.hf_subsets:
            language = needs_translation(task.metadata, subset)
            if language:
                translator.language_code(language)
    return translator


def _zero_shot(student: StudentSettings, device: str | None) -> ModelMeta | Wrapper:
    """The base as the kind of retriever that the student is.

    A dense one has its registered name where a wheel ships it, so that `mteb run` shares its scores.
    """
    late = student.kind == "late_interaction"
    registered = {base.spec: base for base in pypi_bases()}.get(student.base)
    if registered and not late and not student.prompts and registered.is_available():
        return pypi_base_meta(registered)
    wrapper, model = untrained(student, device)
    name = student.base if is_hub_id(student.base) and "/" in student.base else f"base/{path_name(student.base)}"
    # Prompts count: MTEB's own entry of a Hub id may have others.
    revision = encoder_revision(model) + ("-late-interaction" if late else "")
    wrapper.mteb_model_meta = wrapper.mteb_model_meta.model_copy(
        update={"name": name, "revision": revision, "training_datasets": None}
    )
    return wrapper


def _evaluate(
    model: ModelMeta | Wrapper,
    tasks: Sequence[AbsTaskRetrieval],
    cache: mteb.ResultCache,
    device: str | None,
) -> TaskScores:
    """Scores by task, subset and metric, from the cache where it has them."""
    scores = {}
    for task in tasks:
        if device and isinstance(model, ModelMeta):
            found = cache.load_task_result(task.metadata.name, model)
            if found is None or found.get_missing_evaluations(task):
                loaded: Any = model.load_model(device=device)
                # The device is not part of what the model is, so it stays out of the record.
                loaded.mteb_model_meta = model
                model = loaded
        rows = scored(model, task, cache=cache)
        scores[task.metadata.name] = {
            subset: {metric: float(row[metric]) for metric in METRICS} for subset, row in rows.items()
        }
    return scores


def _table(scores: dict[str, TaskScores], task: str, metric: str) -> TerminalTable:
    values = {
        system: {subset: by_metric[metric] for subset, by_metric in of_system[task].items()}
        for system, of_system in scores.items()
    }
    subsets = sorted(next(iter(values.values())))
    table = TerminalTable("subset", *values, whole=range(1, 1 + len(values)), title=f"{task}: {_HEADINGS[metric]}")
    for subset in subsets:
        table.add_row(subset, *_cells(values, [subset]))
    for group, members in GROUPS.items():
        present = [subset for subset in members if subset in subsets]
        if present:
            table.add_row(group, *_cells(values, present))
    table.add_row("all", *_cells(values, subsets))
    return table


def _cells(values: Mapping[str, Mapping[str, float]], subsets: Sequence[str]) -> list[Text]:
    """Mean of each system over the subsets; whoever shows the best figure is bold."""
    shown = [f"{100 * fmean(of_system[subset] for subset in subsets):.1f}" for of_system in values.values()]
    best = max(shown, key=float)
    return [Text(figure, style="bold" if figure == best else "") for figure in shown]
