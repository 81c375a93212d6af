"""One training run: from a recipe to a student in the store."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, set_seed

from optical_mteb.bases import as_late_interaction, base_revision
from optical_mteb.bitext import ParallelCorpus
from optical_mteb.bitext.held_out import hold_out
from optical_mteb.errors import InputError
from optical_mteb.hardware import check_device, computes_in_bfloat16, on_cpu, quick_attention
from optical_mteb.mteb_compat import use_one_gpu
from optical_mteb.progress import progress_line
from optical_mteb.storage import atomic_folder, check_writable, held, logs_folder, not_writable, runs_folder
from optical_mteb.students.sidecar import OverlapRecord, Sidecar
from optical_mteb.students.store import ORGANISATION, student_names, student_path
from optical_mteb.training.bank import BANK_TOKENS, bank_texts, read_bank
from optical_mteb.training.batching import HybridBatchSampler, Pool
from optical_mteb.training.checkpoint_record import Manifest
from optical_mteb.training.checkpoints import Checkpoints
from optical_mteb.training.composition import Composition, composition
from optical_mteb.training.dev_split import DevEvaluation
from optical_mteb.training.evaluation import DevEvaluator
from optical_mteb.training.examples import Examples, pool_of, with_passages
from optical_mteb.training.losses import Bank
from optical_mteb.training.losses.distillation import check_widths
from optical_mteb.training.models import Models, embedding_width, load_models
from optical_mteb.training.objective import build_loss
from optical_mteb.training.overlap import leave_out_overlaps
from optical_mteb.training.progress import TrainingProgress
from optical_mteb.training.readings import Reading
from optical_mteb.training.recipe import DocumentRankTerm, RankTerm, Recipe, TrainingSettings
from optical_mteb.training.record import add_to_card, card_data, late_interaction_card, sidecar
from optical_mteb.training.summary import Summary, peak_memory
from optical_mteb.training.teacher_cache import TeacherCache
from optical_mteb.training.trainer import DistillationTrainer, LogLastStep
from optical_mteb.training.used_words import keep_whole_words

if TYPE_CHECKING:
    from optical_mteb.collection.task import CollectionRetrieval

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


def train(
    recipe: Recipe,
    *,
    recipe_folder: Path | None = None,
    device: str | None = None,
    resume: bool = False,
    fresh: bool = False,
    tasks: Sequence[CollectionRetrieval] = (),
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
        say: Takes the lines that report progress.

    Returns:
        What the store has on record about the student.

    Raises:
        InputError: A base, a prompt, a bitext source or the store is not usable, another process trains a student of
            that name, an interrupted training of that name was started with something else, or the training diverged;
            the store then is as it was.
    """
    if resume and fresh:
        raise InputError("--resume goes on with an interrupted training and --fresh forgets it; take one of them")
    check_device(device)
    processes = PartialState(cpu=on_cpu(device))
    if not processes.is_main_process:
        say = _silent
    if processes.num_processes > 1:
        device = str(processes.device)
    target = student_path(recipe.name)
    taken = (
        f"student {recipe.name}: another process is training it; wait for its end, or give this one another name "
        "(--set name=NAME)"
    )
    lock = held(runs_folder() / f".{recipe.name}.lock", taken) if processes.is_main_process else nullcontext()
    with lock:
        return _train(
            recipe, target, recipe_folder, device, processes, resume=resume, fresh=fresh, tasks=tasks, say=say
        )


