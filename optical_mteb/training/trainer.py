"""sentence-transformers' trainer, with a second tokenizer for the teacher and the losses' diagnostics in its log."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from optical_mteb.errors import InputError
from optical_mteb.training.losses.combined import CombinedLoss
from optical_mteb.training.losses.distillation import DistillationLoss
from optical_mteb.training.losses.encoding import blank_tokens
from optical_mteb.training.teacher_cache import TeacherCache

COLLAPSED = 0.05
"""Share of the spread between different sentences, the teacher's and its own at the start, that a student must keep."""

SMALLEST_SPREAD = 1e-3
"""Spread to keep under which nothing is said: a batch of almost equal sentences, or a base that tells few apart."""


@dataclass
class DistillationCollator(SentenceTransformerDataCollator):
    """Tokenizes the `english` column for the teacher and the `translation` column for the student.

    Attributes:
        teacher_preprocess_fn: The teacher's `preprocess`.
        teacher_cache: The teacher's outputs for all English sentences, handed on in the place of their tokens.
    """

    teacher_preprocess_fn: Callable[..., Any] = field(kw_only=True)
    teacher_cache: TeacherCache | None = field(kw_only=True, default=None)

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch of features, the teacher's first."""
        batch: dict[str, Any] = {}
        columns = {"english": self.teacher_preprocess_fn, "translation": self.preprocess_fn}
        if self.teacher_cache is not None:
            del columns["english"]
            taught = self.teacher_cache.features([row["english"] for row in features])
            batch |= {f"english_{name}": value for name, value in taught.items()}
        for column, preprocess in columns.items():
            collate = SentenceTransformerDataCollator(preprocess_fn=preprocess, prompts=self.prompts)
            batch |= collate([{column: row[column]} for row in features])
            prompt = self.prompts.get(column) if isinstance(self.prompts, dict) else None
            if isinstance(prompt, str):
                batch[f"{column}_prompt_length"] -= blank_tokens(preprocess, prompt)
        return batch


class LogLastStep(TrainerCallback):
    """Logs the last step, which the logging interval may miss."""

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the parent's signature
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> None:
        """Ask for a log line after the last step."""
        if state.global_step >= state.max_steps:
            control.should_log = True


class DistillationTrainer(SentenceTransformerTrainer):
    """`SentenceTransformerTrainer` for the losses of this package, over the columns `english` and `translation`.

    Args:
        model: The student.
        teacher: The teacher.
        teacher_cache: Its outputs for all English sentences, or None to run it.
        **kwargs: As for `SentenceTransformerTrainer`; `loss` is a `DistillationLoss` or a `CombinedLoss`.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        teacher: SentenceTransformer,
        *,
        teacher_cache: TeacherCache | None = None,
        **kwargs: Any,  # noqa: ANN401 - the parent's
    ) -> None:
        self._teacher = teacher
        self._teacher_cache = teacher_cache
        super().__init__(model=model, **kwargs)

    def get_data_collator(self, *args: Any, **kwargs: Any) -> DistillationCollator:  # noqa: ANN401 - the parent's
        """The collator with both tokenizers."""
        stock = super().get_data_collator(*args, **kwargs)
        return DistillationCollator(
            preprocess_fn=stock.preprocess_fn,
            prompts=stock.prompts,
            teacher_preprocess_fn=self._teacher.preprocess,
            teacher_cache=self._teacher_cache,
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the loss terms and the losses' diagnostics of the last batch, and stop a training that has failed.

        Raises:
            InputError: The loss is not finite, or the student gives every sentence the same embedding.
        """
        if "loss" in logs and isinstance(self.loss, DistillationLoss | CombinedLoss):
            logs = {**logs, **self.loss.diagnostics()}
            check_health(logs, self.state.global_step)
        super().log(logs, start_time)


def check_health(figures: Mapping[str, float], step: int) -> None:
    """Stop a training that cannot end well.

    Args:
        figures: Logged figures.
        step: Step that they were logged at.

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
