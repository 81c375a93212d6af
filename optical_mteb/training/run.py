"""One training run: from a recipe to a student in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from accelerate import PartialState
from safetensors import SafetensorError
from transformers import set_seed

from optical_mteb.bases import as_late_interaction, base_revision
from optical_mteb.bitext import ParallelCorpus
from optical_mteb.bitext.held_out import hold_out
from optical_mteb.errors import InputError
from optical_mteb.hardware import check_device, on_cpu
from optical_mteb.storage import atomic_folder, check_writable, held, not_writable, runs_folder
from optical_mteb.students.sidecar import OverlapRecord, Sidecar
from optical_mteb.students.store import ORGANISATION, student_names, student_path
from optical_mteb.training.checkpoint_record import RunRecord
from optical_mteb.training.checkpoints import Checkpoints
from optical_mteb.training.composition import Composition, composition
from optical_mteb.training.fit import batches, fit
from optical_mteb.training.models import Models, load_models
from optical_mteb.training.overlap import leave_out_overlaps
from optical_mteb.training.recipe import Recipe
from optical_mteb.training.record import add_to_card, late_interaction_card, sidecar

if TYPE_CHECKING:
    from optical_mteb.collection.task import CollectionRetrieval

Say = Callable[[str], None]


def train(
    recipe: Recipe,
    *,
    recipe_folder: Path | None = None,
    device: str | None = None,
    resume: bool = False,
    fresh: bool = False,
    tasks: Sequence[CollectionRetrieval] = (),
    keep_frozen: bool = False,
    say: Say = print,
) -> Sidecar:
    """Train the student of a recipe and put it into the store, in the place of an older one of that name.

    A training that was interrupted goes on from its last checkpoint when the same recipe is trained again. Under
    `torchrun` or `accelerate launch` all processes share every batch, and the first one writes.

    Args:
        recipe: A checked recipe.
        recipe_folder: Folder that relative bitext paths are looked up in first.
        device: `cpu`, `cuda` or `mps`; the best one there is by default. A process trains on one device.
        resume: There must be an interrupted training to go on with.
        fresh: Start over where there is one.
        tasks: Tasks whose data the bitext must not hold, unless `mteb_tasks` names them; looked at where they are here.
        keep_frozen: Keep on disk what the student's frozen layers give for a text, for other trainings that share them.
        say: Takes the lines that report progress.

    Returns:
        What the store has on record about the student.

    Raises:
        InputError: A base, a prompt, a bitext source or the store is not usable, another process trains a student of
            that name, an interrupted training of that name was started with something else, or the training diverged;
            the store then is as it was.
    """
    if resume and fresh:
        raise InputError("--resume continues an interrupted training and --fresh forgets it; take one of them")
    check_device(device)
    processes = PartialState(cpu=on_cpu(device))
    if not processes.is_main_process:
        say = lambda _: None  # noqa: E731
    if processes.num_processes > 1:
        device = str(processes.device)
    target = student_path(recipe.name)
    taken = (
        f"student {recipe.name}: another process is training it; wait for its end, or give this one another name "
        "(--set name=NAME)"
    )
    with held(runs_folder() / f".{recipe.name}.lock", taken) if processes.is_main_process else nullcontext():
        set_seed(recipe.seed)
        if recipe.name in student_names():
            say(f"student {recipe.name} is in the store; the new one takes its place once it is trained")
        check_writable(target)
        with processes.main_process_first():
            corpus, overlaps = _bitext(recipe, recipe_folder, tasks, say)
            training, dev = split(recipe, corpus)
            models = load_models(recipe, training, device=device, say=say)
            started_with = RunRecord(
                recipe=recipe.model_dump(mode="json"),
                bitext_fingerprint=corpus.fingerprint,
                base_revision=models.base_revision,
                teacher_revision=models.teacher_revision,
            )
            keep = max(recipe.training.keep_checkpoints, recipe.training.average)
            checkpoints = Checkpoints(runs_folder() / recipe.name, started_with, keep)
            if processes.is_main_process:
                checkpoints.begin(resume=resume, fresh=fresh, say=say)
        steps, metrics = fit(recipe, models, training, checkpoints, dev=dev, keep_frozen=keep_frozen, say=say)
        processes.wait_for_everyone()
        if processes.is_main_process:
            try:
                with atomic_folder(target) as folder:
                    save(recipe, models, training, metrics, folder)
                    weights = base_revision(str(folder))
                    record = sidecar(recipe, corpus, models, weights, steps, metrics, overlaps)
                    record.write(folder)
            except (OSError, SafetensorError) as error:
                raise not_writable(target, error) from error
            checkpoints.end()
            say(f"student {record.name} ({record.parameters / 1e6:.1f} million parameters): {target}")
        processes.wait_for_everyone()
        return Sidecar.read(target)


def count_examples(
    recipe: Recipe,
    *,
    recipe_folder: Path | None = None,
    device: str | None = None,
    tasks: Sequence[CollectionRetrieval] = (),
    say: Say = print,
) -> Composition:
    """Count what a training of the recipe would read; nothing is trained and nothing saved.

    Raises:
        InputError: As in `train`.
    """
    check_device(device)
    corpus, _ = _bitext(recipe, recipe_folder, tasks, say)
    training, dev = split(recipe, corpus)
    if dev is not None:
        say(f"held out for evaluation: {len(dev):,} pairs; left to train on: {len(training):,}")
    models = load_models(recipe, training, device=device, say=say)
    _, pool, sampler = batches(recipe, models, training)
    return composition(sampler, pool, recipe.training.steps)


def _bitext(
    recipe: Recipe, recipe_folder: Path | None, tasks: Sequence[CollectionRetrieval], say: Say
) -> tuple[ParallelCorpus, list[OverlapRecord]]:
    """The pairs of a recipe, less those that tasks have, too."""
    corpus = ParallelCorpus.load(recipe.bitext, base_folder=recipe_folder)
    say(str(corpus.report))
    return leave_out_overlaps(recipe, corpus, tasks, say=say) if tasks else (corpus, [])


def split(recipe: Recipe, corpus: ParallelCorpus) -> tuple[ParallelCorpus, ParallelCorpus | None]:
    """The pairs to train on, and those to evaluate on where the recipe asks for that."""
    return (corpus, None) if recipe.evaluation is None else hold_out(corpus, recipe.evaluation.pairs)


def save(recipe: Recipe, models: Models, corpus: ParallelCorpus, metrics: dict[str, float], folder: Path) -> None:
    """Write the student as the native checkpoint of its kind, with its card, into a folder."""
    name = f"{ORGANISATION}/{recipe.name}"
    if recipe.student.kind == "dense":
        models.student.save_pretrained(str(folder), model_name=name)
    else:
        student = as_late_interaction(models.student)
        student.model_card_data = late_interaction_card(recipe, corpus, models.student.model_card_data)
        student.model_card_data.register_model(student)
        student.save_pretrained(str(folder), model_name=name)
    add_to_card(folder, recipe, corpus, metrics)
