"""One training run: from a recipe to a student in the store."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformerTrainingArguments
from transformers import set_seed

from optical_mteb.bases import as_late_interaction, base_revision
from optical_mteb.bitext import ParallelCorpus
from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder
from optical_mteb.students.sidecar import Sidecar
from optical_mteb.students.store import ORGANISATION, student_names, student_path
from optical_mteb.training.batching import LengthBucketSampler
from optical_mteb.training.models import Models, load_models
from optical_mteb.training.objective import build_loss
from optical_mteb.training.recipe import Recipe
from optical_mteb.training.record import card_data, late_interaction_card, sidecar
from optical_mteb.training.teacher_cache import TeacherCache
from optical_mteb.training.trainer import DistillationTrainer, LogLastStep


def train(
    recipe: Recipe, *, recipe_folder: Path | None = None, device: str | None = None, say: Callable[[str], None] = print
) -> Sidecar:
    """Train the student of a recipe and put it into the store, in the place of an older one of that name.

    Args:
        recipe: A checked recipe.
        recipe_folder: Folder that relative bitext paths are looked up in first.
        device: `cpu`, `cuda` or `mps`; the best one there is by default. One device trains, whatever the machine has.
        say: Takes the lines that report progress.

    Returns:
        What the store has on record about the student.

    Raises:
        InputError: A base, a prompt, a bitext source or the store is not usable, or the training diverged; the store
            then is as it was.
    """
    check_device(device)
    set_seed(recipe.seed)
    if recipe.name in student_names():
        say(f"student {recipe.name} is in the store; the new one takes its place once it is trained")
    with atomic_folder(student_path(recipe.name)) as folder:
        corpus = ParallelCorpus.load(recipe.bitext, base_folder=recipe_folder)
        say(str(corpus.report))
        models = load_models(recipe, corpus, device=device, say=say)
        metrics = fit(recipe, models, corpus, say=say)
        save(recipe, models, corpus, folder)
        record = sidecar(recipe, corpus, models, base_revision(str(folder)), metrics)
        record.write(folder)
    say(f"trained {record.steps} steps: " + ", ".join(f"{name} {value:g}" for name, value in metrics.items()))
    say(f"student {record.name} ({record.parameters / 1e6:.1f} million parameters): {student_path(record.name)}")
    return record


def fit(
    recipe: Recipe, models: Models, corpus: ParallelCorpus, *, say: Callable[[str], None] = print
) -> dict[str, float]:
    """Train the student in place.

    Returns:
        The last logged figures: loss and its terms, marginal error, seconds, pairs a second.

    Raises:
        InputError: The weights are not finite any more.
    """
    student, teacher = models.student, models.teacher
    longest = student.max_seq_length
    for model in (student, teacher):
        model.max_seq_length = min(recipe.student.max_tokens, model.max_seq_length or recipe.student.max_tokens)
    student.model_card_data = card_data(recipe, corpus)
    student.model_card_data.register_model(student)
    pairs = corpus.to_dataset().select_columns(["english", "translation"])
    loss = build_loss(
        recipe.objective,
        student,
        teacher,
        kind=recipe.student.kind,
        english=pairs["english"],
        translations=pairs["translation"],
    )
    cache = None
    if recipe.teacher.cache:
        cache = teacher_cache(recipe, models, pairs["english"], layers=loss.layers, say=say)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = DistillationTrainer(
            student,
            teacher,
            args=_arguments(recipe, models, corpus, scratch),
            train_dataset=pairs,
            teacher_cache=cache,
            loss=loss,
            callbacks=[LogLastStep()],
        )
        trainer.train()
    student.max_seq_length = longest
    if not all(torch.isfinite(parameter).all() for parameter in student.parameters()):
        raise InputError(
            f"training of {recipe.name!r} diverged: weights are not finite; nothing was saved; "
            f"lower training.learning_rate ({recipe.training.learning_rate:g}) or raise the temperature of the objective"
        )
    return _last_figures(trainer.state.log_history)


def save(recipe: Recipe, models: Models, corpus: ParallelCorpus, folder: Path) -> None:
    """Write the student as the native checkpoint of its kind, with its card, into a folder."""
    name = f"{ORGANISATION}/{recipe.name}"
    if recipe.student.kind == "dense":
        models.student.save_pretrained(str(folder), model_name=name)
        return
    student = as_late_interaction(models.student)
    student.model_card_data = late_interaction_card(recipe, corpus, models.student.model_card_data)
    student.model_card_data.register_model(student)
    student.save_pretrained(str(folder), model_name=name)


def teacher_cache(
    recipe: Recipe,
    models: Models,
    english: Sequence[str],
    *,
    layers: Sequence[int] = (),
    say: Callable[[str], None] = print,
) -> TeacherCache:
    """The teacher's outputs for the English sides, from disk where they are there."""
    tokenizer = models.teacher.tokenizer.backend_tokenizer.to_str()
    cache = TeacherCache.open(
        models.teacher,
        # A teacher that was pruned with its student gives the same tokens other ids.
        revision=f"{models.teacher_revision} {hashlib.sha256(tokenizer.encode()).hexdigest()[:16]}",
        prompt=models.teacher_prompt,
        max_tokens=recipe.student.max_tokens,
        layers=layers,
    )
    read = cache.ensure(english, say=say)
    say(f"teacher: read {read:,} sentences, {len(cache):,} in the cache")
    return cache


def _arguments(
    recipe: Recipe, models: Models, corpus: ParallelCorpus, scratch: str
) -> SentenceTransformerTrainingArguments:
    settings, device = recipe.training, models.student.device.type
    prompts = {"english": models.teacher_prompt, "translation": models.student_prompt}
    arguments = SentenceTransformerTrainingArguments(
        output_dir=scratch,
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=round(settings.warmup_ratio * settings.steps),
        weight_decay=settings.weight_decay,
        bf16=_in_bfloat16(settings.precision, device),
        use_cpu=device == "cpu",
        seed=recipe.seed,
        batch_sampler=LengthBucketSampler,
        dataloader_drop_last=len(corpus) >= settings.batch_size,
        prompts={column: prompt for column, prompt in prompts.items() if prompt},
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
    )
    # Several visible GPUs would be used by torch's DataParallel, which splits a batch and with it its contrast.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def check_device(device: str | None) -> None:
    """Check that one process trains, on a device that is there.

    Raises:
        InputError: It is not.
    """
    if device not in (None, "cpu", "cuda", "mps"):
        raise InputError(f"device {device!r}: expected cpu, cuda or mps; choose a GPU with CUDA_VISIBLE_DEVICES")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device or "cpu", True):
        raise InputError(
            f"device {device!r}: torch {torch.__version__} finds none here; use cpu, or install its build for {device}"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("training runs in one process; start it without torchrun or accelerate")


def _in_bfloat16(precision: str, device: str) -> bool:
    """Whether to train under bfloat16 autocast; `auto` does where the hardware multiplies in it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _last_figures(history: list[dict[str, float]]) -> dict[str, float]:
    logged = [entry for entry in history if "loss" in entry]
    figures = {**logged[-1], **history[-1]}
    dropped = ("epoch", "step", "total_flos", "train_steps_per_second", "train_loss")
    return {key: round(float(value), 6) for key, value in figures.items() if key not in dropped}
