"""The transport problem between a student's tokens and a teacher's: its cost, its marginals, its solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import PreTrainedModel

from optical_mteb import transport
from optical_mteb.training.losses.encoding import Encoded, Packed, packed
from optical_mteb.training.losses.weights import TokenWeights

Solver = Literal["sinkhorn", "ipot", "unbalanced", "exact"]
"""Names of transport solvers in recipes; see `optical_mteb.transport`."""

SOLVERS: dict[Solver, tuple[Callable[..., Tensor], tuple[str, ...]]] = {
    "sinkhorn": (transport.sinkhorn, ("epsilon", "iterations", "tolerance")),
    "ipot": (transport.ipot, ("beta", "iterations", "tolerance")),
    "unbalanced": (transport.unbalanced, ("epsilon", "relaxation", "iterations", "tolerance")),
    "exact": (transport.exact, ()),
}
"""The solvers, and the settings that each reads."""


class Solved(NamedTuple):
    """Solved problems of a batch, P of them.

    Attributes:
        plan: Plans, [P, n, m].
        source_mask: Real student tokens, [P, n].
        target_mask: Real teacher tokens, [P, m].
        source_weights: Their weights, [P, n], or None.
        target_weights: Theirs, [P, m], or None.
    """

    plan: Tensor
    source_mask: Tensor
    target_mask: Tensor
    source_weights: Tensor | None
    target_weights: Tensor | None

    def figures(self) -> dict[str, float]:
        """Means over the problems that have tokens on both sides.

        Returns:
            `marginal_error`, the mass that the marginals miss; `plan_entropy`, in nats; `same_position`, the share of
            mass between tokens of the same position.
        """
        there = self.source_mask.any(-1) & self.target_mask.any(-1)
        number = there.sum().clamp_min(1)
        error = transport.marginal_error(
            self.plan,
            self.source_mask,
            self.target_mask,
            source_weights=self.source_weights,
            target_weights=self.target_weights,
        )
        moved = self.plan.sum(dim=(-2, -1)).clamp_min(torch.finfo(self.plan.dtype).tiny)
        diagonal = self.plan.diagonal(dim1=-2, dim2=-1).sum(-1) / moved
        means = {
            "marginal_error": error,
            "plan_entropy": transport.plan_entropy(self.plan),
            "same_position": diagonal,
        }
        return {name: (value.masked_fill(~there, 0.0).sum() / number).item() for name, value in means.items()}


class TokenTransport(nn.Module):
    """How tokens are compared, weighted and transported.

    Args:
        solver: `sinkhorn` (entropic), `ipot` (proximal points), `unbalanced` (entropic, marginals relaxed) or `exact`
            (network simplex, slow).
        epsilon: Weight of the entropy, in units of the cost.
        beta: Proximal step of `ipot`, in units of the cost.
        relaxation: Weight of the marginals in `unbalanced`, in units of the cost.
        iterations: Iterations of the solver, at most.
        tolerance: Marginal error at which the solver may stop; None for all iterations.
        student_weights: Marginal of the student's tokens; uniform by default.
        teacher_weights: Marginal of the teacher's tokens; uniform by default.
        center: Take the mean of the batch's teacher tokens off both sides before the cosine: raw embeddings share a
            large common direction.
        layers: Transformer layers that the cost is the mean over, counted from the last; -1 is the token embedding
            that the model gives out.
        centre: The old spelling of `center`.
    """

    def __init__(
        self,
        *,
        solver: Solver = "sinkhorn",
        epsilon: float = 0.05,
        beta: float = 0.5,
        relaxation: float = 1.0,
        iterations: int = 50,
        tolerance: float | None = None,
        student_weights: TokenWeights | None = None,
        teacher_weights: TokenWeights | None = None,
        center: bool = False,
        layers: Sequence[int] = (-1,),
        centre: bool = False,
    ) -> None:
        super().__init__()
        if solver not in SOLVERS:
            raise ValueError(f"solver {solver!r}: expected one of {', '.join(SOLVERS)}")
        if not layers or any(layer >= 0 for layer in layers) or len(set(layers)) < len(layers):
            raise ValueError(f"layers {tuple(layers)}: expected different negative numbers, counted from the last, -1")
        if min(epsilon, beta, relaxation, iterations) <= 0:
            raise ValueError(
                f"epsilon {epsilon}, beta {beta}, relaxation {relaxation}, iterations {iterations}: expected positive"
            )
        self.solver = solver
        self.epsilon = epsilon
        self.beta = beta
        self.relaxation = relaxation
        self.iterations = iterations
        self.tolerance = tolerance
        self.student_weights = student_weights
        self.teacher_weights = teacher_weights
        self.center = center or centre
        self.layers = tuple(layers)

    @property
    def hidden_layers(self) -> tuple[int, ...]:
        """Layers that models give out only when asked."""
        return tuple(layer for layer in self.layers if layer != -1)

    def check(self, student: SentenceTransformer, teacher: SentenceTransformer) -> None:
        """Check that both models have the layers.

        Raises:
            ValueError: One has too few, or the two differ in width.
        """
        if not self.hidden_layers:
            return
        configs = [_config(model) for model in (student, teacher)]
        fewest = min(config.num_hidden_layers for config in configs)
        if -min(self.layers) > fewest:
            raise ValueError(f"layers {self.layers}: student or teacher has {fewest} layers only")
        if configs[0].hidden_size != configs[1].hidden_size:
            raise ValueError(
                f"layers {self.layers}: layers inside the models are {configs[0].hidden_size} and "
                f"{configs[1].hidden_size} wide and cannot be compared; leave all but -1 out"
            )

    def pack(self, encoded: Encoded, centers: list[Tensor] | None) -> tuple[Packed, list[Tensor]]:
        """Content tokens, and the vectors of each compared layer, [B, k, d] each, less the center of that layer."""
        tokens = packed(encoded)
        vectors = [
            tokens.tokens if layer == -1 else tokens.gather((encoded.hidden or {})[layer]) for layer in self.layers
        ]
        if centers is not None:
            vectors = [vector.float() - mean for vector, mean in zip(vectors, centers, strict=True)]
        return tokens, vectors

    def centers(self, teacher: Encoded) -> list[Tensor] | None:
        """Mean of the batch's teacher tokens in each layer, [d] each, where they are to be taken off."""
        if not self.center:
            return None
        tokens = [teacher.tokens if layer == -1 else (teacher.hidden or {})[layer] for layer in self.layers]
        content = teacher.content.unsqueeze(-1)
        return [(layer.float() * content).sum(dim=(0, 1)) / content.sum().clamp_min(1) for layer in tokens]

    def solve(
        self,
        cost: Tensor,
        source_mask: Tensor,
        target_mask: Tensor,
        source_weights: Tensor | None,
        target_weights: Tensor | None,
    ) -> tuple[Tensor, Solved]:
        """Transport costs of P problems, [P], and the problems with their plans, which have no gradient."""
        solver, read = SOLVERS[self.solver]
        options: dict[str, Any] = {name: getattr(self, name) for name in read}
        weights = {"source_weights": source_weights, "target_weights": target_weights}
        plan = solver(cost, source_mask, target_mask, **weights, **options)
        return transport.transport_cost(plan, cost), Solved(plan, source_mask, target_mask, **weights)

    def pairs(self, student: Encoded, teacher: Encoded) -> tuple[Tensor, Solved]:
        """Transport cost of each of A student sentences against its own, the teacher's first A; [A], and the plans."""
        centers = self.centers(teacher)
        teacher = teacher.rows(slice(len(student.tokens)))
        (source, source_vectors), (target, target_vectors) = self.pack(student, centers), self.pack(teacher, centers)
        layers = zip(source_vectors, target_vectors, strict=True)
        cost = _mean([transport.cosine_cost(own, other) for own, other in layers])
        source_weights = _weights(self.student_weights, student, source)
        target_weights = _weights(self.teacher_weights, teacher, target)
        return self.solve(cost, source.mask, target.mask, source_weights, target_weights)

    def all_pairs(self, student: Encoded, teacher: Encoded) -> tuple[Tensor, Solved]:
        """Transport cost of each of A student sentences against each of B teacher sentences, [A, B], and A x B plans."""
        centers = self.centers(teacher)
        (source, source_vectors), (target, target_vectors) = self.pack(student, centers), self.pack(teacher, centers)
        (rows, n), (columns, m) = source.mask.shape, target.mask.shape
        layers = zip(source_vectors, target_vectors, strict=True)
        # One matrix product for all A x B cost matrices.
        flat = _mean(
            [
                transport.cosine_cost(own.reshape(1, rows * n, -1), other.reshape(1, columns * m, -1))
                for own, other in layers
            ]
        )
        cost = flat.reshape(rows, n, columns, m).transpose(1, 2).reshape(rows * columns, n, m)
        source_weights = _weights(self.student_weights, student, source)
        target_weights = _weights(self.teacher_weights, teacher, target)
        costs, solved = self.solve(
            cost,
            source.mask.repeat_interleave(columns, dim=0),
            target.mask.repeat(rows, 1),
            None if source_weights is None else source_weights.repeat_interleave(columns, dim=0),
            None if target_weights is None else target_weights.repeat(rows, 1),
        )
        return costs.reshape(rows, columns), solved

    def settings(self) -> dict[str, Any]:
        """Settings to print in a model card: those that the solver reads."""
        return {
            "solver": self.solver,
            **{name: getattr(self, name) for name in SOLVERS[self.solver][1]},
            "student_weights": type(self.student_weights or TokenWeights()).__name__,
            "teacher_weights": type(self.teacher_weights or TokenWeights()).__name__,
            "center": self.center,
            "layers": list(self.layers),
        }


def _mean(costs: list[Tensor]) -> Tensor:
    return costs[0] if len(costs) == 1 else torch.stack(costs).mean(0)


def _weights(which: TokenWeights | None, encoded: Encoded, tokens: Packed) -> Tensor | None:
    """Weights of the packed tokens, [B, k]; None for uniform ones."""
    return None if which is None else tokens.gather(which(encoded))


def _config(model: SentenceTransformer) -> Any:  # noqa: ANN401 - a transformers configuration
    return next(module.config for module in model.modules() if isinstance(module, PreTrainedModel))
