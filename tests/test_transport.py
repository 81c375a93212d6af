"""Transport against POT and by hand: the plan must be right, and padding must never reach it."""

import numpy as np
import ot
import pytest
import torch

from optical_mteb.transport import cosine_cost, exact, ipot, marginal_error, sinkhorn, transport_cost

SIZES = [(7, 9), (1, 5), (12, 12), (3, 1)]
SOLVERS = [sinkhorn, ipot, exact]


def padded_problems(sizes=SIZES, n=12, m=12, seed=0, padding=float("nan")):
    generator = torch.Generator().manual_seed(seed)
    cost = torch.full((len(sizes), n, m), padding)
    source_mask = torch.zeros(len(sizes), n, dtype=torch.bool)
    target_mask = torch.zeros(len(sizes), m, dtype=torch.bool)
    for index, (rows, columns) in enumerate(sizes):
        cost[index, :rows, :columns] = torch.rand(rows, columns, generator=generator)
        source_mask[index, :rows] = True
        target_mask[index, :columns] = True
    return cost, source_mask, target_mask


def uniform(size):
    return np.full(size, 1 / size)


@pytest.mark.parametrize(("epsilon", "log_domain"), [(0.05, False), (0.05, True), (0.2, None), (0.01, None)])
def test_sinkhorn_converges_to_pot(epsilon, log_domain):
    """Pins a wrong kernel, shift or mask: each problem equals POT's converged plan of the unpadded problem."""
    cost, source_mask, target_mask = padded_problems()
    plan = sinkhorn(cost, source_mask, target_mask, epsilon=epsilon, iterations=5000, log_domain=log_domain)
    for index, (rows, columns) in enumerate(SIZES):
        matrix = cost[index, :rows, :columns].double().numpy()
        expected = ot.sinkhorn(
            uniform(rows), uniform(columns), matrix, epsilon, method="sinkhorn_log", numItermax=50000, stopThr=1e-7
        )
        np.testing.assert_allclose(plan[index, :rows, :columns], expected, atol=2e-5)


