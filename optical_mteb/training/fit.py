"""The training of a student in place: data, loss and trainer put together."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec

import torch
from accelerate import PartialState
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from transformers import PrinterCallback, ProgressCallback

from optical_mteb.bitext import ParallelCorpus
from optical_mteb.errors import InputError
from optical_mteb.hardware import computes_in_bfloat16, use_quick_attention
from optical_mteb.mteb_compat import use_one_gpu
from optical_mteb.progress import progress_line
from optical_mteb.storage import logs_folder, runs_folder
from optical_mteb.training.batching import HybridBatchSampler, Pool
from optical_mteb.training.callbacks import Clock, DevEvaluation, LogLastStep, TrainingProgress
from optical_mteb.training.checkpoints import Checkpoints
from optical_mteb.training.composition import composition
from optical_mteb.training.evaluation import DevEvaluator
from optical_mteb.training.examples import Examples, pool_of, with_passages
from optical_mteb.training.freezing import keep_whole_words
from optical_mteb.training.frozen_layers import kept_outputs, shared_layers
from optical_mteb.training.losses.distillation import check_widths
from optical_mteb.training.models import Models
from optical_mteb.training.objective import build_loss
from optical_mteb.training.readings import Reading
from optical_mteb.training.recipe import Recipe
from optical_mteb.training.record import card_data
from optical_mteb.training.teacher_cache import TeacherCache
from optical_mteb.training.teacher_reading import read_banks, taught, teacher_cache
from optical_mteb.training.trainer import DistillationTrainer

Say = Callable[[str], None]


def batches(
    recipe: Recipe, models: Models, corpus: ParallelCorpus, *, rank: int = 0, world: int = 1
) -> tuple[ParallelCorpus, Pool, HybridBatchSampler]:
    """The pairs to draw examples from, passages behind sentences; these as numbers; and the batches drawn from them."""
    examples = with_passages(corpus, seed=recipe.seed) if recipe.batches.passages else corpus
    pool = pool_of(
        examples,
        models.student,
        prompt=models.student_prompt,
        english_prompt=models.monolingual_prompt(recipe.objective),
        max_tokens=recipe.student.max_tokens,
        sentences=len(corpus),
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
    return examples, pool, sampler


def fit(
    recipe: Recipe,
    models: Models,
    corpus: ParallelCorpus,
    checkpoints: Checkpoints,
    *,
    dev: ParallelCorpus | None,
    keep_frozen: bool,
    say: Say,
) -> tuple[int, dict[str, float]]:
    """Train the student in place on the corpus, from the last checkpoint on; `dev` are pairs to evaluate on.

    Returns:
        Steps that the student has taken, those of the best student where there is a dev split; and figures: the last logged
        ones, the best dev scores, and what the training read, in what time and memory.

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
    examples, pool, sampler = batches(
        recipe, models, corpus, rank=processes.process_index, world=processes.num_processes
    )
    if recipe.batches.multilingual:
        _check_comparable(student, teacher)
    pairs = examples.to_dataset().select_columns(["english", "translation"])
    with processes.main_process_first():
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
        with processes.main_process_first():
            for reading in loss.readings:
                caches[reading] = teacher_cache(recipe, models, read, reading=reading, layers=loss.layers, say=say)
    latest = checkpoints.latest()
    trainer = DistillationTrainer(
        student,
        teacher,
        loss,
        args=training_arguments(recipe, models, processes.num_processes),
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
    if dev is not None and recipe.evaluation is not None:
        evaluator = DevEvaluator(models, dev, kind=recipe.student.kind)
        evaluation = DevEvaluation(evaluator, recipe.evaluation, checkpoints, trainer.log)
        trainer.add_callback(evaluation)
    if latest is not None:
        say(f"an interrupted training of {recipe.name!r} continues from {latest.name}")
    clock = Clock(checkpoints)
    trainer.add_callback(clock)
    if (transformer := student.transformers_model) is not None:
        use_quick_attention(transformer, bfloat16=trainer.args.bf16, tokens=recipe.student.max_tokens)
    with ExitStack() as training:
        if processes.is_main_process:
            line = training.enter_context(progress_line(f"train {recipe.name}", recipe.training.steps, unit="steps"))
            trainer.add_callback(TrainingProgress(line, say))
        training.enter_context(kept_outputs(student, shared_layers(recipe.student) if keep_frozen else 0))
        trainer.train(resume_from_checkpoint=str(latest) if latest is not None else None)
    taken, seconds = trainer.state.global_step, clock.seconds
    figures = _last_figures(trainer.state.log_history)
    best = evaluation.best.step if evaluation is not None else None
    if best is not None:
        processes.wait_for_everyone()
        checkpoints.restore_best(student, best)
        logged = [entry for entry in trainer.state.log_history if entry.get("step") == best]
        figures |= {key: value for entry in logged for key, value in entry.items() if key.startswith("dev_")}
        say(f"best on the dev split: step {best} of {taken}, translation accuracy {figures['dev_accuracy']:.1%}")
    if recipe.training.average > 1:
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
    total, memory = composition(sampler, pool, taken).total, peak_memory()
    rate = total.examples / seconds if seconds else 0.0
    figures |= {
        "pairs": float(total.examples),
        "tokens": float(total.tokens),
        "seconds": round(seconds, 1),
        "pairs_per_second": round(rate, 2),
        "peak_memory_gb": round(memory / 1e9, 3),
    }
    say(
        f"trained {taken:,} steps: {total.examples:,} pairs, {total.tokens:,} tokens in {seconds:.0f} s, "
        f"{rate:.1f} pairs/s, peak memory {memory / 1e9:.2f} GB"
    )
    return taken if best is None else best, figures


def training_arguments(recipe: Recipe, models: Models, processes: int) -> SentenceTransformerTrainingArguments:
    """What sentence-transformers' trainer is told of a recipe, where so many processes share every batch.

    Raises:
        InputError: TensorBoard is asked for and not installed.
    """
    settings, device = recipe.training, models.student.device
    prompts = {
        "english": models.teacher_prompt,
        "asked": models.teacher_query_prompt,
        "translation": models.student_prompt,
        "document": models.target_prompt,
        "partner": models.target_prompt,
        "askedpartner": models.student_prompt,
        "monolingual": models.monolingual_prompt(recipe.objective),
    }
    if settings.tensorboard:
        if find_spec("tensorboard") is None:
            raise InputError(
                "training.tensorboard: the package tensorboard is not installed; pip install tensorboard, or leave it out"
            )
        # What transformers reads; its own default is a folder in the output folder, which is none here.
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(logs_folder() / recipe.name)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(runs_folder() / recipe.name),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size // processes,
        learning_rate=settings.learning_rate,
        # Of weights that have their own, by a pattern of their names.
        learning_rate_mapping={} if settings.embedding_rate is None else {r"\.trained$": settings.embedding_rate},
        warmup_steps=round(settings.warmup_ratio * settings.steps),
        weight_decay=settings.weight_decay,
        bf16=settings.precision == "bfloat16" or (settings.precision == "auto" and computes_in_bfloat16(device)),
        use_cpu=device.type == "cpu",
        seed=recipe.seed,
        prompts={column: prompt for column, prompt in prompts.items() if prompt or column == "monolingual"},
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        ddp_broadcast_buffers=False,
        report_to="tensorboard" if settings.tensorboard else "none",
    )
    # The recipe decides, not what `accelerate launch` was told.
    arguments.mixed_precision = "bf16" if arguments.bf16 else "no"
    use_one_gpu(arguments)
    return arguments


def _check_comparable(student: SentenceTransformer, teacher: SentenceTransformer) -> None:
    """Check that what a student reads can stand among what a teacher reads, as targets."""
    try:
        check_widths(student, teacher, "token")
        check_widths(student, teacher, "sentence")
    except ValueError as error:
        raise InputError(
            f"batches.multilingual: {error}; add a term that compares them, or leave multilingual out"
        ) from error


def peak_memory() -> int:
    """Largest memory that this process has held, in bytes: of the GPU where one is in use, resident otherwise."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    import resource

    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


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
