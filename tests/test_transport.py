"""Transport against POT and by hand: the plan must be right, and padding must never reach it."""

import math

import numpy as np
import ot
import pytest
import torch

from benchmarks.transport import COST_FAMILIES, departure, measure
from optical_mteb.transport import (
    LOG_DOMAIN_BELOW,
    cosine_cost,
    exact,
    ipot,
    marginal_error,
    plan_entropy,
    sinkhorn,
    transport_cost,
    unbalanced,
)

SIZES = [(7, 9), (1, 5), (12, 12), (3, 1)]
ITERATIVE = [sinkhorn, unbalanced, ipot]
SOLVERS = [*ITERATIVE, exact]


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


@pytest.mark.long
@pytest.mark.parametrize(("epsilon", "log_domain"), [(0.05, False), (0.05, True), (0.2, None), (0.02, None)])
def test_sinkhorn_converges_to_pot(epsilon, log_domain):
    """Guards against a wrong kernel, shift or mask: each problem equals POT's converged plan of the unpadded problem."""
    cost, source_mask, target_mask = padded_problems()
    plan = sinkhorn(cost, source_mask, target_mask, epsilon=epsilon, iterations=5000, log_domain=log_domain)
    for index, (rows, columns) in enumerate(SIZES):
        matrix = cost[index, :rows, :columns].double().numpy()
        expected = ot.sinkhorn(
            uniform(rows), uniform(columns), matrix, epsilon, method="sinkhorn_log", numItermax=50000, stopThr=1e-7
        )
        np.testing.assert_allclose(plan[index, :rows, :columns], expected, atol=2e-5)


def test_weighted_marginals_converge_to_pot():
    """Guards against weights that are ignored, not normalised, or applied to the wrong side."""
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
    """Guards against NaN or stray mass from weights of zero: the plan is that of the problem without those points."""
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


@pytest.mark.long
@pytest.mark.parametrize("beta", [0.01, 0.1, 0.5])
def test_ipot_keeps_all_mass(beta):
    """Guards against entries that vanish with their row's mass: the marginals hold at any step, however long it runs."""
    cost = torch.tensor([[[0.0, 2.0, 2.0], [0.0, 2.0, 2.0], [2.0, 0.0, 0.0]]])
    mask = torch.ones(1, 3)
    plan = ipot(cost, mask, mask, beta=beta, iterations=3000)
    assert marginal_error(plan, mask, mask).item() < 1e-3
    assert transport_cost(plan, cost).item() == pytest.approx(
        ot.emd2(uniform(3), uniform(3), cost[0].numpy()), abs=1e-3
    )


def test_exact_and_ipot_reach_pots_optimum():
    """Guards against a solver that stops short: the cost of the plan equals `ot.emd2` of the unpadded problem."""
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
    """Guards against padding that leaks: whatever it holds and however much there is, the plan is the same to 1e-6."""
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
    """Guards against NaN from 0/0: all-padding rows and one-sided problems give zeros, and their neighbours are unharmed."""
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
    """Guards against a failure on the smallest problem: all the mass goes the only way there is; relaxed, what the cost leaves of it."""
    plan = solver(torch.tensor([[[0.7]]]), torch.ones(1, 1), torch.ones(1, 1))
    if solver is unbalanced:  # p c + epsilon KL(p | 1) + 2 relaxation KL(p | 1) is least at exp(-c / 2.05)
        assert plan.item() == pytest.approx(np.exp(-0.7 / 2.05), rel=4e-3)
    else:
        assert plan.item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_float32_under_autocast_and_no_gradient(solver):
    """Guards against costs or plans in bfloat16 under autocast, gradient through the plan, and work in place on inference tensors."""
    source, target = torch.randn(2, 4, 16, requires_grad=True), torch.randn(2, 5, 16)
    masks = torch.ones(2, 4), torch.ones(2, 5)
    expected = solver(cosine_cost(source, target), *masks)
    cosine = torch.nn.functional.cosine_similarity(source.unsqueeze(2), target.unsqueeze(1), dim=-1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plan = solver(cosine_cost(source, target), *masks)
        with torch.inference_mode():
            cost = cosine_cost(source, target)
            inferred = solver(cost, *masks)
            transported = transport_cost(inferred, cost)
    assert not plan.requires_grad
    assert plan.dtype == transported.dtype == torch.float32
    assert torch.equal(plan, expected)
    assert torch.equal(inferred, expected)
    torch.testing.assert_close(cost, 1 - cosine, rtol=0, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.001, 0.02, 0.05, 1.0])
