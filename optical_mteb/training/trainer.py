"""sentence-transformers' trainer, with a second tokenizer for the teacher and the losses' diagnostics in its log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from optical_mteb.training.losses.combined import CombinedLoss
from optical_mteb.training.losses.distillation import DistillationLoss


@dataclass
class DistillationCollator(SentenceTransformerDataCollator):
    """Tokenizes the `english` column for the teacher and the `translation` column for the student.

    Attributes:
        teacher_preprocess_fn: The teacher's `preprocess`.
    """

    teacher_preprocess_fn: Callable[..., Any] = field(kw_only=True)

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch of features, the teacher's first."""
        batch: dict[str, Any] = {}
        for column, preprocess in (("english", self.teacher_preprocess_fn), ("translation", self.preprocess_fn)):
            collate = SentenceTransformerDataCollator(preprocess_fn=preprocess, prompts=self.prompts)
            batch |= collate([{column: row[column]} for row in features])
            prompt = self.prompts.get(column) if isinstance(self.prompts, dict) else None
            if isinstance(prompt, str):
                batch[f"{column}_prompt_length"] -= _blank_tokens(preprocess, prompt)
        return batch


def _blank_tokens(preprocess: Callable[..., Any], prompt: str) -> int:
    """Tokens of a prompt's trailing blank, which byte-level tokenizers join to the text's first word instead."""
    whole, stripped = (preprocess([text])["input_ids"].shape[-1] for text in (prompt, prompt.rstrip()))
    return int(whole - stripped)


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
        **kwargs: As for `SentenceTransformerTrainer`; `loss` is a `DistillationLoss`.
    """

    def __init__(self, model: SentenceTransformer, teacher: SentenceTransformer, **kwargs: Any) -> None:  # noqa: ANN401
        self._teacher = teacher
        super().__init__(model=model, **kwargs)

    def get_data_collator(self, *args: Any, **kwargs: Any) -> DistillationCollator:  # noqa: ANN401 - the parent's
        """The collator with both tokenizers."""
        stock = super().get_data_collator(*args, **kwargs)
        return DistillationCollator(
            preprocess_fn=stock.preprocess_fn, prompts=stock.prompts, teacher_preprocess_fn=self._teacher.preprocess
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the loss terms and the losses' diagnostics of the last batch."""
        if "loss" in logs and isinstance(self.loss, DistillationLoss | CombinedLoss):
            logs = {**logs, **self.loss.diagnostics()}
        super().log(logs, start_time)
