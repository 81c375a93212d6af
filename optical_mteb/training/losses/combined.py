"""A weighted sum of distillation losses that share one forward pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss
from torch import Tensor, nn
from torch.nn.functional import normalize

from optical_mteb.training.losses.distillation import DistillationLoss, PairEncoder
from optical_mteb.training.losses.encoding import Encoded, duplicates
from optical_mteb.training.losses.english_anchor import english_drift
from optical_mteb.training.projection import token_width

DRIFT_SENTENCES = 8
"""Sentences of a batch that the English drift is measured on."""

Term = DistillationLoss | EmbedDistillLoss
"""A loss of this package, or sentence-transformers' own sentence-level distillation."""


class CombinedLoss(PairEncoder):
    """Weighted sum of distillation losses; student and teacher run once a batch, whatever the number of terms.

    The trainer logs each weighted term under its name.

    Args:
        model: The student.
        teacher: The teacher: frozen here, and kept in eval mode.
        terms: Weight and loss by name.

    Requirements:
        1. The terms are losses of this package, made with the same student and teacher, or `EmbedDistillLoss` of
           sentence-transformers, made with the same student, which is given the teacher's sentence embeddings.

    Inputs:
        +--------------------------------+--------+
        | Columns                        | Labels |
        +================================+========+
        | (english, translation) pairs   | none   |
        +--------------------------------+--------+

    Relations:
        - Its terms: :class:`OpticalLoss`, :class:`ContrastiveDistillationLoss`, :class:`TransportContrastiveLoss`,
          :class:`EnglishAnchorLoss`, and `sentence_transformers.losses.EmbedDistillLoss`.

    Example:
        ::

            loss = CombinedLoss(
                student,
                teacher,
                {
                    "optical": (0.2, OpticalLoss(student, teacher)),
                    "contrastive": (1.0, ContrastiveDistillationLoss(student, teacher)),
                },
            )

    Raises:
        ValueError: There is no term, or they do not share student and teacher.
    """

    def __init__(
        self, model: SentenceTransformer, teacher: SentenceTransformer, terms: Mapping[str, tuple[float, Term]]
    ) -> None:
        super().__init__(model, teacher)
        if not terms:
            raise ValueError("a combined loss needs at least one term")
        for name, (_, loss) in terms.items():
            if loss.model is not model or getattr(loss, "teacher", teacher) is not teacher:
                raise ValueError(f"term {name!r} was made with another student or teacher")
        self.terms = dict(terms)
        self.losses = nn.ModuleList(loss for _, loss in terms.values())
        own = [loss for _, loss in terms.values() if isinstance(loss, DistillationLoss)]
        self.layers = tuple(sorted({layer for loss in own for layer in loss.layers}))
        same_tokens = model.tokenizer.get_vocab() == teacher.tokenizer.get_vocab()
        self._measures_drift = same_tokens and token_width(model) == token_width(teacher)
        self._longest = int(model.max_seq_length or 0)
        self._first: Encoded | None = None
        self._last: tuple[dict[str, Any], Encoded, Encoded] | None = None

    def forward(
        self,
        sentence_features: Iterable[dict[str, Any]],
        labels: Tensor | None = None,  # noqa: ARG002 - the trainer passes it to every loss
    ) -> dict[str, Tensor]:
        """Weighted terms by name, scalars, float32; their sum is the loss."""
        english, translation = sentence_features
        teacher = self.encode_teacher(english, self.layers)
        columns = {"english": english, "translation": translation}
        needed = dict.fromkeys(_reads(loss) for _, loss in self.terms.values())
        student = {column: self.encode_student(columns[column], self.layers) for column in needed}
        own = student.get("translation")
        if own is not None:
            seen = Encoded(own.tokens.detach()[:, :0], own.content, own.sentence.detach(), own.ids)
            self._first = self._first or seen
            self._last = (english, seen, teacher)
        return {
            name: weight * _value(loss, student[_reads(loss)], teacher) for name, (weight, loss) in self.terms.items()
        }

    def diagnostics(self) -> dict[str, float]:
        """Figures of the last batch: of all terms, and of the student itself.

        Returns:
            Besides the terms' own: `student_cosine` and `teacher_cosine`, the mean cosine between the embeddings of
            different sentences, 1 where they have collapsed into one, and `first_cosine`, the student's for its first
            batch; `english_drift`, see the function. A figure that a batch does not give is left out.
        """
        figures = {
            key: value
            for _, loss in self.terms.values()
            if isinstance(loss, DistillationLoss)
            for key, value in loss.diagnostics().items()
        }
        if self._last is not None:
            english, student, teacher = self._last
            cosines = {"student": student, "teacher": teacher, "first": self._first or student}
            for name, encoded in cosines.items():
                cosine = mean_pairwise_cosine(encoded).item()
                figures |= {f"{name}_cosine": cosine} if math.isfinite(cosine) else {}
            figures |= self._drift(english, teacher)
        return figures

    @torch.no_grad()
    def _drift(self, english: dict[str, Any], teacher: Encoded) -> dict[str, float]:
        columns = english["input_ids"].shape[1]
        if not self._measures_drift or columns > self._longest:
            return {}
        few = {
            key: value[:DRIFT_SENTENCES] if isinstance(value, Tensor) and value.dim() else value
            for key, value in english.items()
        }
        training = self.model.training
        self.model.eval()
        tokens, content, sentence, ids = (field[:DRIFT_SENTENCES] for field in teacher[:4])
        taught = Encoded(tokens, content, sentence, ids)
        drift = english_drift(self.encode_student(few), taught).item()
        self.model.train(training)
        return {"english_drift": drift}

    def get_config_dict(self) -> dict[str, Any]:
        """Settings to print in a model card."""
        return {
            name: {"weight": weight, **(loss.get_config_dict() if hasattr(loss, "get_config_dict") else {})}
            for name, (weight, loss) in self.terms.items()
        }


def mean_pairwise_cosine(encoded: Encoded) -> Tensor:
    """Mean cosine between the embeddings of different sentences, scalar: near 1 where all have the same embedding.

    Args:
        encoded: B sentences; NaN where all of them are the same one.
    """
    unit = normalize(encoded.sentence.float(), dim=-1)
    different = ~duplicates(encoded)
    return (unit @ unit.T)[different].mean()


def _reads(loss: Term) -> str:
    return loss.reads if isinstance(loss, DistillationLoss) else "translation"


def _value(loss: Term, student: Encoded, teacher: Encoded) -> Tensor:
    if isinstance(loss, DistillationLoss):
        return loss.compute_loss_from_encoded(student, teacher)
    value: Tensor = loss.compute_loss_from_embeddings([student.sentence], [teacher.sentence])
    return value
