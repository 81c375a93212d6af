"""Batched, masked optimal transport: tensors in, tensors out; nothing here knows of text or models.

A batch holds B independent problems. Problem b moves the mass of `n_b` source points onto `m_b` target points at
`cost[b, i, j]` per unit; all problems are padded to n x m, and the masks say which rows and columns are real. Marginals
are uniform over the real points unless weights are given. Every solver returns the plan, float32 whatever the autocast
state, without gradient: the objective of this package holds the plan fixed and differentiates the cost alone
(arXiv 2301.12566).

A problem with no real point on either side has the zero plan, and so costs nothing. A problem with NaN or an infinity
among its real costs has a plan of NaN, and so costs NaN; its neighbours keep their plans. No solver reads padding.

The iterative solvers take `tolerance`. Reading an error stops the host until the device has caught up, and a compiled
graph has no exits: only on the CPU and outside `torch.compile` does the loop end early. Elsewhere it runs all
iterations, which brings every problem at least as near.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from optical_mteb.errors import require

LOG_DOMAIN_BELOW = 0.03
"""Regularisation under which the solvers iterate on logarithms by default.

Measured on costs between 0 and 2 (uniform, 0 or 2, permutations, hubs, bands; weights down to 1e-4) against float64
logarithms: the plan on the shifted float32 kernel is within 2e-6 of mass down to epsilon 0.0225, is off by 7e-4 at 0.02
and NaN at 0.015, as exp(-2 / epsilon) leaves float32's normal numbers at 0.0229. Costs up to 0.3, as between E5's
tokens, hold down to 0.005. `benchmarks/transport.py` prints the table.
"""

_SMALLEST = 1e-30
"""Least regularisation: costs are divided by it, and must stay below float32's largest number, 3e38."""

_TINY = torch.finfo(torch.float32).tiny


def cosine_cost(source: Tensor, target: Tensor) -> Tensor:
    """Cost C_ij = 1 - cos(source_i, target_j) (arXiv 2301.12566).

    Args:
        source: Vectors, [B, n, d], any floating dtype.
        target: Vectors, [B, m, d].

    Returns:
        Cost, [B, n, m], float32 whatever the autocast state, between 0 and 2 up to rounding, differentiable in both
        arguments. A vector of zeros costs 1.
    """
    with torch.autocast(source.device.type, enabled=False):
        cost: Tensor = _CosineCost.apply(source.float(), target.float())  # type: ignore[no-untyped-call]
        return cost


def transport_cost(plan: Tensor, cost: Tensor) -> Tensor:
    """Frobenius inner product <plan, cost>_F of each problem (arXiv 2301.12566).

    Args:
        plan: Transport plan, [B, n, m]; no gradient flows through it if it comes from a solver of this module.
        cost: Cost, [B, n, m]. Where the plan is zero, padding above all, the cost is not read.

    Returns:
        Cost of each problem, [B], float32; NaN where the plan is.
    """
    with torch.autocast(cost.device.type, enabled=False):
        read = cost.float() if _has_no_zero(plan) else torch.where(plan == 0, 0.0, cost.float())
        return (plan.float() * read).sum(dim=(-2, -1))


