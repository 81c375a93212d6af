"""sentence-transformers' trainer, with a second tokenizer for the teacher and the losses' diagnostics in its log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

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
        teacher = SentenceTransformerDataCollator(preprocess_fn=self.teacher_preprocess_fn, prompts=self.prompts)
        student = SentenceTransformerDataCollator(preprocess_fn=self.preprocess_fn, prompts=self.prompts)
        return {
            **teacher([{"english": row["english"]} for row in features]),
            **student([{"translation": row["translation"]} for row in features]),
        }


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
