"""What every experiment does with a student: train it unless the store has it, load it or its untrained base, score it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mteb
from mteb.models.sentence_transformer_wrapper import MultiVectorWrapper, SentenceTransformerEncoderWrapper

from optical_mteb.bases import as_late_interaction, base_revision, is_hub_id, load_base
from optical_mteb.bitext import ParallelCorpus
from optical_mteb.errors import InputError
from optical_mteb.storage import remove, runs_folder
from optical_mteb.students import Sidecar, student_path
from optical_mteb.students.store import checked_folder
from optical_mteb.training.run import train

if TYPE_CHECKING:
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.models.model_meta import ModelMeta
    from mteb.models.models_protocols import MTEBModels
    from mteb.types import EncodeKwargs
    from sentence_transformers import SentenceTransformer

    from optical_mteb.training.recipe import Recipe, StudentSettings

Wrapper = SentenceTransformerEncoderWrapper | MultiVectorWrapper
"""MTEB's wrapper of a dense or of a late-interaction retriever."""

Say = Callable[[str], None]


def trained(
    recipe: Recipe, *, recipe_folder: Path | None = None, device: str | None = None, say: Say = print
) -> Sidecar:
    """The student of a recipe, in the store: trained now, unless it was trained from these very settings and data.

    Arguments and errors are those of `train`.
    """
    record = _in_store(recipe, recipe_folder)
    if record is None:
        return train(recipe, recipe_folder=recipe_folder, device=device, keep_frozen=True, say=say)
    say(f"student {recipe.name} is in the store, trained from these very settings")
    return record


def untrained(student: StudentSettings, device: str | None = None) -> tuple[Wrapper, SentenceTransformer]:
    """The base of a student as it is: as the kind of retriever that the student is, and as it was loaded.

    Raises:
        InputError: There is no such base.
    """
    base = load_base(student.base, revision=student.revision, device=device)
    base.prompts.update(student.prompts)
    if student.kind == "late_interaction":
        return MultiVectorWrapper(as_late_interaction(base)), base
    return SentenceTransformerEncoderWrapper(base), base


def forget(name: str) -> None:
    """Remove a student from the store as far as it can be, with the checkpoints that a killed training left."""
    for place in (student_path(name), runs_folder() / name):
        with suppress(InputError):
            remove(place)


def scored(
    model: ModelMeta | MTEBModels,
    task: AbsTaskRetrieval,
    *,
    cache: mteb.ResultCache | None = None,
    encode_kwargs: EncodeKwargs | None = None,
) -> dict[str, Mapping[str, Any]]:
    """MTEB's scores by subset of a model on the one split that a task is cut down to.

    Arguments are those of `mteb.evaluate`; without a cache, the model is scored anew.
    """
    [result] = mteb.evaluate(
        model, task, cache=cache, encode_kwargs=encode_kwargs, co2_tracker=False, show_progress_bar=False
    ).task_results
    [split] = task.eval_splits
    return {str(row["hf_subset"]): row for row in result.scores[split]}


def _in_store(recipe: Recipe, recipe_folder: Path | None) -> Sidecar | None:
    """The record of the student of this very recipe, bitext, base and teacher; a Hub id is taken as it is."""
    try:
        record = Sidecar.read(checked_folder(recipe.name))
    except InputError:
        return None
    models = [(recipe.student.base, record.base_revision), (recipe.teacher.base, record.teacher_revision)]
    same = (
        recipe.is_recorded_as(record.recipe)
        and all(is_hub_id(spec) or base_revision(spec) == revision for spec, revision in models)
        and record.bitext_fingerprint == ParallelCorpus.load(recipe.bitext, base_folder=recipe_folder).fingerprint
    )
    return record if same else None
