"""Transport-contrastive distillation: the transport cost as the score of a contrastive objective."""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformer
from torch import Tensor

from optical_mteb.training.losses.contrastive import contrast
from optical_mteb.training.losses.distillation import DistillationLoss
from optical_mteb.training.losses.encoding import Encoded, duplicates, packed
from optical_mteb.transport import cosine_cost, marginal_error, sinkhorn, transport_cost


class TransportContrastiveLoss(DistillationLoss):
    """In-batch contrast whose score is minus the transport cost between the student's tokens and the teacher's.

    For translation i and English sentence j, cost and plan are those of :class:`OpticalLoss`; the score is
    -<T_ij, C_ij>_F / temperature, and the loss is the cross-entropy of i picking its own English sentence. So tokens
    are pulled to the tokens that they translate, and what ranks a pair above the batch's others is kept.

    Args:
        model: The student.
        teacher: The frozen teacher; its tokenizer may differ from the student's.
        temperature: Divisor of the transport cost.
        epsilon: Weight of the entropy in Sinkhorn's iteration, in units of the cost.
        iterations: Iterations of Sinkhorn; B x B small problems are solved at once.

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
        epsilon: float = 0.05,
        iterations: int = 20,
    ) -> None:
        super().__init__(model, teacher)
        self.temperature = temperature
        self.epsilon = epsilon
        self.iterations = iterations
        self._marginal_error: Tensor | None = None

    def compute_loss_from_encoded(self, student: Encoded, teacher: Encoded) -> Tensor:
        """Contrastive loss of B pairs, scalar, float32."""
        # A sentence without tokens costs nothing against any other: it can neither be picked nor pick.
        english, translation = teacher.content.any(-1), student.content.any(-1)
        left_out = duplicates(teacher) | ~english.unsqueeze(0)
        return contrast(-self.costs(student, teacher) / self.temperature, left_out, english & translation)

    def costs(self, student: Encoded, teacher: Encoded) -> Tensor:
        """Transport cost of every translation against every English sentence, [B, B], float32."""
        source, source_mask = packed(student)
        target, target_mask = packed(teacher)
        batch, n, width = source.shape
        m = target.shape[1]
        # One matrix product for all B x B cost matrices.
        flat = cosine_cost(source.reshape(1, batch * n, width), target.reshape(1, batch * m, width))
        cost = flat.reshape(batch, n, batch, m).transpose(1, 2).reshape(batch * batch, n, m)
        masks = source_mask.repeat_interleave(batch, dim=0), target_mask.repeat(batch, 1)
        plan = sinkhorn(cost, *masks, epsilon=self.epsilon, iterations=self.iterations)
        self._marginal_error = marginal_error(plan, *masks).mean()
        return transport_cost(plan, cost).reshape(batch, batch)

    def diagnostics(self) -> dict[str, float]:
        """`contrast_marginal_error`: mass that the last plans' marginals missed, mean over all B x B of them."""
        return {} if self._marginal_error is None else {"contrast_marginal_error": self._marginal_error.item()}

    def get_config_dict(self) -> dict[str, Any]:
        """Settings to print in a model card."""
        return {"temperature": self.temperature, "epsilon": self.epsilon, "iterations": self.iterations}
