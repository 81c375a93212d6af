"""Batched, masked optimal transport: tensors in, tensors out; nothing here knows of text or models.

A batch holds B independent problems. Problem b moves the mass of `n_b` source points onto `m_b` target points at
`cost[b, i, j]` per unit; all problems are padded to n x m, and the masks say which rows and columns are real. Marginals
are uniform over the real points unless weights are given. Every solver returns the plan, float32, without gradient: the
objective of this package holds the plan fixed and differentiates the cost alone (arXiv 2301.12566).

A problem with no real point on either side has the zero plan, and so costs nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

LOG_DOMAIN_BELOW = 0.02
"""Regularisation under which the kernel exp(-cost / epsilon) of a cosine cost (0 to 2) leaves float32's range."""

_TINY = torch.finfo(torch.float32).tiny


def cosine_cost(source: Tensor, target: Tensor) -> Tensor:
    """Cost C_ij = 1 - cos(source_i, target_j) (arXiv 2301.12566).

    Args:
        source: Vectors, [B, n, d], any floating dtype.
        target: Vectors, [B, m, d].

    Returns:
        Cost, [B, n, m], float32 whatever the autocast state, between 0 and 2, differentiable in both arguments.
    """
    with torch.autocast(source.device.type, enabled=False):
        source = torch.nn.functional.normalize(source.float(), dim=-1)
        target = torch.nn.functional.normalize(target.float(), dim=-1)
        return 1 - source @ target.transpose(-1, -2)


def transport_cost(plan: Tensor, cost: Tensor) -> Tensor:
    """Frobenius inner product <plan, cost>_F of each problem (arXiv 2301.12566).

    Args:
        plan: Transport plan, [B, n, m]; no gradient flows through it if it comes from a solver of this module.
        cost: Cost, [B, n, m]. Where the plan is zero, padding above all, the cost is not read.

    Returns:
        Cost of each problem, [B], float32.
    """
    with torch.autocast(cost.device.type, enabled=False):
        return (plan.float() * cost.float().masked_fill(plan == 0, 0.0)).sum(dim=(-2, -1))


def marginal_error(
    plan: Tensor,
    source_mask: Tensor,
    target_mask: Tensor,
    *,
    source_weights: Tensor | None = None,
    target_weights: Tensor | None = None,
) -> Tensor:
    """Total mass that the plan's marginals miss: L1 distance to the wanted marginals, both sides added.

    Args:
        plan: Transport plan, [B, n, m].
        source_mask: Real rows, [B, n].
        target_mask: Real columns, [B, m].
        source_weights: Weights of the rows, [B, n], uniform by default.
        target_weights: Weights of the columns, [B, m], uniform by default.

    Returns:
        Error of each problem, [B]: 0 for a plan with exact marginals, at most 4.
    """
    source, target = _marginals(source_mask, target_mask, source_weights, target_weights)
    return (plan.sum(-1) - source).abs().sum(-1) + (plan.sum(-2) - target).abs().sum(-1)


@torch.no_grad()
def sinkhorn(
    cost: Tensor,
    source_mask: Tensor,
    target_mask: Tensor,
    *,
    source_weights: Tensor | None = None,
    target_weights: Tensor | None = None,
    epsilon: float = 0.05,
    iterations: int = 50,
    log_domain: bool | None = None,
) -> Tensor:
    """Entropic optimal transport by Sinkhorn's iteration (Cuturi, NeurIPS 2013, algorithm 1).

    The kernel is shifted by the row minima and then by the column minima of the cost, which the scaling vectors absorb:
    every real row and column keeps an entry of 1, so that no sum underflows.

    Args:
        cost: Cost, [B, n, m]; padding may hold anything, NaN included.
        source_mask: Real rows, [B, n], boolean or 0/1.
        target_mask: Real columns, [B, m].
        source_weights: Nonnegative weights of the rows, [B, n], normalised here; uniform by default.
        target_weights: Nonnegative weights of the columns, [B, m], normalised here; uniform by default.
        epsilon: Weight of the entropy, in units of the cost; positive.
        iterations: Number of row-and-column scalings; at least 1.
        log_domain: Iterate on logarithms: slower, safe for any epsilon. By default where epsilon is below
            `LOG_DOMAIN_BELOW`, which fits costs between 0 and 2.

    Returns:
        Plan, [B, n, m], float32, zero on padding. Its column marginals are exact; its row marginals converge.

    Raises:
        ValueError: A shape, epsilon or the number of iterations is wrong.
    """
    _check(cost, source_mask, target_mask, epsilon, iterations)
    source, target = _marginals(source_mask, target_mask, source_weights, target_weights)
    shifted = _shifted(cost, source_mask, target_mask) / epsilon
    if log_domain if log_domain is not None else epsilon < LOG_DOMAIN_BELOW:
        return _log_scaling(-shifted, source, target, iterations)
    return _scaling(torch.exp(-shifted), source, target, iterations)