def plan_entropy(plan: Tensor) -> Tensor:
    """Shannon entropy -sum_ij P_ij log P_ij of each plan, normalised to mass 1.

    Args:
        plan: Transport plan, [B, n, m], nonnegative, of any mass.

    Returns:
        Entropy in nats, [B], float32: between 0, also for the zero plan, and log(n m).
    """
    plan = plan.float()
    mass = plan.sum(dim=(-2, -1), keepdim=True)
    entropy: Tensor = torch.special.entr(plan / mass.masked_fill(mass == 0, 1.0)).sum(dim=(-2, -1))
    return entropy


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
        Error of each problem, [B]: 0 for a plan with exact marginals, at most 4 for one of mass 1.
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
    tolerance: float | None = None,
    check_every: int = 10,
    log_domain: bool | None = None,
) -> Tensor:
    """Entropic optimal transport by Sinkhorn's iteration (Cuturi, NeurIPS 2013, algorithm 1).

    The plan minimises <P, C> + epsilon sum_ij P_ij (log P_ij - 1) under both marginals. The kernel exp(-C / epsilon)
    is shifted by the row minima and then by the column minima of the cost, which the scaling vectors absorb: every real
    row and column keeps an entry of 1, so that no sum underflows.

    Args:
        cost: Cost, [B, n, m]; padding may hold anything, NaN included.
        source_mask: Real rows, [B, n], boolean or 0/1.
        target_mask: Real columns, [B, m].
        source_weights: Nonnegative weights of the rows, [B, n], normalised here; uniform by default.
        target_weights: Nonnegative weights of the columns, [B, m], normalised here; uniform by default.
        epsilon: Weight of the entropy, in units of the cost; positive.
        iterations: Number of row-and-column scalings; at least 1.
        tolerance: Stop once no problem's `marginal_error` is above this; positive. See the head of this module.
        check_every: Iterations from one check to the next; at least 1.
        log_domain: Iterate on logarithms: slower, safe for any epsilon. By default where epsilon is below
            `LOG_DOMAIN_BELOW`, which fits costs between 0 and 2.

    Returns:
        Plan, [B, n, m], float32, zero on padding. Its column marginals are exact; its row marginals converge.

    Raises:
        ValueError: A shape, epsilon, the number of iterations, the tolerance or check_every is wrong.
    """
    _check_shapes(cost, source_mask, target_mask, source_weights, target_weights)
    _check_options(iterations, tolerance, check_every, epsilon=epsilon)
    source, target = _marginals(source_mask, target_mask, source_weights, target_weights)
    return _entropic(cost, source, target, epsilon, math.inf, iterations, tolerance, check_every, log_domain)


