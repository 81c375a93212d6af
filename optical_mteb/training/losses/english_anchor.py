"""English anchoring: the student's English stays where the teacher's is."""

from __future__ import annotations

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.functional import cosine_similarity

from optical_mteb.training.losses.distillation import DistillationLoss
from optical_mteb.training.losses.encoding import Encoded


class EnglishAnchorLoss(DistillationLoss):
    """Identity alignment on English: each token of the student stays at the teacher's token of the same position.

    The student reads the English sentences, too; the loss is the mean over pairs of the mean over tokens of
    1 - cos(s_i, t_i). It is the transport cost of the plan that is known beforehand. It keeps a student that other
    terms pull towards new languages from drifting away from its English.

    Args:
        model: The student.
        teacher: The frozen teacher, of the same tokenizer.

    References:
        - Reimers, Gurevych: Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation,
          EMNLP 2020: https://arxiv.org/abs/2004.09813 (the student imitates the teacher on the source side, too)

    Requirements:
        1. Parallel text; the student reads its English side alone here.
        2. Student and teacher share a tokenizer and the width of token embeddings.

    Inputs:
        +--------------------------------+--------+
        | Columns                        | Labels |
        +================================+========+
        | (english, translation) pairs   | none   |
        +--------------------------------+--------+

    Relations:
        - :class:`OpticalLoss` finds the alignment that is given here.

    Example:
        ::

            terms = {"optical": (1.0, OpticalLoss(student, teacher)), "anchor": (1.0, EnglishAnchorLoss(student, teacher))}
            loss = CombinedLoss(student, teacher, terms)

    Raises:
        ValueError: Student and teacher do not share a tokenizer, or differ in width.
    """

    compares = "token"
    reads = "english"

    def __init__(self, model: SentenceTransformer, teacher: SentenceTransformer) -> None:
        super().__init__(model, teacher)
        if model.tokenizer.get_vocab() != teacher.tokenizer.get_vocab():
            raise ValueError(
                "the anchor needs a student that reads the teacher's tokens; their vocabularies differ: "
                "leave the anchor out, or start the student from the teacher"
            )

    def compute_loss_from_encoded(self, student: Encoded, teacher: Encoded) -> Tensor:
        """Mean distance of B English sentences from the teacher's, scalar, float32."""
        rows, columns = student.tokens.shape[:2]
        # Targets may have been padded to those of other rows.
        tokens, content = teacher.tokens[:rows, :columns], teacher.content[:rows, :columns]
        return english_drift(student, teacher.rows(slice(rows))._replace(tokens=tokens, content=content))


def english_drift(student: Encoded, teacher: Encoded) -> Tensor:
    """How far a student's English tokens are from the teacher's, one by one.

    Args:
        student: The student's encoding of English sentences.
        teacher: The teacher's encoding of the same token ids.

    Returns:
        Mean over sentences of the mean over content tokens of 1 - cosine, scalar, float32: 0 where nothing moved.
    """
    with torch.autocast(student.tokens.device.type, enabled=False):
        distance = 1 - cosine_similarity(student.tokens.float(), teacher.tokens.float(), dim=-1)
    mean = distance.masked_fill(~teacher.content, 0.0).sum(-1) / teacher.content.sum(-1).clamp_min(1)
    return mean.sum() / teacher.content.any(-1).sum().clamp_min(1)