def _train(
    recipe: Recipe,
    target: Path,
    recipe_folder: Path | None,
    device: str | None,
    processes: PartialState,
    *,
    resume: bool,
    fresh: bool,
    tasks: Sequence[CollectionRetrieval],
    say: Say,
) -> Sidecar:
    """`train`, in the one process that trains a student of that name, or the processes that share its batches."""
    set_seed(recipe.seed)
    if recipe.name in student_names():
        say(f"student {recipe.name} is in the store; the new one takes its place once it is trained")
    check_writable(target)
    checkpoints = Checkpoints(
        runs_folder() / recipe.name, keep=max(recipe.training.keep_checkpoints, recipe.training.average)
    )
    with processes.main_process_first() if processes.num_processes > 1 else nullcontext():
        corpus, overlaps = _bitext(recipe, recipe_folder, tasks, say)
        training, dev = split(recipe, corpus)
        models = load_models(recipe, training, device=device, say=say)
        manifest = Manifest(
            recipe=recipe.model_dump(mode="json"),
            bitext_fingerprint=corpus.fingerprint,
            base_revision=models.base_revision,
            teacher_revision=models.teacher_revision,
        )
        if processes.is_main_process:
            checkpoints.begin(manifest, resume=resume, fresh=fresh, say=say)
    fitted = fit(recipe, models, training, dev=dev, checkpoints=checkpoints, say=say)
    processes.wait_for_everyone()
    if processes.is_main_process:
        try:
            with atomic_folder(target) as folder:
                save(recipe, models, training, fitted, folder)
                record = sidecar(
                    recipe, corpus, models, base_revision(str(folder)), fitted.steps, fitted.metrics, overlaps
                )
                record.write(folder)
        except (OSError, SafetensorError) as error:
            raise not_writable(target, error) from error
        checkpoints.end()
        say(str(fitted.summary))
        say(f"student {record.name} ({record.parameters / 1e6:.1f} million parameters): {target}")
    processes.wait_for_everyone()
    return Sidecar.read(target)


def plan(
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
    pool, sampler = batches(recipe, models, examples_of(recipe, training), sentences=len(training))
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
        english_prompt=_monolingual_prompt(recipe, models),
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
    say: Say = print,
) -> Fitted:
    """Train the student in place.

    Args:
        recipe: The recipe.
        models: Student and teacher.
        corpus: The pairs to train on.
        dev: Pairs to evaluate on; needs checkpoints, which keep the best student.
        checkpoints: Where to save the training and to go on from; None to save nothing.
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
        banks = _banks(recipe, models, corpus, say)
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
        args=_arguments(recipe, models, processes.num_processes, save=checkpoints is not None),
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
        say(f"an interrupted training of {recipe.name!r} goes on from {latest.name}")
    started, before = time.perf_counter(), checkpoints.progress.get("seconds", 0.0) if checkpoints else 0.0
    if checkpoints is not None:
        trainer.add_callback(_Clock(checkpoints, started, before))
    with ExitStack() as training:
        if processes.is_main_process:
            line = training.enter_context(progress_line(f"train {recipe.name}", recipe.training.steps, unit="steps"))
            trainer.add_callback(TrainingProgress(line, say))
        training.enter_context(
            quick_attention(student.device, bfloat16=trainer.args.bf16, tokens=recipe.student.max_tokens)
        )
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


def save(recipe: Recipe, models: Models, corpus: ParallelCorpus, fitted: Fitted, folder: Path) -> None:
    """Write the student as the native checkpoint of its kind, with its card, into a folder."""
    name = f"{ORGANISATION}/{recipe.name}"
    if recipe.student.kind == "dense":
        models.student.save_pretrained(str(folder), model_name=name)
        add_to_card(folder, recipe, corpus, fitted.metrics)
        return
    student = as_late_interaction(models.student)
    student.model_card_data = late_interaction_card(recipe, corpus, models.student.model_card_data)
    student.model_card_data.register_model(student)
    student.save_pretrained(str(folder), model_name=name)
    add_to_card(folder, recipe, corpus, fitted.metrics)


def taught(sampler: HybridBatchSampler, english: Sequence[str]) -> list[str]:
    """The English sentences that the teacher reads for the steps of a training, one for each pair that they draw."""
    batches = map(sampler.batch, range(len(sampler)))
    read = {example.pair for batch in batches for example in batch if example.kind != "multilingual"}
    return [english[pair] for pair in sorted(read)]


def teacher_cache(
    recipe: Recipe,
    models: Models,
    texts: Sequence[str],
    *,
    reading: Reading = "document",
    layers: Sequence[int] = (),
    tokens: bool = True,
    max_tokens: int | None = None,
    say: Say = print,
) -> TeacherCache:
    """The teacher's outputs for English texts, from disk where they are there.

    Args:
        recipe: The recipe.
        models: Student and teacher.
        texts: The texts.
        reading: How the teacher reads them.
        layers: Hidden layers to keep besides.
        tokens: Keep what the teacher says of tokens.
        max_tokens: Longer texts are cut; at `student.max_tokens` by default.
        say: Takes the lines that report progress.
    """
    tokenizer = models.teacher.tokenizer.backend_tokenizer.to_str()
    cache = TeacherCache.open(
        models.teacher,
        # A teacher that was pruned with its student gives the same tokens other ids.
        revision=" ".join(
            [
                models.teacher_revision,
                hashlib.sha256(tokenizer.encode()).hexdigest()[:16],
                *([models.teacher_variant] if models.teacher_variant else []),
            ]
        ),
        prompt=models.teacher_reads(reading),
        max_tokens=max_tokens or recipe.student.max_tokens,
        layers=layers,
        tokens=tokens,
    )
    read = cache.ensure(texts, say=say)
    say(f"teacher: read {read:,} texts, {len(cache):,} in the cache")
    return cache


def _banks(recipe: Recipe, models: Models, corpus: ParallelCorpus, say: Say) -> dict[str, Bank]:
    """The bank of each ranking term, read by the teacher, by the term's name."""
    banks = {}
    longest = models.teacher.max_seq_length
    for name, term in recipe.objective.terms.items():
        if not isinstance(term, RankTerm):
            continue
        texts = bank_texts(corpus, term, seed=recipe.seed)
        by_token = (term.score or {"late_interaction": "maxsim"}.get(recipe.student.kind)) == "maxsim"
        tokens = by_token and not isinstance(term, DocumentRankTerm)
        models.teacher.max_seq_length = BANK_TOKENS
        cache = teacher_cache(
            recipe,
            models,
            texts,
            reading="query" if isinstance(term, DocumentRankTerm) else "document",
            tokens=tokens,
            max_tokens=BANK_TOKENS,
            say=say,
        )
        models.teacher.max_seq_length = longest
        banks[name] = read_bank(texts, cache, embedding_width(models.teacher), tokens=tokens)
    return banks