@torch.no_grad()
def unbalanced(
    cost: Tensor,
    source_mask: Tensor,
    target_mask: Tensor,
    *,
    source_weights: Tensor | None = None,
    target_weights: Tensor | None = None,
    epsilon: float = 0.05,
    relaxation: float = 1.0,
    iterations: int = 50,
    tolerance: float | None = None,
    check_every: int = 10,
    log_domain: bool | None = None,
) -> Tensor:
    """Entropic optimal transport that may drop or add mass (Chizat et al., Math. Comp. 2018, algorithm 1, KL case).

    The plan minimises <P, C> + epsilon KL(P | a b^T) + relaxation (KL(P 1 | a) + KL(P^T 1 | b)) over P >= 0, where
    KL(x | y) = sum x log(x / y) - x + y and a, b are the normalised weights: POT's `sinkhorn_unbalanced` with
    `reg_type="kl"`. Tokens that only expensive moves could serve are served less. The scalings are those of `sinkhorn`,
    raised to relaxation / (relaxation + epsilon). The shift of the cost by its row minima r changes this problem, unlike
    the balanced one; weighting row i by exp(-r_i / (relaxation + epsilon)) undoes that exactly, and likewise for columns.

    The mass converges last: its error shrinks by the square of that power an iteration, so iterations in proportion to
    relaxation / epsilon are needed. The defaults leave 0.3 % on a single move of cost 0.7, 200 iterations 1e-7.

    Args:
        cost: Cost, [B, n, m]; padding may hold anything.
        source_mask: Real rows, [B, n].
        target_mask: Real columns, [B, m].
        source_weights: Weights of the rows, [B, n], normalised here; uniform by default.
        target_weights: Weights of the columns, [B, m], normalised here; uniform by default.
        epsilon: Weight of the entropy, in units of the cost; positive.
        relaxation: Weight of the two marginal terms, in units of the cost; positive. Infinity is `sinkhorn`.
        iterations: Number of row-and-column scalings; at least 1.
        tolerance: Stop once, in no problem, the next scaling would change the row marginals by more than this (L1);
            positive. See the head of this module.
        check_every: Iterations from one check to the next; at least 1.
        log_domain: As in `sinkhorn`.

    Returns:
        Plan, [B, n, m], float32, zero on padding. Its mass is not 1.

    Raises:
        ValueError: A shape, epsilon, relaxation, the number of iterations, the tolerance or check_every is wrong.
    """
    _check_shapes(cost, source_mask, target_mask, source_weights, target_weights)
    _check_options(iterations, tolerance, check_every, epsilon=epsilon, relaxation=relaxation)
    source, target = _marginals(source_mask, target_mask, source_weights, target_weights)
    return _entropic(cost, source, target, epsilon, relaxation, iterations, tolerance, check_every, log_domain)


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
    tolerance: float | None = None,
    check_every: int = 10,
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
        tolerance: Stop once no problem's `marginal_error`, and its plan's last change (L1) added, is above this;
            positive. The marginals alone may hold long before the plan is the best. See the head of this module.
        check_every: Iterations from one check to the next; at least 1.

    Returns:
        Plan, [B, n, m], float32, zero on padding.

    Raises:
        ValueError: A shape, beta, the number of iterations, the tolerance or check_every is wrong.
    """
    _check_shapes(cost, source_mask, target_mask, source_weights, target_weights)
    _check_options(iterations, tolerance, check_every, beta=beta)
    source, target = _marginals(source_mask, target_mask, source_weights, target_weights)
    padding = _padding(source, target)
    log_source, log_target = source.log(), target.log()
    log_kernel = _shifted(cost, padding)[0].mul_(-1 / beta)
    log_plan = torch.zeros_like(log_kernel)
    columns = torch.zeros_like(target).where(target != 0, -torch.inf)
    check = _checks(cost, iterations, tolerance, check_every)
    for iteration in range(iterations):
        # On logarithms: as probabilities, entries that vanish would take their rows' mass with them.
        proximal = log_kernel + log_plan
        rows = log_source - torch.logsumexp(proximal + columns.unsqueeze(-2), -1)
        columns = log_target - torch.logsumexp(proximal + rows.unsqueeze(-1), -2)
        before, log_plan = log_plan, _without(padding, rows.unsqueeze(-1) + proximal + columns.unsqueeze(-2))
        if iteration in check:
            plan = _without(padding, log_plan.exp())
            moved = (plan - _without(padding, before.exp())).abs().sum(-1)
            if _settled((plan.sum(-1) - source).abs() + moved, tolerance or 0.0):
                break
    return _without(padding, log_plan.exp())


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
    require("ot", "train", "exact transport")
    import ot

    _check_shapes(cost, source_mask, target_mask, source_weights, target_weights)
    source, target = _marginals(source_mask, target_mask, source_weights, target_weights)
    plan = torch.zeros(cost.shape, dtype=torch.float32, device=cost.device)
    for problem in range(len(cost)):
        rows = torch.nonzero(source[problem]).flatten()
        columns = torch.nonzero(target[problem]).flatten()
        if len(rows) == 0 or len(columns) == 0:
            continue
        a, b = source[problem, rows].cpu().double(), target[problem, columns].cpu().double()
        moves = cost[problem][rows][:, columns].float().cpu().double()
        if not torch.isfinite(moves).all() or not torch.isfinite(a.sum() + b.sum()):
            plan[problem, rows.unsqueeze(-1), columns] = torch.nan
            continue
        solved = ot.emd((a / a.sum()).numpy(), (b / b.sum()).numpy(), moves.numpy())
        plan[problem, rows.unsqueeze(-1), columns] = torch.as_tensor(solved, dtype=torch.float32, device=cost.device)
    return plan


def _check_shapes(
    cost: Tensor, source_mask: Tensor, target_mask: Tensor, source_weights: Tensor | None, target_weights: Tensor | None
) -> None:
    sides = (
        {"source_mask": source_mask, "source_weights": source_weights},
        {
            "target_mask": target_mask,
            "target_weights": target_weights,
        },
    )
    for side, shape in zip(sides, (cost.shape[:2], cost.shape[::2]), strict=True):
        for name, found in side.items():
            if cost.dim() != 3 or (found is not None and found.shape != shape):
                raise ValueError(
                    f"cost {tuple(cost.shape)}, {name} {None if found is None else tuple(found.shape)}: "
                    "expected [B, n, m] and [B, n] of the source, [B, m] of the target"
                )


def _check_options(iterations: int, tolerance: float | None, check_every: int, **positive: float) -> None:
    for name, value in {**positive, "tolerance": tolerance}.items():
        if value is not None and not value > 0:
            raise ValueError(f"expected a positive {name}; got {value}")
        if value is not None and name in ("epsilon", "beta") and not _SMALLEST <= value <= 1 / _SMALLEST:
            raise ValueError(f"expected {name} between {_SMALLEST} and {1 / _SMALLEST}; got {value}")
    for name, count in {"iterations": iterations, "check_every": check_every}.items():
        if count < 1:
            raise ValueError(f"expected at least 1 as {name}; got {count}")


class _CosineCost(torch.autograd.Function):
    """Scales products, not vectors, in both directions: writing n x d numbers is what the time would go into."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, target: Tensor) -> Tensor:  # noqa: ANN401
        rows, columns = _inverse_norm(source), _inverse_norm(target)
        cost = torch.bmm(source, target.transpose(-1, -2)).mul_(-rows).mul_(columns.transpose(-1, -2)).add_(1)
        ctx.save_for_backward(source, target, rows, columns, cost)
        return cost

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
        source, target, rows, columns, cost = ctx.saved_tensors
        along_source = along_target = None
        with torch.autocast(source.device.type, enabled=False):
            # The sign is that of 1 - cosine.
            scaled = (gradient * -rows).mul_(columns.transpose(-1, -2))
            radial = (gradient * cost).neg_().add_(gradient)
            if ctx.needs_input_grad[0]:
                radial_source = radial.sum(-1).unsqueeze(-1) * rows.square()
                along_source = torch.bmm(scaled, target).addcmul_(source, radial_source)
            if ctx.needs_input_grad[1]:
                radial_target = radial.sum(-2).unsqueeze(-1) * columns.square()
                along_target = torch.bmm(scaled.transpose(-1, -2), source).addcmul_(target, radial_target)
        return along_source, along_target


