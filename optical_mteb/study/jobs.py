"""The trainings of a study, each with its recipe and a fingerprint of all that its scores depend on."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from mteb.abstasks import AbsTaskRetrieval

from optical_mteb.bases import base_revision, is_hub_id
from optical_mteb.bitext import BitextSource, ParallelCorpus
from optical_mteb.collection.task import CollectionRetrieval
from optical_mteb.collection.text_retrieval import task_named
from optical_mteb.errors import InputError
from optical_mteb.recipes import shipped_recipes
from optical_mteb.registry import register
from optical_mteb.study.cells import fingerprint_of, settings_of
from optical_mteb.study.grid import ZERO_SHOT, Cell, Training
from optical_mteb.study.settings import StudySettings, TaskSettings, read_study
from optical_mteb.training.recipe import Recipe, read_recipe

FORMAT = 1
"""Goes up when the same recipe and tasks would be trained or scored otherwise."""


@dataclass(frozen=True)
class Job:
    """A training of a study.

    Attributes:
        training: What it depends on within the study.
        recipe: Its recipe; that of zero-shot names the base alone.
        fingerprint: SHA-256 of `determined_by`, the first 16 hexadecimal digits.
        determined_by: All that the scores depend on but the versions of libraries.
    """

    training: Training
    recipe: Recipe
    fingerprint: str
    determined_by: dict[str, Any]

    @property
    def pairs_read(self) -> int:
        """Examples that the training reads."""
        return self.training.steps * self.recipe.training.batch_size


@dataclass(frozen=True)
class Study:
    """A study that is ready to run.

    Attributes:
        settings: What its file says.
        path: The file.
        orders: Orders of languages, the random ones too.
        cells: Places of the grid.
        jobs: The trainings that they stand for, those of the first seed first.
    """

    settings: StudySettings
    path: Path
    orders: dict[str, list[str]]
    cells: list[Cell]
    jobs: dict[Training, Job]


def load_study(path: Path, only: str = "*") -> Study:
    """Read a study and check its tasks and trainings.

    Args:
        path: The study's file.
        only: Shell pattern of what `describe` says of the trainings that are needed; others whose bitext or base is not
            here are left out.

    Raises:
        InputError: The study, its recipe, an override, a base, bitext or a task is not usable.
    """
    register()
    settings = read_study(path)
    for task in settings.tasks:
        load_task(task)
    cells = settings.grid()
    trainings = dict.fromkeys(cell.training for cell in sorted(cells, key=lambda cell: settings.seeds.index(cell.seed)))
    recipe_file = find_recipe_of(settings, path)
    jobs = {}
    for training in trainings:
        try:
            jobs[training] = _job(settings, path, recipe_file, training)
        except InputError:
            if fnmatch(describe(training), only):
                raise
    return Study(settings, path, settings.nested, [cell for cell in cells if cell.training in jobs], jobs)


def describe(training: Training) -> str:
    """A training in words."""
    if training.approach == ZERO_SHOT:
        return ZERO_SHOT
    languages = " ".join(training.languages)
    return f"{training.approach}, {languages}, {training.steps} steps, seed {training.seed}"


def find_recipe_of(settings: StudySettings, path: Path) -> Path:
    """The file of a study's recipe.

    Raises:
        InputError: There is none.
    """
    shipped = shipped_recipes()
    if settings.recipe in shipped:
        return shipped[settings.recipe]
    beside = path.parent / settings.recipe
    if beside.is_file():
        return beside
    raise InputError(
        f"{path}: recipe {settings.recipe!r}: not a file beside the study, nor a shipped recipe ({', '.join(shipped)})"
    )


def retrieval_task(name: str) -> AbsTaskRetrieval:
    """A task by MTEB's name.

    Raises:
        InputError: There is no such task, or it is of another type.
    """
    task = task_named(name)
    if not isinstance(task, AbsTaskRetrieval):
        raise InputError(f"task {name!r} is of type {task.metadata.type}, expected a retrieval task")
    return task


def load_task(settings: TaskSettings) -> AbsTaskRetrieval:
    """A task with the subsets and the split of a study.

    Raises:
        InputError: There is no such retrieval task, subset or split.
    """
    task = retrieval_task(settings.name)
    known = task.metadata.hf_subsets
    lost = next((subset for subset in settings.subsets if subset not in known), None)
    if lost is not None:
        some = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
        raise InputError(f"tasks: {settings.name} has no subset {lost!r}; it has {some}")
    split = settings.split or task.eval_splits[0]
    if split not in task.metadata.eval_splits:
        raise InputError(
            f"tasks: {settings.name} has no split {split!r}; it has {', '.join(task.metadata.eval_splits)}"
        )
    if isinstance(task, CollectionRetrieval):
        lost = next((subset for subset in settings.subsets if not task.has_split(subset, split)), None)
        if lost is not None:
            raise InputError(f"tasks: {settings.name} has no split {split!r} of {lost}; leave that subset out")
    task.filter_languages(None, hf_subsets=settings.subsets)
    task.filter_eval_splits([split])
    return task


def _job(settings: StudySettings, path: Path, recipe_file: Path, training: Training) -> Job:
    overrides = [*settings.overrides, *settings.approaches[training.approach], f"seed={training.seed}"]
    if training.steps:
        overrides.append(f"training.steps={training.steps}")
    recipe = read_recipe(recipe_file, overrides)
    lost = next((name for name in training.languages if name not in recipe.languages), None)
    if lost is not None:
        raise InputError(f"{path}: {recipe_file} has no bitext of {lost}; it has {', '.join(recipe.languages)}")
    if training.languages:
        recipe = _of_languages(recipe, training.languages)
    determined_by = _depends_on(settings, recipe_file, recipe, training)
    digest = fingerprint_of(determined_by)
    return Job(training, recipe.model_copy(update={"name": f"study-{digest}"}), digest, determined_by)


def _of_languages(recipe: Recipe, languages: tuple[str, ...]) -> Recipe:
    """The recipe on some of its languages, sorted; a single one has no third language to be read in."""
    sources = sorted(
        (source for source in recipe.bitext if source.language_code in languages), key=lambda each: each.language_code
    )
    batches = recipe.batches.model_copy(
        update={"caps": {name: cap for name, cap in recipe.batches.caps.items() if name in languages}}
    )
    if len(languages) == 1 and batches.multilingual:
        batches = batches.model_copy(update={"multilingual": 0.0})
        if not batches.monolingual + batches.cross_lingual:
            batches = batches.model_copy(update={"cross_lingual": 1.0})
    return recipe.model_copy(update={"bitext": sources, "batches": batches})


def _depends_on(settings: StudySettings, recipe_file: Path, recipe: Recipe, training: Training) -> dict[str, Any]:
    own: dict[str, Any] = {
        "format": FORMAT,
        "bases": {spec: _revision(spec) for spec in sorted({recipe.student.base, recipe.teacher.base})},
        "tasks": [
            task.model_dump(mode="json", exclude={"parallel"})
            | {"revision": load_task(task).metadata.dataset["revision"]}
            for task in settings.tasks
        ],
    }
    if training.approach == ZERO_SHOT:
        return own | {
            "student": recipe.student.model_dump(mode="json", include={"base", "revision", "kind", "prompts"})
        }
    bitext = [_bitext(each.model_dump_json(), recipe_file.parent) for each in recipe.bitext]
    return own | {"recipe": settings_of(recipe), "bitext": bitext}


@cache
def _bitext(source: str, folder: Path) -> str:
    return ParallelCorpus.load([BitextSource.model_validate_json(source)], base_folder=folder).fingerprint


@cache
def _revision(spec: str) -> str:
    return spec if is_hub_id(spec) else base_revision(spec)
