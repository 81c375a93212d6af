"""Transport-contrastive distillation: the transport cost as the score of a contrastive objective."""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformer
from torch import Tensor

from optical_mteb.training.losses.contrastive import contrast
from optical_mteb.training.losses.distillation import DistillationLoss
from optical_mteb.training.losses.encoding import Encoded, duplicates
from optical_mteb.training.losses.token_transport import Solved, TokenTransport


class TransportContrastiveLoss(DistillationLoss):
    """In-batch contrast whose score is minus the transport cost between the student's tokens and the teacher's.

    For translation i and English sentence j, cost and plan are those of :class:`OpticalLoss`; the score is
    -<T_ij, C_ij>_F / temperature, and the loss is the cross-entropy of i picking its own English sentence. So tokens
    are pulled to the tokens that they translate, and what ranks a pair above the batch's others is kept.

    Args:
        model: The student.
        teacher: The frozen teacher; its tokenizer may differ from the student's.
        temperature: Divisor of the transport cost.
        iterations: Iterations of the solver, at most; B x B small problems are solved at once.
        **transport: Further settings of :class:`TokenTransport`.

    References:
        - Huang, Yu, Allan: Improving Cross-lingual Information Retrieval on Low-Resource Languages via Optimal
          Transport Distillation, WSDM 2023: https://arxiv.org/abs/2301.12566 (cost and plan)
        - van den Oord, Li, Vinyals: Representation Learning with Contrastive Predictive Coding:
          https://arxiv.org/abs/1807.03748 (contrast)

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
        - :class:`OpticalLoss` is its positive part alone.
        - :class:`ContrastiveDistillationLoss` is the same contrast on sentence embeddings.

    Example:
        ::

            loss = TransportContrastiveLoss(student, teacher)
            trainer = SentenceTransformerTrainer(model=student, train_dataset=pairs, loss=loss)
            trainer.train()
    """

    compares = "token"

    def __init__(
        self,
        model: SentenceTransformer,
        teacher: SentenceTransformer,
        temperature: float = 0.02,
        iterations: int = 20,
        **transport: Any,  # noqa: ANN401 - TokenTransport's settings
    ) -> None:
        super().__init__(model, teacher)
        self.temperature = temperature
        self.transport = TokenTransport(iterations=iterations, **transport)
        self.transport.check(model, teacher)
        self.layers = self.transport.hidden_layers
        self._solved: Solved | None = None

    def compute_loss_from_encoded(self, student: Encoded, teacher: Encoded) -> Tensor:
        """Contrastive loss of A pairs among B targets, scalar, float32."""
        # A sentence without tokens costs nothing against any other: it can neither be picked nor pick.
        english, translation = teacher.content.any(-1), student.content.any(-1)
        left_out = duplicates(teacher)[: len(translation)] | ~english.unsqueeze(0)
        costs, self._solved = self.transport.all_pairs(student, teacher)
        return contrast(-costs / self.temperature, left_out, english[: len(translation)] & translation)

    def diagnostics(self) -> dict[str, float]:
        """Figures of the last plans, means over all A x B of them; see `Solved.figures`."""
        figures = {} if self._solved is None else self._solved.figures()
        return {f"contrast_{name}": value for name, value in figures.items()}

    def get_config_dict(self) -> dict[str, Any]:
        """Settings to print in a model card."""
        return {"temperature": self.temperature, **self.transport.settings()}
