"""The training of a student in place: data, loss and trainer put together."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from sentence_transformers import SentenceTransformer
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from optical_mteb.bitext import ParallelCorpus
from optical_mteb.errors import InputError
from optical_mteb.hardware import use_quick_attention
from optical_mteb.progress import progress_line
from optical_mteb.training.arguments import monolingual_prompt, training_arguments
from optical_mteb.training.batching import HybridBatchSampler, Pool
from optical_mteb.training.checkpoints import Checkpoints
from optical_mteb.training.composition import composition
from optical_mteb.training.dev_evaluation import DevEvaluation
from optical_mteb.training.evaluation import DevEvaluator
from optical_mteb.training.examples import Examples, pool_of, with_passages
from optical_mteb.training.frozen_layers import kept_outputs, shared_layers
from optical_mteb.training.losses.distillation import check_widths
from optical_mteb.training.models import Models
from optical_mteb.training.objective import build_loss
from optical_mteb.training.progress import TrainingProgress
from optical_mteb.training.readings import Reading
from optical_mteb.training.recipe import Recipe
from optical_mteb.training.record import card_data
from optical_mteb.training.summary import Summary, peak_memory
from optical_mteb.training.teacher_cache import TeacherCache
from optical_mteb.training.teacher_reading import read_banks, taught, teacher_cache
from optical_mteb.training.trainer import DistillationTrainer, LogLastStep
from optical_mteb.training.used_words import keep_whole_words

Say = Callable[[str], None]


@dataclass(frozen=True)
class Fitted:
    """How a training went.

    Attributes:
        steps: Steps that the student has taken: those of the best student where there is a dev split.
        metrics: Last logged figures, the best dev scores, and the summary.
        summary: What it read, and in what time.
    """

    steps: int
    metrics: dict[str, float]
    summary: Summary


def examples_of(recipe: Recipe, corpus: ParallelCorpus) -> ParallelCorpus:
    """The pairs to draw examples from: those of the corpus and, where the recipe asks for them, its passages."""
    return with_passages(corpus, seed=recipe.seed) if recipe.batches.passages else corpus


def batches(
    recipe: Recipe,
    models: Models,
    corpus: ParallelCorpus,
    *,
    sentences: int | None = None,
    rank: int = 0,
    world: int = 1,
) -> tuple[Pool, HybridBatchSampler]:
    """The pairs as numbers, and the batches that are drawn from them; the first `sentences` pairs are no passages."""
    pool = pool_of(
        corpus,
        models.student,
        prompt=models.student_prompt,
        english_prompt=monolingual_prompt(recipe, models),
        max_tokens=recipe.student.max_tokens,
        sentences=sentences,
    )
    sampler = HybridBatchSampler(
        pool,
        recipe.mixture,
        batch_size=recipe.training.batch_size,
        steps=recipe.training.steps,
        seed=recipe.seed,
        rank=rank,
        world=world,
    )
    return pool, sampler


def fit(
    recipe: Recipe,
    models: Models,
    corpus: ParallelCorpus,
    *,
    dev: ParallelCorpus | None = None,
    checkpoints: Checkpoints | None = None,
    keep_frozen: bool = False,
    say: Say = print,
) -> Fitted:
    """Train the student in place.

    Args:
        recipe: The recipe.
        models: Student and teacher.
        corpus: The pairs to train on.
        dev: Pairs to evaluate on; needs checkpoints, which keep the best student.
        checkpoints: Where to save the training and to go on from; None to save nothing.
        keep_frozen: As in `train`.
        say: Takes the lines that report progress.

    Raises:
        InputError: The training diverged, or a checkpoint cannot be written.
    """
    student, teacher = models.student, models.teacher
    processes = PartialState(cpu=student.device.type == "cpu")
    longest = student.max_seq_length
    for model in (student, teacher):
        model.max_seq_length = min(recipe.student.max_tokens, model.max_seq_length or recipe.student.max_tokens)
    student.model_card_data = card_data(recipe, corpus)
    student.model_card_data.register_model(student)
    examples = examples_of(recipe, corpus)
    pool, sampler = batches(
        recipe,
        models,
        examples,
        sentences=len(corpus),
        rank=processes.process_index,
        world=processes.num_processes,
    )
    if recipe.batches.multilingual:
        _check_comparable(student, teacher)
    pairs = examples.to_dataset().select_columns(["english", "translation"])
    first = processes.main_process_first if processes.num_processes > 1 else nullcontext
    with first():
        banks = read_banks(recipe, models, corpus, say)
    loss = build_loss(
        recipe.objective,
        student,
        teacher,
        kind=recipe.student.kind,
        english=pairs["english"],
        translations=pairs["translation"],
        banks=banks,
    )
    caches: dict[Reading, TeacherCache] = {}
    if recipe.teacher.cache:
        read = taught(sampler, pairs["english"])
        with first():
            for reading in loss.readings:
                caches[reading] = teacher_cache(recipe, models, read, reading=reading, layers=loss.layers, say=say)
    latest = checkpoints.latest() if checkpoints is not None else None
    trainer = DistillationTrainer(
        student,
        teacher,
        loss,
        args=training_arguments(recipe, models, processes.num_processes, save=checkpoints is not None),
        train_dataset=pairs,
        sampler=sampler,
        examples=Examples(examples),
        teacher_caches=caches,
        mini_batch_tokens=recipe.training.mini_batch_tokens,
        checkpoints=checkpoints,
        callbacks=[LogLastStep()],
    )
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    evaluation = None
    if dev is not None and recipe.evaluation is not None and checkpoints is not None:
        evaluator = DevEvaluator(
            student,
            teacher,
            dev,
            kind=recipe.student.kind,
            student_prompt=models.student_prompt,
            english_prompt=models.target_prompt,
            teacher_prompt=models.teacher_prompt,
        )
        evaluation = DevEvaluation(evaluator, recipe.evaluation, checkpoints, trainer.log)
        trainer.add_callback(evaluation)
    if latest is not None:
        say(f"an interrupted training of {recipe.name!r} continues from {latest.name}")
    started, before = time.perf_counter(), checkpoints.progress.get("seconds", 0.0) if checkpoints else 0.0
    if checkpoints is not None:
        trainer.add_callback(_Clock(checkpoints, started, before))
    if (transformer := student.transformers_model) is not None:
        use_quick_attention(transformer, bfloat16=trainer.args.bf16, tokens=recipe.student.max_tokens)
    with ExitStack() as training:
        if processes.is_main_process:
            line = training.enter_context(progress_line(f"train {recipe.name}", recipe.training.steps, unit="steps"))
            trainer.add_callback(TrainingProgress(line, say))
        training.enter_context(kept_outputs(student, shared_layers(recipe.student) if keep_frozen else 0))
        trainer.train(resume_from_checkpoint=str(latest) if latest is not None else None)
    taken, seconds = trainer.state.global_step, before + time.perf_counter() - started
    figures = _last_figures(trainer.state.log_history)
    if evaluation is not None and evaluation.best.step is not None and checkpoints is not None:
        best = evaluation.best.step
        processes.wait_for_everyone()
        checkpoints.restore_best(student, best)
        logged = [entry for entry in trainer.state.log_history if entry.get("step") == best]
        figures |= {key: value for entry in logged for key, value in entry.items() if key.startswith("dev_")}
        say(f"best on the dev split: step {best} of {taken}, translation accuracy {figures['dev_accuracy']:.1%}")
    if recipe.training.average > 1 and checkpoints is not None:
        processes.wait_for_everyone()
        checkpoints.restore_average(student, recipe.training.average)
        say(f"the student is the mean of the last {recipe.training.average} checkpoints")
    student.max_seq_length = longest
    keep_whole_words(student)
    if not all(torch.isfinite(parameter).all() for parameter in student.parameters()):
        raise InputError(
            f"training of {recipe.name!r} diverged: weights are not finite; nothing was saved; "
            f"lower training.learning_rate ({recipe.training.learning_rate:g}) or raise the temperature of the objective"
        )
    total = composition(sampler, pool, taken).total
    summary = Summary(
        steps=taken, examples=total.examples, tokens=total.tokens, seconds=seconds, peak_memory=peak_memory()
    )
    kept = evaluation.best.step if evaluation is not None and evaluation.best.step is not None else taken
    return Fitted(kept, {**figures, **summary.figures()}, summary)


def _check_comparable(student: SentenceTransformer, teacher: SentenceTransformer) -> None:
    """Check that what a student reads can stand among what a teacher reads, as targets."""
    try:
        check_widths(student, teacher, "token")
        check_widths(student, teacher, "sentence")
    except ValueError as error:
        raise InputError(
            f"batches.multilingual: {error}; add a term that compares them, or leave multilingual out"
        ) from error


class _Clock(TrainerCallback):
    """Puts the seconds of a training into its checkpoints."""

    def __init__(self, checkpoints: Checkpoints, started: float, before: float) -> None:
        self._checkpoints, self._started, self._before = checkpoints, started, before

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401, ARG002
        self._checkpoints.progress["seconds"] = self._before + time.perf_counter() - self._started


def _last_figures(history: list[dict[str, float]]) -> dict[str, float]:
    logged = [entry for entry in history if "loss" in entry]
    figures = {**(logged or [{}])[-1], **(history or [{}])[-1]}
    dropped = (
        "epoch",
        "step",
        "total_flos",
        "train_loss",
        "train_runtime",
        "train_samples_per_second",
        "train_steps_per_second",
    )
    return {key: round(float(value), 6) for key, value in figures.items() if key not in dropped}
