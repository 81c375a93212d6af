"""Contrastive distillation: each translation next to its English sentence, and away from the batch's others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from optical_mteb.training.losses.distillation import DistillationLoss
from optical_mteb.training.losses.encoding import Encoded, duplicates, packed


def contrast(scores: Tensor, left_out: Tensor, counted: Tensor | None = None) -> Tensor:
    """Cross-entropy of picking the own English sentence: InfoNCE (van den Oord, Li, Vinyals, arXiv 1807.03748).

    Args:
        scores: Score of translation i against English sentence j, over the temperature, [A, B], A at most B: the first
            A sentences are those of the translations, the rest further negatives.
        left_out: English sentences that are no negatives of a translation, [A, B]; its diagonal is not read.
        counted: Translations that the mean is taken over, [A]; all by default.

    Returns:
        Mean over the translations, scalar, float32; 0 where none counts.
    """
    own = torch.arange(len(scores), device=scores.device)
    left_out = left_out & ~torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    losses = cross_entropy(scores.float().masked_fill(left_out, -torch.inf), own, reduction="none")
    if counted is None:
        return losses.mean()
    return losses.masked_fill(~counted, 0.0).sum() / counted.sum().clamp_min(1)


class ContrastiveDistillationLoss(DistillationLoss):
    """In-batch contrast between the student's sentence embeddings and the frozen teacher's.

    The score of translation i against English sentence j is that of a retriever: of a dense one, cos(student_i,
    teacher_j); of late interaction, the mean over the translation's tokens of their largest cosine
    with the sentence's tokens (MaxSim over the number of query tokens; Khattab and Zaharia, SIGIR 2020, section 3.3).
    The loss is the cross-entropy over scores / temperature of i picking its own. English sentences of one group (see
    `Encoded.group`) are no negatives of each other, so that one English sentence may come with several languages.

    Args:
        model: The student.
        teacher: The frozen teacher.
        temperature: Divisor of the score.
        score: `cosine` of the sentence embeddings, or `maxsim` of the token embeddings.
        margin: English sentences whose cosine with the own one, by the teacher, is above 1 - margin are no negatives; by
            default, only equal ones are none.

    References:
        - van den Oord, Li, Vinyals: Representation Learning with Contrastive Predictive Coding:
          https://arxiv.org/abs/1807.03748
        - Khattab, Zaharia: ColBERT: https://arxiv.org/abs/2004.12832
        - Solatorio: GISTEmbed: https://arxiv.org/abs/2402.16829 (section 3, a guide model leaves out false negatives)

    Requirements:
        1. Parallel text: English sentences and their translations; large batches.

    Inputs:
        +--------------------------------+--------+
        | Columns                        | Labels |
        +================================+========+
        | (english, translation) pairs   | none   |
        +--------------------------------+--------+

    Relations:
        - :class:`TransportContrastiveLoss` is the same contrast with a token-level score.
        - `sentence_transformers.losses.MultipleNegativesRankingLoss` trains both sides; here the teacher is frozen.

    Example:
        ::

            loss = ContrastiveDistillationLoss(student, teacher)
            trainer = SentenceTransformerTrainer(model=student, train_dataset=pairs, loss=loss)
            trainer.train()
    """

    compares = "sentence"

    def __init__(
        self,
        model: SentenceTransformer,
        teacher: SentenceTransformer,
        temperature: float = 0.02,
        score: Literal["cosine", "maxsim"] = "cosine",
        margin: float | None = None,
    ) -> None:
        if score not in ("cosine", "maxsim"):
            raise ValueError(f"score {score!r}: expected cosine or maxsim")
        super().__init__(model, teacher, "token" if score == "maxsim" else "sentence")
        self.temperature = temperature
        self.score = score
        self.margin = margin

    def compute_loss_from_encoded(self, student: Encoded, teacher: Encoded) -> Tensor:
        """Contrastive loss of A pairs among B targets, scalar, float32."""
        same = duplicates(teacher)[: len(student.tokens)]
        if self.margin is not None:
            unit = normalize(teacher.sentence.float(), dim=-1)
            same = same | (unit[: len(student.tokens)] @ unit.T > 1 - self.margin)
        if self.score == "maxsim":
            # As in the transport contrast: a sentence without tokens can neither be picked nor pick.
            english, translation = teacher.content.any(-1), student.content.any(-1)
            counted = english[: len(translation)] & translation
            return contrast(maxsim(student, teacher) / self.temperature, same | ~english.unsqueeze(0), counted)
        with torch.autocast(student.sentence.device.type, enabled=False):
            cosine = normalize(student.sentence.float(), dim=-1) @ normalize(teacher.sentence.float(), dim=-1).T
        return contrast(cosine / self.temperature, same)

    def get_config_dict(self) -> dict[str, Any]:
        """Settings to print in a model card."""
        return {"temperature": self.temperature, "score": self.score, "margin": self.margin}


def maxsim(student: Encoded, teacher: Encoded) -> Tensor:
    """Mean over a query's tokens of their largest cosine with a document's, content tokens alone.

    Args:
        student: A queries.
        teacher: B documents.

    Returns:
        Scores, [A, B], float32; 0 where either side has no token.
    """
    queries, documents = packed(student), packed(teacher)
    (rows, n), (columns, m) = queries.mask.shape, documents.mask.shape
    with torch.autocast(student.tokens.device.type, enabled=False):
        own = normalize(queries.tokens.float(), dim=-1).reshape(rows * n, -1)
        other = normalize(documents.tokens.float(), dim=-1).reshape(columns * m, -1)
        cosine = (own @ other.T).reshape(rows, n, columns, m).masked_fill(~documents.mask, -torch.inf)
    largest = cosine.amax(-1).masked_fill(~queries.mask.unsqueeze(-1) | ~documents.mask.any(-1), 0.0)
    return largest.sum(1) / queries.mask.sum(-1, keepdim=True).clamp_min(1)


def maxsim_of_chosen(readings: Sequence[Encoded], documents: Encoded, chosen: Tensor) -> list[Tensor]:
    """The same for queries that are scored against other documents each.

    Args:
        readings: A queries, as each model reads them.
        documents: B documents.
        chosen: Places of each query's documents among them, [A, k].

    Returns:
        Scores of each reading, [A, k], float32; 0 where either side has no token.
    """
    device = documents.tokens.device
    lengths = documents.content.sum(-1)
    starts = lengths.cumsum(0) - lengths
    with torch.autocast(device.type, enabled=False):
        tokens = normalize(documents.tokens[documents.content].float(), dim=-1)
        queries = [normalize(each.tokens.float(), dim=-1) for each in readings]
        scores: list[list[Tensor]] = [[] for _ in readings]
        for row, places in enumerate(chosen):
            # The documents' tokens one after the other: padding them to the longest would more than double the work.
            owners = torch.arange(len(places), device=device).repeat_interleave(lengths[places])
            within = torch.arange(len(owners), device=device) - (lengths[places].cumsum(0) - lengths[places])[owners]
            own = tokens[starts[places][owners] + within]
            for reading, query, found in zip(readings, queries, scores, strict=True):
                cosine = query[row][reading.content[row]] @ own.T
                largest = cosine.new_full((len(cosine), len(places)), -torch.inf)
                largest = largest.scatter_reduce(1, owners.expand_as(cosine), cosine, "amax")
                largest = largest.masked_fill(lengths[places] == 0, 0.0)
                found.append(largest.sum(0) / max(1, len(cosine)))
    return [torch.stack(found) for found in scores]