def _arguments(recipe: Recipe, models: Models, processes: int, *, save: bool) -> SentenceTransformerTrainingArguments:
    settings, device = recipe.training, models.student.device
    prompts = {
        "english": models.teacher_prompt,
        "asked": models.teacher_query_prompt,
        "translation": models.student_prompt,
        "document": models.target_prompt,
        "partner": models.target_prompt,
        "askedpartner": models.student_prompt,
        "monolingual": _monolingual_prompt(recipe, models),
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
        learning_rate_mapping=_rate_mapping(settings),
        warmup_steps=round(settings.warmup_ratio * settings.steps),
        weight_decay=settings.weight_decay,
        bf16=settings.precision == "bfloat16" or (settings.precision == "auto" and computes_in_bfloat16(device)),
        use_cpu=device.type == "cpu",
        seed=recipe.seed,
        prompts={column: prompt for column, prompt in prompts.items() if prompt or column == "monolingual"},
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps" if save else "no",
        save_steps=settings.checkpoint_every,
        ddp_broadcast_buffers=False,
        report_to="tensorboard" if settings.tensorboard else "none",
    )
    # The recipe decides, not what `accelerate launch` was told.
    arguments.mixed_precision = "bf16" if arguments.bf16 else "no"
    use_one_gpu(arguments)
    return arguments


def _monolingual_prompt(recipe: Recipe, models: Models) -> str:
    """Text before an English sentence that the student reads in a translation's place: as what it is compared with."""
    asked = any(term.target == "query" for term in recipe.objective.terms.values())
    return models.student_prompt if asked else models.monolingual_prompt


def _rate_mapping(settings: TrainingSettings) -> dict[str, float]:
    """Learning rates of weights that have their own, by a pattern of their names."""
    return {} if settings.embedding_rate is None else {r"\.trained$": settings.embedding_rate}


def _silent(_: str) -> None:
    """What processes but the first say."""


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
