"""OPTICAL: optimal transport distillation between token embeddings."""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformer
from torch import Tensor

from optical_mteb.training.losses.distillation import DistillationLoss
from optical_mteb.training.losses.encoding import Encoded
from optical_mteb.training.losses.token_transport import Solved, TokenTransport


class OpticalLoss(DistillationLoss):
    """The OPTICAL objective: the cost of moving the student's tokens onto the teacher's.

    For each bitext pair, let s_1..s_m be the student's token embeddings of the translation, t_1..t_n the teacher's of
    the English sentence, and C_ij = 1 - cos(s_i, t_j). A plan T solves optimal transport between the two token
    distributions under C. It is held fixed, and the loss is the mean over pairs of <T, C>_F. Special tokens and prompt
    tokens take no part in it; a pair with an empty side costs nothing.

    Args:
        model: The student.
        teacher: The frozen teacher; its tokenizer may differ from the student's.
        **transport: Settings of :class:`TokenTransport`: solver, epsilon, iterations, token weights, layers, centring.

    References:
        - Huang, Yu, Allan: Improving Cross-lingual Information Retrieval on Low-Resource Languages via Optimal
          Transport Distillation, WSDM 2023: https://arxiv.org/abs/2301.12566

    Requirements:
        1. Parallel text: English sentences and their translations.
        2. Token embeddings of equal width; see `optical_mteb.training.projection`.

    Inputs:
        +--------------------------------+--------+
        | Columns                        | Labels |
        +================================+========+
        | (english, translation) pairs   | none   |
        +--------------------------------+--------+

    Relations:
        - :class:`TransportContrastiveLoss` uses the same cost as a score and says what must stay apart, too.
        - `sentence_transformers.losses.EmbedDistillLoss` matches sentence embeddings instead of tokens.

    Example:
        ::

            from datasets import Dataset
            from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
            from optical_mteb.training.losses import OpticalLoss

            student = SentenceTransformer("intfloat/multilingual-e5-small")
            teacher = SentenceTransformer("intfloat/multilingual-e5-small")
            pairs = Dataset.from_dict({"english": ["Good morning."], "translation": ["Habari za asubuhi."]})
            trainer = SentenceTransformerTrainer(
                model=student, train_dataset=pairs, loss=OpticalLoss(student, teacher)
            )
            trainer.train()
    """

    compares = "token"

    def __init__(
        self,
        model: SentenceTransformer,
        teacher: SentenceTransformer,
        **transport: Any,  # noqa: ANN401 - TokenTransport's settings
    ) -> None:
        super().__init__(model, teacher)
        self.transport = TokenTransport(**transport)
        self.transport.check(model, teacher)
        self.layers = self.transport.hidden_layers
        self._solved: Solved | None = None

    def compute_loss_from_encoded(self, student: Encoded, teacher: Encoded) -> Tensor:
        """Mean transport cost of A pairs, the first A targets, scalar, float32."""
        costs, self._solved = self.transport.pairs(student, teacher)
        solvable = self._solved.source_mask.any(-1) & self._solved.target_mask.any(-1)
        return costs.sum() / solvable.sum().clamp_min(1)

    def diagnostics(self) -> dict[str, float]:
        """Figures of the last plans, means over pairs; see `Solved.figures`."""
        return {} if self._solved is None else self._solved.figures()

    def get_config_dict(self) -> dict[str, Any]:
        """Settings to print in a model card."""
        return self.transport.settings()