@torch.no_grad()
def ipot(
    cost: Tensor,
    source_mask: Tensor,
    target_mask: Tensor,
    *,
    source_weights: Tensor | None = None,
    target_weights: Tensor | None = None,
    beta: float = 0.5,
    iterations: int = 50,
) -> Tensor:
    """Optimal transport by inexact proximal points (IPOT; Xie et al., UAI 2020, algorithm 1, one inner iteration).

    Converges to the plan without entropy, for any step `beta`, where Sinkhorn needs a small epsilon.
    The iteration runs on logarithms.

    Args:
        cost: Cost, [B, n, m]; padding may hold anything.
        source_mask: Real rows, [B, n].
        target_mask: Real columns, [B, m].
        source_weights: Weights of the rows, [B, n], normalised here; uniform by default.
        target_weights: Weights of the columns, [B, m], normalised here; uniform by default.
        beta: Proximal step, in units of the cost; larger is steadier and slower. Positive.
        iterations: Number of proximal steps; at least 1.

    Returns:
        Plan, [B, n, m], float32, zero on padding.

    Raises:
        ValueError: A shape, beta or the number of iterations is wrong.
    """
    _check(cost, source_mask, target_mask, beta, iterations)
    source, target = _marginals(source_mask, target_mask, source_weights, target_weights)
    log_source, log_target = source.log(), target.log()
    log_kernel = -_shifted(cost, source_mask, target_mask) / beta
    log_plan = torch.zeros_like(log_kernel)
    columns = torch.zeros_like(target)
    for _ in range(iterations):
        # On logarithms: as probabilities, entries that vanish would take their rows' mass with them.
        proximal = log_kernel + log_plan
        rows = log_source - _finite_logsumexp(proximal + columns.unsqueeze(-2), -1)
        columns = log_target - _finite_logsumexp(proximal + rows.unsqueeze(-1), -2)
        log_plan = rows.unsqueeze(-1) + proximal + columns.unsqueeze(-2)
    return log_plan.exp()


@torch.no_grad()
def exact(
    cost: Tensor,
    source_mask: Tensor,
    target_mask: Tensor,
    *,
    source_weights: Tensor | None = None,
    target_weights: Tensor | None = None,
) -> Tensor:
    """Optimal transport without entropy, by POT's network simplex, one problem after the other on the CPU.

    For tests and small problems: the time grows with the cube of the number of points.

    Args:
        cost: Cost, [B, n, m]; padding may hold anything.
        source_mask: Real rows, [B, n].
        target_mask: Real columns, [B, m].
        source_weights: Weights of the rows, [B, n], normalised here; uniform by default.
        target_weights: Weights of the columns, [B, m], normalised here; uniform by default.

    Returns:
        Plan, [B, n, m], float32, zero on padding.

    Raises:
        ValueError: A shape is wrong.
    """
    import ot

    _check(cost, source_mask, target_mask, 1.0, 1)
    source, target = _marginals(source_mask, target_mask, source_weights, target_weights)
    plan = torch.zeros(cost.shape, dtype=torch.float32, device=cost.device)
    for problem in range(len(cost)):
        rows = torch.nonzero(source[problem] > 0).flatten()
        columns = torch.nonzero(target[problem] > 0).flatten()
        if len(rows) == 0:
            continue
        a, b = source[problem, rows].cpu().double(), target[problem, columns].cpu().double()
        solved = ot.emd(
            (a / a.sum()).numpy(),
            (b / b.sum()).numpy(),
            cost[problem][rows][:, columns].float().cpu().double().numpy(),
        )
        plan[problem, rows.unsqueeze(-1), columns] = torch.as_tensor(solved, dtype=torch.float32, device=cost.device)
    return plan


