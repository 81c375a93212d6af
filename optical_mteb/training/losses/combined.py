"""A weighted sum of distillation losses that share one forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from optical_mteb.training.losses.distillation import DistillationLoss


class CombinedLoss(nn.Module):
    """Weighted sum of distillation losses; student and teacher run once a batch, whatever the number of terms.

    The trainer logs each weighted term under its name.

    Args:
        terms: Weight and loss by name.

    Requirements:
        1. The terms are losses of this package, made with the same student and teacher.

    Inputs:
        +--------------------------------+--------+
        | Columns                        | Labels |
        +================================+========+
        | (english, translation) pairs   | none   |
        +--------------------------------+--------+

    Relations:
        - Its terms: :class:`OpticalLoss`, :class:`ContrastiveDistillationLoss`, :class:`TransportContrastiveLoss`.

    Example:
        ::

            loss = CombinedLoss(
                {
                    "optical": (0.2, OpticalLoss(student, teacher)),
                    "contrastive": (1.0, ContrastiveDistillationLoss(student, teacher)),
                }
            )

    Raises:
        ValueError: There is no term, or they do not share student and teacher.
    """

    def __init__(self, terms: Mapping[str, tuple[float, DistillationLoss]]) -> None:
        super().__init__()
        losses = [loss for _, loss in terms.values()]
        if not losses:
            raise ValueError("a combined loss needs at least one term")
        if any(loss.model is not losses[0].model or loss.teacher is not losses[0].teacher for loss in losses):
            raise ValueError(f"terms {', '.join(terms)} do not share one student and one teacher")
        # sentence-transformers swaps the wrapped model in here, and in the terms.
        self.model = losses[0].model
        self.terms = dict(terms)
        self.losses = nn.ModuleList(losses)

    def forward(
        self,
        sentence_features: Iterable[dict[str, Any]],
        labels: Tensor | None = None,  # noqa: ARG002 - the trainer passes it to every loss
    ) -> dict[str, Tensor]:
        """Weighted terms by name, scalars, float32; their sum is the loss."""
        _, first = next(iter(self.terms.values()))
        student, teacher = first.encode_pair(sentence_features)
        return {
            name: weight * loss.compute_loss_from_encoded(student, teacher)
            for name, (weight, loss) in self.terms.items()
        }

    def diagnostics(self) -> dict[str, float]:
        """Figures of all terms for the last batch."""
        return {key: value for _, loss in self.terms.values() for key, value in loss.diagnostics().items()}

    def get_config_dict(self) -> dict[str, Any]:
        """Settings to print in a model card."""
        return {name: {"weight": weight, **loss.get_config_dict()} for name, (weight, loss) in self.terms.items()}

    @property
    def citation(self) -> str:
        """BibTeX of the paper behind the losses."""
        return next(iter(self.terms.values()))[1].citation
