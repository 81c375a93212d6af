"""The frame that the losses share: a trained student, a frozen teacher, one forward pass of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from optical_mteb.citation import CITATION
from optical_mteb.training.losses.encoding import Encoded, encode, special_token_ids
from optical_mteb.training.projection import token_width


class DistillationLoss(nn.Module, ABC):
    """Base class of losses between a student's encoding of a translation and a teacher's of the English sentence.

    Args:
        model: The student, trained.
        teacher: The teacher: frozen here, and kept in eval mode whatever mode the loss is put into.

    Raises:
        ValueError: Student and teacher differ in the width of what the loss compares.
    """

    compares: ClassVar[Literal["token", "sentence"]]
    """Which embeddings of student and teacher the loss compares."""

    special_ids: Tensor
    teacher_special_ids: Tensor

    def __init__(self, model: SentenceTransformer, teacher: SentenceTransformer) -> None:
        super().__init__()
        width = token_width if self.compares == "token" else SentenceTransformer.get_embedding_dimension
        if width(model) != width(teacher):
            raise ValueError(
                f"the student's {self.compares} embeddings are {width(model)} wide and the teacher's {width(teacher)}: "
                "give the student a projection first, with optical_mteb.training.projection.project_tokens"
            )
        self.model = model
        self.teacher = teacher.requires_grad_(False).eval()
        self.register_buffer("special_ids", special_token_ids(model), persistent=False)
        self.register_buffer("teacher_special_ids", special_token_ids(teacher), persistent=False)

    def train(self, mode: bool = True) -> Self:
        """Set the student's mode; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(
        self,
        sentence_features: Iterable[dict[str, Any]],
        labels: Tensor | None = None,  # noqa: ARG002 - the trainer passes it to every loss
    ) -> Tensor:
        """The loss of a batch: English features for the teacher first, translation features for the student second."""
        return self.compute_loss_from_encoded(*self.encode_pair(sentence_features))

    def encode_pair(self, sentence_features: Iterable[dict[str, Any]]) -> tuple[Encoded, Encoded]:
        """The student's encoding of the translations and the teacher's of the English sentences."""
        english, translation = sentence_features
        with torch.no_grad():
            taught = encode(self.teacher, english, self.teacher_special_ids)
        return encode(self.model, translation, self.special_ids), taught

    @abstractmethod
    def compute_loss_from_encoded(self, student: Encoded, teacher: Encoded) -> Tensor:
        """The loss of B pairs that have been encoded already, scalar, float32."""

    def diagnostics(self) -> dict[str, float]:
        """Figures of the last batch to log beside the loss."""
        return {}

    def get_config_dict(self) -> dict[str, Any]:
        """Settings to print in a model card."""
        return {}

    @property
    def citation(self) -> str:
        """BibTeX of the paper behind the loss."""
        return CITATION
