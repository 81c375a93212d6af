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
from optical_mteb.training.losses.targets import from_all_devices, joined
from optical_mteb.training.projection import token_width
from optical_mteb.training.readings import ENGLISH, PARTNER, Reading

DRIFT_SENTENCES = 8
"""Sentences of a batch that the English drift is measured on."""

Targets = dict[Reading, Encoded]
"""What each translation of a batch is to be brought to, in each reading that a term asks for."""

Columns = Mapping[str, dict[str, Any]]
"""Features of a batch by column: `translation`, those of `ENGLISH` and `PARTNER`, and `document`: translations again."""

Term = DistillationLoss | EmbedDistillLoss
"""A loss of this package, or sentence-transformers' own sentence-level distillation."""


class CombinedLoss(PairEncoder):
    """Weighted sum of distillation losses; student and teacher run once a batch, whatever the number of terms.

    The trainer logs each weighted term under its name.

    Args:
        model: The student.
        teacher: The teacher: frozen here, and kept in eval mode.
        terms: Weight and loss by name.
        readings: Reading of the target of each term that is not brought to the teacher's document reading, by name.

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
        self,
        model: SentenceTransformer,
        teacher: SentenceTransformer,
        terms: Mapping[str, tuple[float, Term]],
        readings: Mapping[str, Reading] | None = None,
    ) -> None:
        super().__init__(model, teacher)
        if not terms:
            raise ValueError("a combined loss needs at least one term")
        for name, (_, loss) in terms.items():
            if loss.model is not model or getattr(loss, "teacher", teacher) is not teacher:
                raise ValueError(f"term {name!r} was made with another student or teacher")
        self.terms = dict(terms)
        self._reading: dict[str, Reading] = {name: (readings or {}).get(name, "document") for name in terms}
        self.readings: tuple[Reading, ...] = tuple(sorted(set(self._reading.values())))
        self.losses = nn.ModuleList(loss for _, loss in terms.values())
        own = [loss for _, loss in terms.values() if isinstance(loss, DistillationLoss)]
        self.layers = tuple(sorted({layer for loss in own for layer in loss.layers}))
        same_tokens = model.tokenizer.get_vocab() == teacher.tokenizer.get_vocab()
        self._measures_drift = same_tokens and token_width(model) == token_width(teacher)
        self._longest = int(model.max_seq_length or 0)
        self.first_cosine: float | None = None
        self._seen: list[tuple[Encoded, Encoded]] = []
        self._taught: tuple[dict[str, Any], Encoded] | None = None

    def forward(
        self,
        sentence_features: Iterable[dict[str, Any]],
        labels: Tensor | None = None,  # noqa: ARG002 - the trainer passes it to every loss
    ) -> dict[str, Tensor]:
        """Weighted terms by name, scalars, float32; their sum is the loss."""
        english, translation = map(self.own_words, ("english", "translation"), sentence_features)
        columns = {"translation": translation, **{ENGLISH[reading]: english for reading in self.readings}}
        return self.weighted_terms(columns, self.targets(columns))

    @torch.no_grad()
    def targets(self, columns: Columns) -> Targets:
        """What each translation of a batch is to be brought to, on all devices; this one's come first, in their order.

        Args:
            columns: For each reading that a term asks for: of `ENGLISH`, which the teacher reads for the first
                translations of the batch; of `PARTNER`, the same sentence in a third language for the others, which the
                student reads as it is now, without gradient; one of the two may be missing.
        """
        self._keep_first_cosine()
        self._seen, self._taught = [], None
        targets: Targets = {}
        for reading in self.readings:
            parts = []
            if (english := columns.get(ENGLISH[reading])) is not None:
                parts.append(self.encode_teacher(english, self.layers))
                self._taught = (english, parts[0])
            if (partner := columns.get(PARTNER[reading])) is not None:
                parts.append(self._read_in_eval_mode(partner))
            targets[reading] = from_all_devices(joined(parts)._replace(group=columns["translation"].get("group")))
        return targets

    def weighted_terms(self, columns: Columns, targets: Targets) -> dict[str, Tensor]:
        """Weighted terms by name, scalars, float32, of the translations of a batch, or of some rows of it.

        Args:
            columns: `translation`, A rows; `document`, the same rows, where a term reads that; and those of `ENGLISH`, of as
                many of them as have one, the first ones.
            targets: What `targets` returned, those of the A rows first.

        Returns:
            The mean over the A rows; a term that reads English takes 0 for a row without it.
        """
        student = {}
        for column in dict.fromkeys(map(self.reads, self.terms)):
            if column in columns:
                student[column] = self.encode_student(columns[column], self.layers)
        own = student.get("translation")
        if own is not None:
            first = targets[self.readings[0]]
            group = first.group[: len(own.ids)] if first.group is not None else None
            seen = Encoded(own.tokens.detach()[..., :0], own.content, own.sentence.detach(), own.ids, group=group)
            self._seen.append((seen, first.rows(slice(len(own.ids)))))
        rows = len(columns["translation"]["input_ids"])
        terms = {}
        for name, (weight, loss) in self.terms.items():
            if (encoded := student.get(self.reads(name))) is not None:
                # A mean over all rows, so that parts of a batch add up to the whole whatever they are made of (but for
                # sentences without content, which a term leaves out of its mean).
                terms[name] = weight * len(encoded.ids) / rows * _value(loss, encoded, targets[self._reading[name]])
        return terms

    def reads(self, name: str) -> str:
        """The column of a batch that the student reads for a term."""
        loss = self.terms[name][1]
        read = loss.reads if isinstance(loss, DistillationLoss) else "translation"
        return ENGLISH[self._reading[name]] if read == "english" else read

    def _keep_first_cosine(self) -> None:
        if self.first_cosine is None and self._seen:
            cosine = mean_pairwise_cosine(joined([student for student, _ in self._seen])).item()
            # A batch of one sentence has none.
            self.first_cosine = cosine if math.isfinite(cosine) else None

    def _read_in_eval_mode(self, features: dict[str, Any]) -> Encoded:
        training = self.model.training
        self.model.eval()
        encoded = self.encode_student(features, self.layers)
        self.model.train(training)
        return encoded

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
        self._keep_first_cosine()
        if self._seen:
            cosines = {
                f"{name}_cosine": mean_pairwise_cosine(joined(parts)).item()
                for name, parts in zip(("student", "teacher"), zip(*self._seen, strict=True), strict=True)
            }
            cosines["first_cosine"] = math.nan if self.first_cosine is None else self.first_cosine
            figures |= {name: cosine for name, cosine in cosines.items() if math.isfinite(cosine)}
        if self._taught is not None:
            figures |= self._drift(*self._taught)
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
        drift = english_drift(self._read_in_eval_mode(few), teacher.rows(slice(DRIFT_SENTENCES)))
        return {"english_drift": drift.item()}

    def get_config_dict(self) -> dict[str, Any]:
        """Settings to print in a model card."""
        return {
            name: {
                "weight": weight,
                "target": self._reading[name],
                **(loss.get_config_dict() if hasattr(loss, "get_config_dict") else {}),
            }
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


def _value(loss: Term, student: Encoded, teacher: Encoded) -> Tensor:
    if isinstance(loss, DistillationLoss):
        return loss.compute_loss_from_encoded(student, teacher)
    own = teacher.sentence[: len(student.sentence)]
    value: Tensor = loss.compute_loss_from_embeddings([student.sentence], [own])
    return value