def test_cosine_costs_stay_finite_at_any_epsilon(epsilon):
    """Guards against under- and overflow: opposite and equal vectors, the widest cosine costs, at small and large epsilon."""
    vectors = torch.cat([torch.eye(4), -torch.eye(4)]).unsqueeze(0)
    mask = torch.ones(1, 8)
    plan = sinkhorn(cosine_cost(vectors, -vectors), mask, mask, epsilon=epsilon)
    assert torch.isfinite(plan).all()
    assert marginal_error(plan, mask, mask).item() < 1e-4


def test_gradient_of_the_transport_cost_is_the_plan():
    """Guards against another loss than the defined one: with the plan held fixed, d<T,C>/dC = T, and zero where C is padding."""
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
        (((2, 3, 4), (2, 3), (2, 4)), {"epsilon": 1e-300}),
        (((2, 3, 4), (2, 3), (2, 4)), {"epsilon": math.inf}),
        (((2, 3, 4), (2, 3), (2, 4)), {"iterations": 0}),
        (((2, 3, 4), (2, 3), (2, 4)), {"tolerance": 0.0}),
        (((2, 3, 4), (2, 3), (2, 4)), {"tolerance": float("nan")}),
        (((2, 3, 4), (2, 3), (2, 4)), {"check_every": 0}),
        (((2, 3, 4), (2, 3), (2, 4)), {"relaxation": -1.0}),
        (((2, 3, 4), (2, 3), (2, 4)), {"source_weights": torch.ones(2, 1)}),
        (((2, 3, 4), (2, 3), (2, 4)), {"target_weights": torch.ones(4)}),
    ],
)
def test_wrong_arguments_are_refused(shapes, options):
    """Guards against silent broadcasting of masks that belong to another batch, and settings that mean nothing."""
    cost, source_mask, target_mask = (torch.ones(shape) for shape in shapes)
    with pytest.raises(ValueError, match="expected"):
        unbalanced(cost, source_mask, target_mask, **options)


def weighted_problems(seed=1):
    """Padded problems with random weights on every point, NaN on padding ones."""
    cost, source_mask, target_mask = padded_problems(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    weights = [0.1 + torch.rand(mask.shape, generator=generator) for mask in (source_mask, target_mask)]
    source_weights, target_weights = weights[0].where(source_mask, torch.nan), weights[1].where(target_mask, torch.nan)
    return cost, source_mask, target_mask, {"source_weights": source_weights, "target_weights": target_weights}


def pot_unbalanced(cost, source_weights, target_weights, epsilon, relaxation):
    a, b = (weights.double() / weights.double().sum() for weights in (source_weights, target_weights))
    return ot.unbalanced.sinkhorn_unbalanced(
        *(a.numpy(), b.numpy(), cost.double().numpy()),
        *(epsilon, relaxation),
        reg_type="kl",
        numItermax=20000,
        stopThr=1e-13,
    )


@pytest.mark.long
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("log_domain", [False, True])
@pytest.mark.parametrize(("epsilon", "relaxation", "offset"), [(0.05, 1.0, 0.0), (0.1, 0.1, 0.0), (0.05, 0.3, 0.5)])
def test_unbalanced_converges_to_pot(epsilon, relaxation, offset, log_domain, weighted):
    """Guards against another reference measure, or the shift by minima absorbed as if free: POT's plan of each problem."""
    cost, source_mask, target_mask, weights = weighted_problems()
    cost = cost + offset
    plan = unbalanced(
        *(cost, source_mask, target_mask),
        **(weights if weighted else {}),
        epsilon=epsilon,
        relaxation=relaxation,
        iterations=600,
        log_domain=log_domain,
    )
    for index, (rows, columns) in enumerate(SIZES):
        a, b = weights["source_weights"][index, :rows], weights["target_weights"][index, :columns]
        a, b = (a, b) if weighted else (torch.ones(rows), torch.ones(columns))
        expected = pot_unbalanced(cost[index, :rows, :columns], a, b, epsilon, relaxation)
        np.testing.assert_allclose(plan[index, :rows, :columns], expected, atol=1e-5)
        assert plan[index].sum().item() == pytest.approx(expected.sum(), abs=1e-4)


@pytest.mark.parametrize("log_domain", [False, True])
def test_unbalanced_becomes_balanced(log_domain):
    """Guards against a wrong exponent: the plan nears Sinkhorn's as the relaxation grows, and is Sinkhorn's at infinity."""
    problem = *padded_problems(), {"log_domain": log_domain, "iterations": 400}
    balanced = sinkhorn(*problem[:3], **problem[3])
    distances = [
        (unbalanced(*problem[:3], **problem[3], relaxation=relaxation) - balanced).abs().sum().item()
        for relaxation in (0.1, 1.0, 10.0, float("inf"))
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[2] < 0.2
    assert distances[3] == 0


def test_unbalanced_drops_what_is_dear():
    """Guards against relaxed marginals that are enforced: a token far from everything is served far less than the others."""
    cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]]])
    mass = unbalanced(cost, torch.ones(1, 3), torch.ones(1, 2), relaxation=0.2, iterations=500)[0].sum(-1)
    assert mass[2].item() < 0.01 * mass[0].item()