def _inverse_norm(vectors: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return norm.clamp_min(1e-12).reciprocal()


def _marginals(
    source_mask: Tensor, target_mask: Tensor, source_weights: Tensor | None, target_weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    source = _normalised(source_mask, source_weights)
    target = _normalised(target_mask, target_weights)
    # Mass on one side only cannot be moved: such a problem is empty.
    balanced = (source.sum(-1, keepdim=True) != 0) & (target.sum(-1, keepdim=True) != 0)
    return source * balanced, target * balanced


def _normalised(mask: Tensor, weights: Tensor | None) -> Tensor:
    mass = mask.float() if weights is None else weights.float().masked_fill(~mask.bool(), 0.0)
    return mass / mass.sum(-1, keepdim=True).clamp_min(_TINY)


def _has_no_zero(*values: Tensor) -> bool:
    """Whether nothing has to be masked; looked up on the CPU alone, where the answer is not waited for."""
    if values[0].device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return all(bool(value.all()) for value in values)


def _padding(source: Tensor, target: Tensor) -> Tensor | None:
    """Entries without mass to move, [B, n, m]: padding, and points of weight 0; None where there are none."""
    if _has_no_zero(source, target):
        return None
    return (source == 0).unsqueeze(-1) | (target == 0).unsqueeze(-2)


def _without(padding: Tensor | None, plan: Tensor) -> Tensor:
    return plan if padding is None else torch.where(padding, 0.0, plan)


def _shifted(cost: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Cost less its row minima [B, n], then less its column minima [B, m], and both; 0 on padding.

    All are NaN in a problem that has NaN or an infinity among its real costs.
    """
    # In place where it can be: writing n x m numbers to fresh memory takes as long as the iterations do.
    cost = cost.detach().float()
    if padding is not None:
        cost = torch.where(padding, 0.0, cost)
    broken = cost.sum(dim=(-2, -1)).unsqueeze(-1) * 0
    rows = _minima(cost if padding is None else cost.masked_fill_(padding, torch.inf), -1) + broken
    shifted = cost - rows.unsqueeze(-1)
    columns = _minima(shifted, -2)
    return _without(padding, shifted.sub_(columns.unsqueeze(-2))), rows, columns


def _minima(values: Tensor, dim: int) -> Tensor:
    if values.shape[dim] == 0:
        return values.sum(dim)
    minima = values.amin(dim)
    return minima.masked_fill(minima == torch.inf, 0.0)


def _entropic(
    cost: Tensor,
    source: Tensor,
    target: Tensor,
    epsilon: float,
    relaxation: float,
    iterations: int,
    tolerance: float | None,
    check_every: int,
    log_domain: bool | None,
) -> Tensor:
    padding = _padding(source, target)
    shifted, row_minima, column_minima = _shifted(cost, padding)
    log_kernel = shifted.mul_(-1 / epsilon)
    power, decay = 1 / (1 + epsilon / relaxation), -1 / (epsilon + relaxation)
    check = _checks(cost, iterations, tolerance, check_every)
    if log_domain if log_domain is not None else epsilon < LOG_DOMAIN_BELOW:
        log_source, log_target = source.log() + decay * row_minima, target.log() + decay * column_minima
        plan = _log_scaling(log_kernel, log_source, log_target, power, iterations, tolerance or 0.0, check)
    else:
        source, target = source * torch.exp(decay * row_minima), target * torch.exp(decay * column_minima)
        plan = _scaling(log_kernel.exp_(), source, target, power, iterations, tolerance or 0.0, check)
    return _without(padding, plan)


def _scaling(
    kernel: Tensor,
    source: Tensor,
    target: Tensor,
    power: float,
    iterations: int,
    tolerance: float,
    check: range,
) -> Tensor:
    source, target = source.unsqueeze(-2), target.unsqueeze(-2)
    # Zeros in the scalings keep padding out, where the kernel is 1: no sum over it vanishes, none needs a guard.
    columns = (target != 0).float()
    rows = torch.zeros_like(source)
    transposed = kernel.transpose(-1, -2)
    with torch.autocast(kernel.device.type, enabled=False):
        for iteration in range(iterations):
            sums = torch.bmm(columns, transposed)
            before, rows = rows, source / (sums if power == 1 else sums.pow(power))
            sums_of_columns = torch.bmm(rows, kernel)
            columns = target / (sums_of_columns if power == 1 else sums_of_columns.pow(power))
            if iteration in check and _settled((rows - before).abs() * sums, tolerance):
                break
    return kernel.mul_(rows.transpose(-1, -2)).mul_(columns)


def _log_scaling(
    log_kernel: Tensor,
    log_source: Tensor,
    log_target: Tensor,
    power: float,
    iterations: int,
    tolerance: float,
    check: range,
) -> Tensor:
    columns = torch.zeros_like(log_target).where(log_target != -torch.inf, -torch.inf)
    rows = torch.full_like(log_source, -torch.inf)
    for iteration in range(iterations):
        sums = torch.logsumexp(log_kernel + columns.unsqueeze(-2), -1)
        before, rows = rows, log_source - power * sums
        columns = log_target - power * torch.logsumexp(log_kernel + rows.unsqueeze(-1), -2)
        if iteration in check and _settled(((rows + sums).exp() - (before + sums).exp()).abs(), tolerance):
            break
    return torch.exp(rows.unsqueeze(-1) + log_kernel + columns.unsqueeze(-2))


def _checks(cost: Tensor, iterations: int, tolerance: float | None, check_every: int) -> range:
    """Iterations after which the error is read: none where reading would hold up a device or break a graph."""
    if tolerance is None or cost.device.type != "cpu" or torch.compiler.is_compiling():
        return range(0)
    return range(check_every - 1, iterations, check_every)


def _settled(change: Tensor, tolerance: float) -> bool:
    """Whether no problem's change, [B, ...] summed, is above the tolerance; NaN, which stays, is not above it."""
    return not bool((change.flatten(1).sum(-1) > tolerance).any())
