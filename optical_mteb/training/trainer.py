"""sentence-transformers' trainer for hybrid batches: two tokenizers, exact parts of a batch, restarts, many devices."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch import Tensor
from torch.utils.data import DataLoader

from optical_mteb.errors import InputError
from optical_mteb.training.batching import HybridBatchSampler
from optical_mteb.training.checkpoints import Checkpoints, restore_optimizer, restore_weights
from optical_mteb.training.examples import Examples, group_of
from optical_mteb.training.losses.combined import CombinedLoss, Targets
from optical_mteb.training.losses.encoding import prompt_tokens, read_texts
from optical_mteb.training.readings import ENGLISH, PARTNER, Reading
from optical_mteb.training.teacher_cache import TeacherCache

COLUMNS = ("translation", "document", *ENGLISH.values(), *PARTNER.values())
"""Columns of a batch: read by the student, twice; by the teacher; and by the student as a target."""

PER_TOKEN = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
"""What a tokenizer gives for every token."""

COLLAPSED = 0.05
"""Share of the spread between different sentences, the teacher's and its own at the start, that a student must keep."""

SMALLEST_SPREAD = 1e-3
"""Spread to keep under which nothing is said: a batch of almost equal sentences, or a base that tells few apart."""


@dataclass
class DistillationCollator(SentenceTransformerDataCollator):
    """Tokenizes the English columns for the teacher, the others for the student.

    Rows that have a partner come last, and the teacher does not read their English side. A row whose translation is the
    English sentence itself is read as the document that it is for the teacher, with the prompt of `monolingual`.

    Attributes:
        teacher_preprocess_fn: The teacher's `preprocess`.
        teacher_caches: The teacher's outputs for the English sentences of the batches in a reading, handed on in the place
            of their tokens.
        readings: The readings that the loss brings the student to.
        documents: Whether the student reads the translations as documents, too.
    """

    teacher_preprocess_fn: Callable[..., Any] = field(kw_only=True)
    teacher_caches: Mapping[Reading, TeacherCache] = field(kw_only=True, default_factory=dict)
    readings: Sequence[Reading] = field(kw_only=True, default=("document",))
    documents: bool = field(kw_only=True, default=False)

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch of features, the teacher's first."""
        batch: dict[str, Any] = {}
        rows = sorted(features, key=lambda row: "partner" in row)
        taught = [row["english"] for row in rows if "partner" not in row]
        partners = [row["partner"] for row in rows if "partner" in row]
        for reading in self.readings:
            if taught and reading in self.teacher_caches:
                kept = self.teacher_caches[reading].features(taught)
                batch |= {f"{ENGLISH[reading]}_{name}": value for name, value in kept.items()}
            elif taught:
                batch |= self._column(ENGLISH[reading], taught, self.teacher_preprocess_fn)
            if partners:
                batch |= self._column(PARTNER[reading], partners, self.preprocess_fn)
        own = [row["translation"] == row["english"] for row in rows]
        translations = [row["translation"] for row in rows]
        batch |= self._translations(translations, own)
        if self.documents:
            batch |= self._column("document", translations, self.preprocess_fn)
        batch["translation_group"] = torch.tensor([group_of(row.get("meaning", row["english"])) for row in rows])
        return batch

    def _translations(self, texts: list[str], own: list[bool]) -> dict[str, Any]:
        """Features of what the student reads; `own` says which texts are English sentences that the teacher reads, too."""
        prompts = self.prompts if isinstance(self.prompts, dict) else {}
        prompt, for_own = (str(prompts.get(column, "")) for column in ("translation", "monolingual"))
        if not any(own) or "monolingual" not in prompts or prompt == for_own:
            return self._column("translation", texts, self.preprocess_fn)
        chosen = [for_own if same else prompt for same in own]
        joined = [before + text for before, text in zip(chosen, texts, strict=True)]
        batch = _named("translation", read_texts(self.preprocess_fn, joined))
        lengths = {before: prompt_tokens(self.preprocess_fn, before) for before in set(chosen)}
        # A column, which broadcasts over the tokens of a row.
        batch["translation_prompt_length"] = torch.tensor([[lengths[before]] for before in chosen])
        return batch

    def _column(self, column: str, texts: list[str], preprocess: Callable[..., Any]) -> dict[str, Any]:
        prompt = self.prompts.get(column) if isinstance(self.prompts, dict) else None
        return _named(column, read_texts(preprocess, texts, prompt if isinstance(prompt, str) else ""))