@pytest.mark.long
@pytest.mark.parametrize("options", [{"log_domain": False}, {"log_domain": True}])
def test_tolerance_stops_sinkhorn_where_it_holds(options):
    """Guards against a check of the wrong quantity: the loop must end early and return the error that was asked for."""
    problem = padded_problems()
    plan = sinkhorn(*problem, iterations=5000, tolerance=1e-3, check_every=1, **options)
    assert marginal_error(plan, *problem[1:]).max().item() <= 1e-3 + 1e-6
    assert marginal_error(plan, *problem[1:]).max().item() > 1e-6
    counts = [count for count in range(1, 300) if torch.equal(plan, sinkhorn(*problem, iterations=count, **options))]
    assert len(counts) == 1
    before = sinkhorn(*problem, iterations=max(1, counts[0] - 2), **options)
    assert marginal_error(before, *problem[1:]).max().item() > 1e-3


@pytest.mark.parametrize("solver", ITERATIVE)
@pytest.mark.parametrize("check_every", [1, 7, 1000])
def test_tolerance_never_costs_accuracy(solver, check_every):
    """Guards against a loop that ends too soon, or for one problem alone: the plan is near the one of all iterations."""
    problem = padded_problems()
    options = {"iterations": 600}
    plan = solver(*problem, **options, tolerance=1e-5, check_every=check_every)
    assert (plan - solver(*problem, **options)).abs().sum(dim=(1, 2)).max().item() < (2e-2 if solver is ipot else 1e-3)


def test_ipot_does_not_stop_at_good_marginals_alone():
    """Guards against marginals taken for optimality: symmetric costs meet them at once, long before the plan is the best."""
    cost = 0.1 * (1 - torch.eye(6)).unsqueeze(0)
    mask = torch.ones(1, 6)
    plan = ipot(cost, mask, mask, beta=1.0, iterations=2000, tolerance=1e-3, check_every=1)
    assert transport_cost(plan, cost).item() < 1e-2


@pytest.mark.parametrize("solver", ITERATIVE)
def test_an_empty_problem_does_not_hold_up_the_others(solver):
    """Guards against NaN in the check: an empty or broken problem neither stops the loop nor keeps it running."""
    cost, source_mask, target_mask = padded_problems([(5, 5)] * 3, 5, 5)
    source_mask[1] = False
    cost[2, 0, 0] = torch.nan
    options = {"iterations": 200, "tolerance": 1e-2, "check_every": 1}
    plan = solver(cost, source_mask, target_mask, **options)
    alone = solver(cost[:1], source_mask[:1], target_mask[:1], **options)
    torch.testing.assert_close(plan[:1], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_a_broken_cost_shows(solver, broken):
    """Guards against a diverged model that trains on: one real cost that is not finite makes its problem NaN, and no other."""
    cost, source_mask, target_mask = padded_problems([(4, 5), (5, 4), (3, 3)], 5, 5)
    expected = solver(cost, source_mask, target_mask)
    cost[1, 2, 1] = broken
    plan = solver(cost, source_mask, target_mask)
    assert torch.isnan(transport_cost(plan, cost)).tolist() == [False, True, False]
    assert torch.isnan(marginal_error(plan, source_mask, target_mask)).tolist() == [False, True, False]
    torch.testing.assert_close(plan[[0, 2]], expected[[0, 2]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_broken_weights_show(solver):
    """Guards against weights of NaN that pass for weights of zero."""
    cost, source_mask, target_mask = padded_problems([(4, 5), (4, 5)], 4, 5)
    weights = torch.ones(2, 4)
    weights[0, 1] = torch.nan
    plan = solver(cost, source_mask, target_mask, source_weights=weights)
    assert torch.isnan(transport_cost(plan, cost)).tolist() == [True, False]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0), (0, 0, 0)])
