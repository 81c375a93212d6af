"""OPTICAL: optimal transport distillation between token embeddings."""

from __future__ import annotations

from typing import Any, Literal

from sentence_transformers import SentenceTransformer
from torch import Tensor

from optical_mteb.training.losses.distillation import DistillationLoss
from optical_mteb.training.losses.encoding import Encoded, packed
from optical_mteb.transport import cosine_cost, exact, ipot, marginal_error, sinkhorn, transport_cost


class OpticalLoss(DistillationLoss):
    """The OPTICAL objective: the cost of moving the student's tokens onto the teacher's.

    For each bitext pair, let s_1..s_m be the student's token embeddings of the translation, t_1..t_n the teacher's of
    the English sentence, and C_ij = 1 - cos(s_i, t_j). A plan T solves optimal transport between the two uniform token
    distributions under C. It is held fixed, and the loss is the mean over pairs of <T, C>_F. Special tokens and prompt
    tokens take no part in it; a pair with an empty side costs nothing.

    Args:
        model: The student.
        teacher: The frozen teacher; its tokenizer may differ from the student's.
        solver: `sinkhorn` (entropic), `ipot` (proximal points) or `exact` (network simplex, slow).
        epsilon: Weight of the entropy in `sinkhorn`, in units of the cost.
        beta: Proximal step of `ipot`, in units of the cost.
        iterations: Iterations of the solver.

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
        solver: Literal["sinkhorn", "ipot", "exact"] = "sinkhorn",
        epsilon: float = 0.05,
        beta: float = 0.5,
        iterations: int = 50,
    ) -> None:
        super().__init__(model, teacher)
        self.solver = solver
        self.epsilon = epsilon
        self.beta = beta
        self.iterations = iterations
        self._marginal_error: Tensor | None = None

    def compute_loss_from_encoded(self, student: Encoded, teacher: Encoded) -> Tensor:
        """Mean transport cost of B pairs, scalar, float32."""
        source, source_mask = packed(student)
        target, target_mask = packed(teacher)
        cost = cosine_cost(source, target)
        plan = self._plan(cost, source_mask, target_mask)
        solvable = (source_mask.any(-1) & target_mask.any(-1)).sum().clamp_min(1)
        self._marginal_error = marginal_error(plan, source_mask, target_mask).sum() / solvable
        return transport_cost(plan, cost).sum() / solvable

    def _plan(self, cost: Tensor, source_mask: Tensor, target_mask: Tensor) -> Tensor:
        if self.solver == "sinkhorn":
            return sinkhorn(cost, source_mask, target_mask, epsilon=self.epsilon, iterations=self.iterations)
        if self.solver == "ipot":
            return ipot(cost, source_mask, target_mask, beta=self.beta, iterations=self.iterations)
        return exact(cost, source_mask, target_mask)

    def diagnostics(self) -> dict[str, float]:
        """`marginal_error`: mass that the last plans' marginals missed, mean per pair; 0 for converged plans."""
        return {} if self._marginal_error is None else {"marginal_error": self._marginal_error.item()}

    def get_config_dict(self) -> dict[str, Any]:
        """Settings to print in a model card."""
        return {"solver": self.solver, "epsilon": self.epsilon, "beta": self.beta, "iterations": self.iterations}