def test_weighted_marginals_converge_to_pot():
    """Pins weights that are ignored, not normalised, or applied to the wrong side."""
    cost, source_mask, target_mask = padded_problems([(6, 8)], 6, 8)
    source_weights = torch.arange(1.0, 7.0).unsqueeze(0)
    target_weights = torch.arange(8.0, 0.0, -1).unsqueeze(0)
    plan = sinkhorn(
        cost, source_mask, target_mask, source_weights=source_weights, target_weights=target_weights, iterations=3000
    )
    a, b = (weights[0].double().numpy() / weights.double().sum().item() for weights in (source_weights, target_weights))
    np.testing.assert_allclose(plan[0], ot.sinkhorn(a, b, cost[0].double().numpy(), 0.05, stopThr=1e-12), atol=2e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_points_without_weight(solver):
    """Pins NaN or stray mass from weights of zero: the plan is that of the problem without those points."""
    cost, source_mask, target_mask = padded_problems([(4, 5)], 4, 5)
    source_weights, target_weights = torch.tensor([[1.0, 0.0, 2.0, 1.0]]), torch.tensor([[0.0, 1.0, 1.0, 3.0, 1.0]])
    plan = solver(cost, source_mask, target_mask, source_weights=source_weights, target_weights=target_weights)
    rows, columns = [0, 2, 3], [1, 2, 3, 4]
    small = solver(
        cost[:, rows][:, :, columns],
        *(torch.ones(1, 3), torch.ones(1, 4)),
        source_weights=source_weights[:, rows],
        target_weights=target_weights[:, columns],
    )
    torch.testing.assert_close(plan[:, rows][:, :, columns], small, rtol=0, atol=1e-5)
    assert plan.sum().item() == pytest.approx(small.sum().item(), abs=1e-5)


@pytest.mark.parametrize("beta", [0.01, 0.1, 0.5])
def test_ipot_keeps_all_mass(beta):
    """Pins entries that vanish with their row's mass: the marginals hold at any step, however long it runs."""
    cost = torch.tensor([[[0.0, 2.0, 2.0], [0.0, 2.0, 2.0], [2.0, 0.0, 0.0]]])
    mask = torch.ones(1, 3)
    plan = ipot(cost, mask, mask, beta=beta, iterations=3000)
    assert marginal_error(plan, mask, mask).item() < 1e-3
    assert transport_cost(plan, cost).item() == pytest.approx(
        ot.emd2(uniform(3), uniform(3), cost[0].numpy()), abs=1e-3
    )


def test_exact_and_ipot_reach_pots_optimum():
    """Pins a solver that stops short: the cost of the plan equals `ot.emd2` of the unpadded problem."""
    cost, source_mask, target_mask = padded_problems()
    expected = [
        ot.emd2(uniform(rows), uniform(columns), cost[index, :rows, :columns].double().numpy())
        for index, (rows, columns) in enumerate(SIZES)
    ]
    for solver, options, tolerance in [(exact, {}, 1e-6), (ipot, {"beta": 0.1, "iterations": 3000}, 1e-3)]:
        plan = solver(cost, source_mask, target_mask, **options)
        np.testing.assert_allclose(transport_cost(plan, cost), expected, atol=tolerance)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("padding", [0.0, -5.0, 1e9, float("inf"), float("nan")])
def test_padding_changes_nothing(solver, padding):
    """Pins padding that leaks: whatever it holds and however much there is, the plan is the same to 1e-6."""
    tight, tight_source, tight_target = padded_problems([(4, 6)], 4, 6)
    wide = torch.full((1, 11, 13), padding)
    wide[:, :4, :6] = tight
    source_mask, target_mask = torch.zeros(1, 11), torch.zeros(1, 13)
    source_mask[:, :4], target_mask[:, :6] = 1, 1
    plan = solver(wide, source_mask, target_mask)
    assert torch.equal(plan[:, 4:], torch.zeros(1, 7, 13))
    assert torch.equal(plan[:, :, 6:], torch.zeros(1, 11, 7))
    torch.testing.assert_close(plan[:, :4, :6], solver(tight, tight_source, tight_target), rtol=0, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_problem_without_points_has_the_zero_plan(solver):
    """Pins NaN from 0/0: all-padding rows and one-sided problems give zeros, and their neighbours are unharmed."""
    cost, source_mask, target_mask = padded_problems([(5, 5)] * 4, 5, 5)
    source_mask[1] = False
    target_mask[2] = False
    source_mask[3] = target_mask[3] = False
    plan = solver(cost, source_mask, target_mask)
    assert torch.equal(plan[1:], torch.zeros(3, 5, 5))
    torch.testing.assert_close(plan[:1], solver(cost[:1], source_mask[:1], target_mask[:1]))
    assert torch.equal(marginal_error(plan, source_mask, target_mask)[1:], torch.zeros(3))


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_token_on_each_side(solver):
    """Pins the smallest problem: all the mass goes the only way there is."""
    plan = solver(torch.tensor([[[0.7]]]), torch.ones(1, 1), torch.ones(1, 1))
    assert plan.item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_float32_under_autocast_and_no_gradient(solver):
    """Pins a solver that runs in bfloat16 under autocast, or that lets gradient through the plan."""
    cost, source_mask, target_mask = padded_problems([(5, 5)], 5, 5)
    reference = solver(cost, source_mask, target_mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plan = solver(cost.requires_grad_(), source_mask, target_mask)
    assert plan.dtype == torch.float32
    assert not plan.requires_grad
    assert torch.equal(plan, reference)


def test_cosine_cost_is_float32_under_autocast():
    """Pins a cost rounded to bfloat16, which would hide the small differences that rank documents."""
    source, target = torch.randn(2, 4, 16), torch.randn(2, 5, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cost = cosine_cost(source, target)
    expected = 1 - torch.nn.functional.cosine_similarity(source.unsqueeze(2), target.unsqueeze(1), dim=-1)
    torch.testing.assert_close(cost, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.001, 0.02, 0.05, 1.0])
def test_cosine_costs_stay_finite_at_any_epsilon(epsilon):
    """Pins under- and overflow: opposite and equal vectors, the widest cosine costs, at small and large epsilon."""
    vectors = torch.cat([torch.eye(4), -torch.eye(4)]).unsqueeze(0)
    mask = torch.ones(1, 8)
    plan = sinkhorn(cosine_cost(vectors, -vectors), mask, mask, epsilon=epsilon)
    assert torch.isfinite(plan).all()
    assert marginal_error(plan, mask, mask).item() < 1e-4


def test_gradient_of_the_transport_cost_is_the_plan():
    """Pins the definition of the loss: with the plan held fixed, d<T,C>/dC = T, and zero where C is padding."""
    cost, source_mask, target_mask = padded_problems()
    cost.requires_grad_()
    plan = sinkhorn(cost, source_mask, target_mask)
    transport_cost(plan, cost).sum().backward()
    assert torch.equal(cost.grad, plan)


@pytest.mark.parametrize(
    ("shapes", "options"),
    [
        (((2, 3, 4), (2, 4), (2, 4)), {}),
        (((3, 4), (3,), (4,)), {}),
        (((2, 3, 4), (2, 3), (2, 4)), {"epsilon": 0.0}),
        (((2, 3, 4), (2, 3), (2, 4)), {"iterations": 0}),
    ],
)
def test_wrong_arguments_are_refused(shapes, options):
    """Pins silent broadcasting of masks that belong to another batch."""
    cost, source_mask, target_mask = (torch.ones(shape) for shape in shapes)
    with pytest.raises(ValueError, match="expected"):
        sinkhorn(cost, source_mask, target_mask, **options)