def _named(column: str, features: Mapping[str, Any]) -> dict[str, Any]:
    """Features under the names that sentence-transformers' trainer gives them in a batch."""
    return {f"{column}_{name}": value for name, value in features.items()}


class DistillationTrainer(SentenceTransformerTrainer):
    """`SentenceTransformerTrainer` for a `CombinedLoss` over hybrid batches.

    Chance in a step, dropout above all, follows from the seed, the number of the step and the process alone.

    Args:
        model: The student.
        teacher: The teacher.
        loss: The loss, made with both.
        sampler: The batches of the training.
        examples: The texts that the sampler numbers.
        teacher_caches: The teacher's outputs for the English sentences of the batches by reading; it is run for the others.
        mini_batch_tokens: Tokens, padding included, that go through the student at once, at least a row; a batch that
            holds more is divided. Fewer need less memory, and give the same step.
        checkpoints: Where to save the training and to go on from; None to save nothing.
        **kwargs: As for `SentenceTransformerTrainer`.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        teacher: SentenceTransformer,
        loss: CombinedLoss,
        *,
        sampler: HybridBatchSampler,
        examples: Examples,
        teacher_caches: Mapping[Reading, TeacherCache] | None = None,
        mini_batch_tokens: int | None = None,
        checkpoints: Checkpoints | None = None,
        **kwargs: Any,  # noqa: ANN401 - the parent's
    ) -> None:
        self._student = model
        self._teacher = teacher
        self._combined = loss
        self._sampler = sampler
        self._examples = examples
        self._teacher_caches = teacher_caches or {}
        self._mini_batch_tokens = mini_batch_tokens
        self._checkpoints = checkpoints
        super().__init__(model=model, loss=loss, **kwargs)

    def get_data_collator(self, *args: Any, **kwargs: Any) -> DistillationCollator:  # noqa: ANN401 - the parent's
        """The collator with both tokenizers."""
        stock = super().get_data_collator(*args, **kwargs)
        return DistillationCollator(
            preprocess_fn=stock.preprocess_fn,
            prompts=stock.prompts,
            teacher_preprocess_fn=self._teacher.preprocess,
            teacher_caches=self._teacher_caches,
            readings=self._combined.readings,
            documents="document" in map(self._combined.reads, self._combined.terms),
        )

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The batches of this process; the sampler has divided them already."""
        return DataLoader(
            self._examples,
            # It yields examples, where torch's annotation expects row numbers.
            batch_sampler=cast("Any", self._sampler),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Tensor | int | None = None,  # noqa: ARG002 - the parent's signature
    ) -> Tensor:
        """Loss of a batch, its gradient added up part by part."""
        torch.manual_seed(hash((self.args.seed, self.state.global_step, self.args.process_index)) % 2**63)
        model.train()
        loss = self._combined
        if loss.model is not model:
            self.override_model_in_loss(loss, cast("Any", model))
        columns = by_column(self._prepare_inputs(inputs))
        lengths = columns["translation"]["attention_mask"].sum(-1).tolist()
        rows = len(lengths)
        with self.compute_loss_context_manager():
            targets = loss.targets(columns)
        total = torch.zeros((), device=self.args.device)
        sums: dict[str, Tensor] = {}
        for part in parts_of(lengths, self._mini_batch_tokens):
            last = part.stop == rows
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    share = (part.stop - part.start) / rows
                    terms = loss.weighted_terms(rows_of(columns, part), own_first(targets, part, rows))
                    terms = {name: share * value for name, value in terms.items()}
                    value = torch.stack(list(terms.values())).sum() if terms else None
                if value is not None and value.requires_grad:
                    self.accelerator.backward(value)
                    total += value.detach()
            for name, term in terms.items():
                sums[name] = sums.get(name, torch.zeros_like(term)) + term.detach()
        # All processes log the same terms, whatever their rows are made of.
        self.track_loss_components({name: sums.get(name, total.new_zeros(())) for name in loss.terms})
        return total

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:  # noqa: ANN401, ARG002 - the parent's signature
        if self._checkpoints is not None and self.args.should_save:
            self._checkpoints.progress["first_cosine"] = self._combined.first_cosine
            self._checkpoints.save(self._student, *self._stepping(), self.state)

    def _load_from_checkpoint(self, checkpoint_path: str, model: Any = None) -> None:  # noqa: ANN401, ARG002
        restore_weights(Path(checkpoint_path), self._student)
        if self._checkpoints is not None:
            self._combined.first_cosine = self._checkpoints.progress.get("first_cosine")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            restore_optimizer(Path(checkpoint), self._student, *self._stepping())

    def _stepping(self) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        """Optimizer and scheduler themselves, without accelerate's wrapper."""
        return cast("Any", self.optimizer).optimizer, cast("Any", self.lr_scheduler)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing to load: every step seeds itself."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the loss terms and the losses' diagnostics of the last batch, and stop a training that has failed.

        Raises:
            InputError: The loss is not finite, or the student gives every sentence the same embedding.
        """
        if "loss" in logs:
            logs = {**logs, **self._combined.diagnostics()}
            check_health(logs, self.state.global_step)
        super().log(logs, start_time)


def check_health(figures: Mapping[str, float], step: int) -> None:
    """Stop a training whose logged figures say that it cannot end well.

    Raises:
        InputError: A loss is not finite, or the student's embeddings have collapsed: between different sentences, the
            mean of 1 - cosine is below `COLLAPSED` of the teacher's and of the student's own before training.
    """
    broken = next((name for name, value in figures.items() if not math.isfinite(value)), None)
    if broken is not None:
        raise InputError(
            f"training diverged: {broken} is {figures[broken]} at step {step}; nothing was saved; "
            "lower training.learning_rate, or raise the temperature or epsilon of the objective"
        )
    spreads = [1 - figures.get(f"{model}_cosine", math.nan) for model in ("student", "teacher", "first")]
    spread, wanted = spreads[0], min(spreads[1:])
    if wanted > SMALLEST_SPREAD and spread < COLLAPSED * wanted:
        raise InputError(
            f"training collapsed: at step {step} different sentences have a mean cosine of "
            f"{figures['student_cosine']:.4f} ({figures['teacher_cosine']:.4f} in the teacher); nothing was saved; "
            "lower training.learning_rate, or add [objective.contrastive], which says what must stay apart"
        )


def by_column(inputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Features of a batch by column: `english_input_ids` is `input_ids` of `english`."""
    columns: dict[str, dict[str, Any]] = {}
    for key, value in inputs.items():
        column, _, feature = key.partition("_")
        if column in COLUMNS:
            columns.setdefault(column, {})[feature] = value
    return columns


