"""Rank distillation: what a translation ranks above what, as the teacher ranks it for the English sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, normalize, softmax

from optical_mteb.training.losses.contrastive import maxsim_of_chosen
from optical_mteb.training.losses.distillation import DistillationLoss
from optical_mteb.training.losses.encoding import Encoded

CANDIDATES_OF_MAXSIM = 32
"""Candidates of a late-interaction student where none are asked for: each is scored token by token."""


@dataclass(frozen=True)
class Bank:
    """N texts, all read by the teacher with one prompt.

    Attributes:
        texts: The texts.
        embeddings: Their sentence embeddings, [N, d].
        features: Gives the token embeddings of some texts, for scores by MaxSim, as `TeacherCache.features` does.
    """

    texts: Sequence[str]
    embeddings: Tensor
    features: Callable[[Sequence[str]], dict[str, Tensor]] | None = None

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.embeddings) or len(self.texts) < 2:
            raise ValueError(
                f"a bank of {len(self.texts)} texts and {len(self.embeddings)} embeddings: "
                "expected two texts or more, and an embedding of each"
            )

    def tokens(self, places: Tensor) -> tuple[Encoded, Tensor]:
        """The token embeddings of some texts, each once.

        Args:
            places: Places in the bank, of any shape; a text may be asked for more than once.

        Returns:
            The texts, read, and the place of each that was asked for among them, shaped like `places`.

        Raises:
            ValueError: The bank has sentence embeddings alone.
        """
        if self.features is None:
            raise ValueError(
                "MaxSim needs the token embeddings of the bank, and this one has sentence embeddings alone"
            )
        different, among = places.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        features = self.features([self.texts[place] for place in different.tolist()])
        read = Encoded(
            features["token_embeddings"].to(places.device),
            features["content_mask"].to(places.device),
            features["sentence_embedding"].to(places.device),
            features["input_ids"].to(places.device),
        )
        return read, among


class RankDistillationLoss(DistillationLoss):
    """Distribution of a query's scores over a bank of documents, brought from the student's to the teacher's.

    Let D be the frozen teacher's embeddings of the bank, t the teacher's reading of the English sentence and s the
    student's reading of its translation. The loss is KL(softmax(t·D / temperature) || softmax(s·D / temperature)), mean
    over pairs: the student ranks for the translation what the teacher ranks for the English sentence. Of a
    late-interaction student, the score is the mean over a query's tokens of their largest cosine with a document's
    (MaxSim over the number of query tokens), over the documents that the teacher's sentence embeddings score highest.

    Args:
        model: The student.
        teacher: The frozen teacher.
        bank: The documents, read by the teacher.
        temperature: Divisor of the scores, of student and teacher alike.
        score: `cosine` of the sentence embeddings, or `maxsim` of the token embeddings.
        candidates: Documents of the bank that a pair is scored against: half of them the teacher's highest, half drawn at
            random. None for all, or for 32 with `maxsim`.

    References:
        - Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network: https://arxiv.org/abs/1503.02531
          (equation 1, a softened distribution as target)
        - Fang et al.: SEED, Self-supervised Distillation for Visual Representation, ICLR 2021:
          https://arxiv.org/abs/2101.04731 (equation 3, scores over a bank of the teacher's embeddings)
        - Khattab, Zaharia: ColBERT: https://arxiv.org/abs/2004.12832 (MaxSim)

    Requirements:
        1. Parallel text: English sentences and their translations.
        2. The teacher's English column holds its query reading, which is what searches the bank.

    Inputs:
        +--------------------------------+--------+
        | Columns                        | Labels |
        +================================+========+
        | (english, translation) pairs   | none   |
        +--------------------------------+--------+

    Relations:
        - :class:`DocumentRankDistillationLoss` does the same for translations as documents.
        - :class:`ContrastiveDistillationLoss` has one right answer among a batch's sentences.
        - `sentence_transformers.losses.DistillKLDivLoss` distils scores of given passages; here the bank stands ready.

    Example:
        ::

            bank = Bank(english, torch.from_numpy(teacher.encode_document(english)))
            loss = RankDistillationLoss(student, teacher, bank)
            trainer = SentenceTransformerTrainer(model=student, train_dataset=pairs, loss=loss)
            trainer.train()

    Raises:
        ValueError: The widths differ, or the score or the number of candidates does not exist.
    """

    compares: ClassVar[Literal["token", "sentence"]] = "sentence"

    def __init__(
        self,
        model: SentenceTransformer,
        teacher: SentenceTransformer,
        bank: Bank,
        temperature: float = 0.01,
        score: Literal["cosine", "maxsim"] = "cosine",
        candidates: int | None = None,
    ) -> None:
        if score not in ("cosine", "maxsim"):
            raise ValueError(f"score {score!r}: expected cosine or maxsim")
        super().__init__(model, teacher, "token" if score == "maxsim" else "sentence")
        if candidates is not None and candidates < 2:
            raise ValueError(f"candidates {candidates}: expected 2 or more documents to rank")
        if bank.embeddings.shape[1] != teacher.get_embedding_dimension():
            raise ValueError(
                f"the bank is {bank.embeddings.shape[1]} wide and the teacher {teacher.get_embedding_dimension()}: "
                "encode the bank with this teacher"
            )
        self.bank = bank
        self.temperature = temperature
        self.score = score
        self.candidates = CANDIDATES_OF_MAXSIM if candidates is None and score == "maxsim" else candidates
        self.register_buffer("documents", normalize(bank.embeddings.float(), dim=-1), persistent=False)
        self._figures: dict[str, Tensor] = {}

    documents: Tensor

    def compute_loss_from_encoded(self, student: Encoded, teacher: Encoded) -> Tensor:
        """Mean divergence of A pairs, the first A targets, scalar, float32."""
        rows = len(student.sentence)
        with torch.autocast(student.sentence.device.type, enabled=False):
            query = normalize(teacher.sentence[:rows].float(), dim=-1)
            wanted = query @ self.documents.T
            chosen = self._candidates(wanted)
            if self.score == "maxsim":
                documents, among = self.bank.tokens(chosen)
                wanted, own = maxsim_of_chosen([teacher.rows(slice(rows)), student], documents, among)
            else:
                own = normalize(student.sentence.float(), dim=-1) @ self.documents.T
                if chosen.shape[1] < len(self.documents):
                    wanted, own = wanted.gather(1, chosen), own.gather(1, chosen)
            target = softmax(wanted / self.temperature, dim=-1)
            scores = log_softmax(own / self.temperature, dim=-1)
            self._figures = {"rank_agreement": (wanted.argmax(-1) == own.argmax(-1)).float().mean()}
            return kl_div(scores, target, reduction="batchmean")

    def _candidates(self, scores: Tensor) -> Tensor:
        """Places of the documents that each pair is scored against, [A, k]."""
        rows, size = scores.shape
        if self.candidates is None or self.candidates >= size:
            return torch.arange(size, device=scores.device).expand(rows, size)
        best = scores.topk(self.candidates - self.candidates // 2).indices
        # The others are drawn from the rest: random keys, the best ones' put behind all.
        keys = torch.rand_like(scores).scatter(1, best, -1.0)
        return torch.cat([best, keys.topk(self.candidates // 2).indices], dim=1)

    def diagnostics(self) -> dict[str, float]:
        """`rank_agreement`: share of the last batch's pairs whose first document is the teacher's first, too."""
        return {name: value.item() for name, value in self._figures.items()}

    def get_config_dict(self) -> dict[str, Any]:
        """Settings to print in a model card."""
        return {
            "temperature": self.temperature,
            "score": self.score,
            "candidates": self.candidates or "all",
            "bank": len(self.documents),
        }


class DocumentRankDistillationLoss(RankDistillationLoss):
    """The same for retrieval from English: the student reads the translation as a document, and the bank holds queries.

    Which English queries a document answers better than which others, as the teacher sees the English document: the
    rows of the score matrix are documents, where :class:`RankDistillationLoss` has queries.

    Args:
        model: The student.
        teacher: The frozen teacher.
        bank: English queries, read by the teacher.
        **settings: As for :class:`RankDistillationLoss`, sentence embeddings only.

    References:
        - As for :class:`RankDistillationLoss`.

    Requirements:
        1. The student reads the translations with the prompt of documents, in a column of its own.

    Inputs:
        +--------------------------------+--------+
        | Columns                        | Labels |
        +================================+========+
        | (english, translation) pairs   | none   |
        +--------------------------------+--------+

    Relations:
        - :class:`RankDistillationLoss` is for translations as queries.

    Example:
        ::

            bank = Bank(english, torch.from_numpy(teacher.encode_query(english)))
            loss = DocumentRankDistillationLoss(student, teacher, bank)
    """

    reads: ClassVar[Literal["translation", "english", "document"]] = "document"