def test_empty_batch(solver, shape):
    """Guards against a reduction over nothing: no problems, or problems without room for points, give an empty plan."""
    batch, n, m = shape
    plan = solver(torch.ones(shape), torch.ones(batch, n), torch.ones(batch, m))
    assert plan.shape == shape
    assert plan.dtype == torch.float32
    assert transport_cost(plan, torch.ones(shape)).tolist() == [0.0] * batch
    assert plan_entropy(plan).tolist() == [0.0] * batch


@pytest.mark.slow
@pytest.mark.parametrize("solver", ITERATIVE)
@pytest.mark.parametrize("tolerance", [None, 1e-4])
def test_compiles_into_one_graph(solver, tolerance):
    """Guards against a graph break: the solver traces whole, runs all iterations there, and gives the same plan."""
    cost, source_mask, target_mask = padded_problems([(4, 5), (0, 3), (5, 5)], 5, 5)

    def loss(cost):
        plan = solver(cost, source_mask, target_mask, iterations=5, tolerance=tolerance, check_every=1)
        return transport_cost(plan, cost).sum()

    costs = [cost.clone().requires_grad_() for _ in range(2)]
    torch.compile(loss, fullgraph=True, backend="aot_eager")(costs[0]).backward()
    plan = solver(cost, source_mask, target_mask, iterations=5)
    torch.testing.assert_close(costs[0].grad, plan, rtol=0, atol=1e-6)


@pytest.mark.long
def test_gradient_of_the_cosine_cost():
    """Guards against a scaling of products whose gradient misses the norms: equal to that of PyTorch's cosine similarity."""
    vectors = [torch.randn(2, n, 16, requires_grad=True) for n in (4, 5)]
    weights = torch.rand(2, 4, 5)
    found = torch.autograd.grad((cosine_cost(*vectors) * weights).sum(), vectors)
    cosine = torch.nn.functional.cosine_similarity(vectors[0].unsqueeze(2), vectors[1].unsqueeze(1), dim=-1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(torch.autograd.grad((cosine_cost(*vectors) * weights).sum(), vectors)[0], found[0])
    compiled = torch.compile(cosine_cost, fullgraph=True, backend="aot_eager")(*vectors)
    torch.testing.assert_close(torch.autograd.grad((compiled * weights).sum(), vectors), found)
    for ours, theirs in zip(found, torch.autograd.grad(((1 - cosine) * weights).sum(), vectors), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_plan_entropy_by_hand():
    """Guards against bits for nats, a plan that is not normalised, and log 0: n log 2 by hand, whatever the mass."""
    plans = torch.zeros(5, 4, 4)
    plans[0] = 1 / 16
    plans[1] = 3.0
    plans[2] = torch.eye(4) / 4
    plans[3, 1, 2] = 0.5
    expected = np.log([16, 16, 4, 1, 1])
    np.testing.assert_allclose(plan_entropy(plans), expected, atol=1e-6)


def test_plan_entropy_grows_with_epsilon():
    """Guards against a wrong sign: more regularisation spreads the plan, up to the entropy of the product of the marginals."""
    problem = padded_problems([(6, 8)], 9, 9)
    entropies = [plan_entropy(sinkhorn(*problem, epsilon=e, iterations=500)).item() for e in (0.02, 0.1, 1.0, 100.0)]
    assert entropies == sorted(entropies)
    assert entropies[-1] == pytest.approx(np.log(48), abs=1e-3)


@pytest.mark.parametrize("family", sorted(COST_FAMILIES))
def test_kernel_is_safe_down_to_the_threshold(family):
    """Guards against a threshold where float32 already fails: both domains equal float64 logarithms on the hardest costs."""
    for log_domain in (False, True):
        assert departure(family, LOG_DOMAIN_BELOW, iterations=50, log_domain=log_domain) < 1e-5
    assert departure(family, LOG_DOMAIN_BELOW / 10, iterations=50, log_domain=None) < 1e-4


def test_kernel_fails_under_the_threshold():
    """Guards against a threshold that says nothing: somewhere under half of it, the kernel alone is wrong or NaN."""
    worst = [departure(f, LOG_DOMAIN_BELOW / 2, iterations=50, log_domain=False) for f in COST_FAMILIES]
    assert not all(value < 1e-3 for value in worst)


def test_benchmark_runs_at_tiny_size():
    """Guards against a benchmark that broke: all contestants run, and our converged plan is POT's."""
    results = measure(sizes=[(5, 5, False), (6, 6, True)], problems=2, rounds=1, device="cpu")
    for result in results:
        assert result["plan_error"]["converged"] < 1e-4
        assert {"ours", "pot", "ot.batch"} <= set(result["contestants"])