def _check(cost: Tensor, source_mask: Tensor, target_mask: Tensor, positive: float, iterations: int) -> None:
    if cost.dim() != 3 or source_mask.shape != cost.shape[:2] or target_mask.shape != cost.shape[::2]:
        raise ValueError(
            f"cost {tuple(cost.shape)}, source_mask {tuple(source_mask.shape)}, target_mask {tuple(target_mask.shape)}: "
            "expected [B, n, m], [B, n] and [B, m]"
        )
    if positive <= 0 or iterations < 1:
        raise ValueError(
            f"expected a positive epsilon or beta and at least one iteration; got {positive}, {iterations}"
        )


def _marginals(
    source_mask: Tensor, target_mask: Tensor, source_weights: Tensor | None, target_weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    source = _normalised(source_mask, source_weights)
    target = _normalised(target_mask, target_weights)
    # Mass on one side only cannot be moved: such a problem is empty.
    balanced = (source.sum(-1, keepdim=True) > 0) & (target.sum(-1, keepdim=True) > 0)
    return source * balanced, target * balanced


def _normalised(mask: Tensor, weights: Tensor | None) -> Tensor:
    mass = mask.float() if weights is None else weights.float().masked_fill(~mask.bool(), 0.0)
    return mass / mass.sum(-1, keepdim=True).clamp_min(_TINY)


def _shifted(cost: Tensor, source_mask: Tensor, target_mask: Tensor) -> Tensor:
    """Cost less its row minima, then less its column minima; infinite on padding."""
    padding = ~(source_mask.bool().unsqueeze(-1) & target_mask.bool().unsqueeze(-2))
    shifted = cost.detach().float().masked_fill(padding, torch.inf)
    shifted = shifted - _finite(shifted.amin(-1, keepdim=True))
    return shifted - _finite(shifted.amin(-2, keepdim=True))


def _finite(minimum: Tensor) -> Tensor:
    return minimum.masked_fill(minimum == torch.inf, 0.0)


def _scaling(kernel: Tensor, source: Tensor, target: Tensor, iterations: int) -> Tensor:
    columns = torch.ones_like(target)
    rows = torch.ones_like(source)
    for _ in range(iterations):
        # Multiply-and-sum beats a batched matrix-vector product for token-sized problems.
        rows = source / (kernel * columns.unsqueeze(-2)).sum(-1).clamp_min(_TINY)
        columns = target / (kernel * rows.unsqueeze(-1)).sum(-2).clamp_min(_TINY)
    return rows.unsqueeze(-1) * kernel * columns.unsqueeze(-2)


def _log_scaling(log_kernel: Tensor, source: Tensor, target: Tensor, iterations: int) -> Tensor:
    log_source, log_target = source.log(), target.log()
    columns = torch.zeros_like(target)
    rows = torch.zeros_like(source)
    for _ in range(iterations):
        rows = log_source - _finite_logsumexp(log_kernel + columns.unsqueeze(-2), -1)
        columns = log_target - _finite_logsumexp(log_kernel + rows.unsqueeze(-1), -2)
    return torch.exp(rows.unsqueeze(-1) + log_kernel + columns.unsqueeze(-2))


def _finite_logsumexp(values: Tensor, dim: int) -> Tensor:
    summed = torch.logsumexp(values, dim)
    return summed.masked_fill(summed == -torch.inf, 0.0)
