"""The frame that the losses share: a trained student, a frozen teacher, one forward pass of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from optical_mteb import __citation__
from optical_mteb.training.losses.encoding import Encoded, differing_last_tokens, encode, special_token_ids
from optical_mteb.training.projection import token_width

READ_BY_MODELS = ("input_ids", "attention_mask", "token_type_ids", "prompt_length")
"""Features of a column that a model reads; a cached column has the teacher's outputs besides."""


class PairEncoder(nn.Module):
    """A student and its frozen teacher, and how both read a batch of bitext.

    Args:
        model: The student, trained.
        teacher: The teacher: frozen here, and kept in eval mode whatever mode the module is put into.
    """

    special_ids: Tensor
    teacher_special_ids: Tensor

    def __init__(self, model: SentenceTransformer, teacher: SentenceTransformer) -> None:
        super().__init__()
        if model is teacher:
            raise ValueError("student and teacher are the same model; load it twice, the teacher is frozen")
        # sentence-transformers swaps the wrapped model in here.
        self.model = model
        self.teacher = teacher.requires_grad_(False).eval()
        self.register_buffer("special_ids", special_token_ids(model), persistent=False)
        self.register_buffer("teacher_special_ids", special_token_ids(teacher), persistent=False)
        self._joined: set[tuple[str, int]] = set()

    def train(self, mode: bool = True) -> Self:
        """Set the student's mode; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def own_words(self, side: str, features: dict[str, Any]) -> dict[str, Any]:
        """Features of sentence-transformers' own collator, the first word of a text counted out of the prompt.

        Some tokenizers join the prompt's last blank to the first word, and that collator counts the blank as a token of
        the prompt. Once it differs from text to text, it is known to be a word.

        Args:
            side: Name of the column.
            features: Its features.
        """
        length = features.get("prompt_length")
        if length is None:
            return features
        key = (side, int(torch.as_tensor(length).max()))
        if key not in self._joined and differing_last_tokens(features):
            self._joined.add(key)
        return {**features, "prompt_length": length - 1} if key in self._joined else features

    def encode_student(self, features: dict[str, Any], layers: Sequence[int] = ()) -> Encoded:
        """The student's encoding of one column, with gradient."""
        own = {key: features[key] for key in READ_BY_MODELS if key in features}
        return encode(self.model, own, self.special_ids, layers)

    @torch.no_grad()
    def encode_teacher(self, features: dict[str, Any], layers: Sequence[int] = ()) -> Encoded:
        """The teacher's encoding of the English column, or what is on disk of it."""
        return encode(self.teacher, features, self.teacher_special_ids, layers)

    @property
    def citation(self) -> str:
        """BibTeX of the paper behind the loss."""
        return __citation__


class DistillationLoss(PairEncoder, ABC):
    """Base class of losses between a student's encoding of a translation and a teacher's of the English sentence.

    Args:
        model: The student, trained.
        teacher: The teacher: frozen here, and kept in eval mode whatever mode the loss is put into.
        compares: What this loss compares, where its settings decide.

    Raises:
        ValueError: Student and teacher differ in the width of what the loss compares.
    """

    compares: ClassVar[Literal["token", "sentence"]]
    """Which embeddings of student and teacher the loss compares."""

    reads: ClassVar[Literal["translation", "english", "document"]] = "translation"
    """What the student reads of a pair: the translation as a query, the English side, or the translation as a document."""

    layers: tuple[int, ...] = ()
    """Transformer layers whose outputs the loss needs besides the last, counted from it: -2, -3, ..."""

    def __init__(
        self,
        model: SentenceTransformer,
        teacher: SentenceTransformer,
        compares: Literal["token", "sentence"] | None = None,
    ) -> None:
        super().__init__(model, teacher)
        check_widths(model, teacher, compares or self.compares)

    def forward(
        self,
        sentence_features: Iterable[dict[str, Any]],
        labels: Tensor | None = None,  # noqa: ARG002 - the trainer passes it to every loss
    ) -> Tensor:
        """The loss of a batch: English features for the teacher first, translation features for the student second."""
        english, translation = map(self.own_words, ("english", "translation"), sentence_features)
        own = english if self.reads == "english" else translation
        return self.compute_loss_from_encoded(
            self.encode_student(own, self.layers), self.encode_teacher(english, self.layers)
        )

    @abstractmethod
    def compute_loss_from_encoded(self, student: Encoded, teacher: Encoded) -> Tensor:
        """The loss of A pairs that have been encoded already, scalar, float32.

        Args:
            student: A sentences.
            teacher: B targets, at least A: the first A are those of the student's sentences, in their order; the rest are
                there to be told apart from them.
        """

    def diagnostics(self) -> dict[str, float]:
        """Figures of the last batch to log beside the loss."""
        return {}

    def get_config_dict(self) -> dict[str, Any]:
        """Settings to print in a model card."""
        return {}


def check_widths(
    model: SentenceTransformer, teacher: SentenceTransformer, compares: Literal["token", "sentence"]
) -> None:
    """Check that the embeddings of a student can be compared with those of its teacher.

    Raises:
        ValueError: They differ in width.
    """
    own, other = (
        token_width(each) if compares == "token" else each.get_embedding_dimension() for each in (model, teacher)
    )
    if own != other:
        raise ValueError(
            f"the student's {compares} embeddings are {own} wide and the teacher's {other}; "
            "expected equal widths, by another student or a projection to the teacher's width"
        )