def parts_of(lengths: Sequence[int], most: int | None) -> list[slice]:
    """Divide a batch into runs of rows that hold at most so many tokens, the padding to a run's longest row included.

    Args:
        lengths: Tokens of each row, [B].
        most: Tokens of a part, at least a row; None for one part.
    """
    parts, start, longest = [], 0, 0
    for row, length in enumerate(lengths):
        longest = max(longest, length)
        if most and row > start and longest * (row + 1 - start) > most:
            parts.append(slice(start, row))
            start, longest = row, length
    return [*parts, slice(start, len(lengths))]


def rows_of(columns: Mapping[str, dict[str, Any]], part: slice) -> dict[str, dict[str, Any]]:
    """Some rows of a batch: the translations without the columns where all of these are padded, and their English sides.

    The English columns have the first rows only, and are left out where they have none of these.
    """
    chosen = {
        name: {
            key: value[part] if isinstance(value, Tensor) and value.dim() else value
            for key, value in columns[name].items()
        }
        for name in ("translation", "document", *ENGLISH.values())
        if name in columns and len(columns[name]["attention_mask"][part])
    }
    for name in ("translation", "document"):
        read = chosen.get(name, {})
        used = read["attention_mask"].any(0).nonzero().flatten().tolist() if read else []
        read |= {key: read[key][:, used[0] : used[-1] + 1] for key in PER_TOKEN if key in read}
    return chosen


def own_first(targets: Targets, part: slice, rows: int) -> Targets:
    """The targets with those of a part of this process's rows in front."""
    if part == slice(0, rows):
        return targets
    ordered: Targets = {}
    for reading, encoded in targets.items():
        places = torch.arange(len(encoded.ids), device=encoded.ids.device)
        ordered[reading] = encoded.rows(torch.cat([places[part], places[: part.start], places[part.stop :]]))
    return ordered
