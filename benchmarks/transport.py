"""Our Sinkhorn beside its peers, and where float32 gives out.

    THP_MEM_ALLOC_ENABLE=1 python benchmarks/transport.py [--rounds 7] [--threads 1] [--device cpu] [--quick]
                                                           [--output transport.json]

One step is what training does: the cosine cost of 64 pairs of token embeddings of width 384, 50 Sinkhorn iterations at
epsilon 0.05, and the gradient of <plan, cost> on the source embeddings, the plan held fixed. The contestants take turns,
round after round, so that a busy machine slows all of them; the variable gives them the large memory pages that
`optical-mteb train` asks for. Ours should be 60 times faster than POT's loop at 32 x 32 and 15 times at 128 x 128, and
never slower than `ot.batch`; its converged plan should be within 1e-4 of POT's.
"""

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ot
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from optical_mteb.transport import LOG_DOMAIN_BELOW, cosine_cost, sinkhorn, transport_cost

WIDTH = 384
EPSILON = 0.05
ITERATIONS = 50
SIZES = [(32, 32, False), (40, 40, True), (128, 128, False)]
EPSILONS = [0.1, 0.05, 0.03, 0.025, 0.0225, 0.02, 0.015, 0.01, 0.005, 0.001]


def embeddings(problems: int, n: int, m: int, masked: bool, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Source, target and masks: a shared direction as in encoders, each source point near some target point."""
    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=generator)
    target = draw(1, 1, WIDTH) + draw(problems, m, WIDTH)
    nearest = torch.randint(m, (problems, n), generator=generator)
    source = target.gather(1, nearest.unsqueeze(-1).expand(-1, -1, WIDTH)) + 0.7 * draw(problems, n, WIDTH)
    masks = [torch.ones(problems, size, dtype=torch.bool) for size in (n, m)]
    if masked:
        for mask in masks:
            lengths = torch.randint(1, mask.shape[1] + 1, (problems, 1), generator=generator)
            mask &= torch.arange(mask.shape[1]) < lengths
    return source.to(device).requires_grad_(), target.to(device), masks[0].to(device), masks[1].to(device)


def with_pot_loop(source: Tensor, target: Tensor, source_mask: Tensor, target_mask: Tensor) -> Tensor:
    """One pair after the other, each without its padding, all by POT on torch tensors."""
    total = source.new_zeros(())
    lengths = zip(source_mask.sum(-1).tolist(), target_mask.sum(-1).tolist(), strict=True)
    for index, (n, m) in enumerate(lengths):
        left, right = source[index, :n], target[index, :m]
        cost = ot.dist(left, right, metric="cosine")
        with torch.no_grad():
            weights = left.new_full((n,), 1 / n), left.new_full((m,), 1 / m)
            plan = ot.sinkhorn(*weights, cost.detach(), EPSILON, numItermax=ITERATIONS, stopThr=0, warn=False)
        total = total + (plan * cost).sum()
    return total


def with_pot(source: Tensor, target: Tensor, source_mask: Tensor, target_mask: Tensor) -> Tensor:
    """The same with our costs, and POT on NumPy arrays, where its loop is faster."""
    total = source.new_zeros(())
    lengths = zip(source_mask.sum(-1).tolist(), target_mask.sum(-1).tolist(), strict=True)
    for index, (n, m) in enumerate(lengths):
        cost = cosine_cost(source[index : index + 1, :n], target[index : index + 1, :m])[0]
        plan = ot.sinkhorn(
            *(np.full(n, 1 / n, np.float32), np.full(m, 1 / m, np.float32), cost.detach().cpu().numpy(), EPSILON),
            numItermax=ITERATIONS,
            stopThr=0,
            warn=False,
        )
        total = total + (torch.as_tensor(plan, device=cost.device) * cost).sum()
    return total


def with_pot_batch(source: Tensor, target: Tensor, source_mask: Tensor, target_mask: Tensor) -> Tensor:
    """`ot.batch` on the kernel, its fastest method; padding has the weight 0."""
    cost = cosine_cost(source, target)
    weights = [mask.float() / mask.sum(-1, keepdim=True) for mask in (source_mask, target_mask)]
    solved = ot.batch.solve_batch(cost, EPSILON, *weights, max_iter=ITERATIONS, tol=0, method="sinkhorn", grad="detach")
    return (solved.plan * cost).sum()


def with_geomloss(source: Tensor, target: Tensor, source_mask: Tensor, target_mask: Tensor) -> Tensor:
    """GeomLoss, tensorized: logarithms, and about as many steps, from epsilon 2 down to the same epsilon."""
    from geomloss import SamplesLoss

    loss = SamplesLoss(
        "sinkhorn",
        p=1,
        blur=EPSILON,
        diameter=2.0,
        scaling=(EPSILON / 2) ** (1 / ITERATIONS),
        cost=cosine_cost,
        debias=False,
        backend="tensorized",
    )
    weights = [mask.float() / mask.sum(-1, keepdim=True) for mask in (source_mask, target_mask)]
    return loss(weights[0], source, weights[1], target).sum()


def with_ours(source: Tensor, target: Tensor, source_mask: Tensor, target_mask: Tensor) -> Tensor:
    """This package."""
    cost = cosine_cost(source, target)
    return transport_cost(sinkhorn(cost, source_mask, target_mask, epsilon=EPSILON, iterations=ITERATIONS), cost).sum()


def contestants() -> dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]]:
    """The peers that are installed, ours last."""
    found: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
        "pot": with_pot_loop,
        "pot, NumPy": with_pot,
    }
    if importlib.util.find_spec("ot.batch"):
        found["ot.batch"] = with_pot_batch
    if importlib.util.find_spec("geomloss"):
        found["geomloss"] = with_geomloss
    return {**found, "ours": with_ours}


def one_step(solve: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], data: tuple[Tensor, ...]) -> float:
    """Milliseconds of one step, the gradient included."""
    data[0].grad = None
    wait = torch.cuda.synchronize if data[0].device.type == "cuda" else (lambda: None)
    wait()
    begun = time.perf_counter()
    solve(*data).backward()
    wait()
    return 1000 * (time.perf_counter() - begun)


def plan_error(data: tuple[Tensor, ...], checked: int = 4) -> dict[str, float]:
    """Largest difference of our plans, at 50 iterations and converged, from POT's converged ones in float64."""
    source, target, source_mask, target_mask = (tensor.detach()[:checked] for tensor in data)
    cost = cosine_cost(source, target)
    solve = partial(sinkhorn, cost, source_mask, target_mask, epsilon=EPSILON)
    plans = {"at_50": solve(iterations=ITERATIONS), "converged": solve(iterations=20000, tolerance=2e-6)}
    errors = dict.fromkeys(plans, 0.0)
    for index, (n, m) in enumerate(zip(source_mask.sum(-1).tolist(), target_mask.sum(-1).tolist(), strict=True)):
        matrix = cost[index, :n, :m].double().cpu().numpy()
        expected = ot.sinkhorn(
            np.full(n, 1 / n), np.full(m, 1 / m), matrix, EPSILON, numItermax=20000, stopThr=1e-10, warn=False
        )
        for name, plan in plans.items():
            errors[name] = max(errors[name], float(np.abs(plan[index, :n, :m].cpu().numpy() - expected).max()))
    return errors


def bandwidth_bound(problems: int, n: int, m: int, device: str) -> float | None:
    """Milliseconds that two readings of the kernel an iteration take at the bandwidth of a copy; None on the CPU."""
    if not device.startswith("cuda"):
        return None
    block = torch.empty(2**28, dtype=torch.uint8, device=device)
    seconds = []
    for _ in range(5):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        block.clone()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return 1000 * (2 * ITERATIONS * 4 * problems * n * m) * min(seconds) / (2 * block.numel())


def measure(
    sizes: list[tuple[int, int, bool]], problems: int = 64, rounds: int = 7, device: str = "cpu"
) -> list[dict[str, Any]]:
    """Times, ratios and errors of each size (rows, columns, whether lengths are random)."""
    results = []
    for n, m, masked in sizes:
        data = embeddings(problems, n, m, masked, device)
        running = contestants()
        times: dict[str, list[float]] = {name: [] for name in running}
        for number in range(rounds + 1):
            for name, solve in running.items():
                spent = one_step(solve, data)
                if number:  # the first round warms up
                    times[name].append(spent)
        least = {name: min(spent) for name, spent in times.items()}
        middle = {name: statistics.median(spent) for name, spent in times.items()}
        results.append(
            {
                "size": f"{n}x{m}{' masked' if masked else ''}",
                "problems": problems,
                "contestants": {
                    name: {
                        "min_ms": least[name],
                        "median_ms": middle[name],
                        "ratio_min": least[name] / least["ours"],
                        "ratio_median": middle[name] / middle["ours"],
                    }
                    for name in running
                },
                "plan_error": plan_error(data),
                "bandwidth_bound_ms": bandwidth_bound(problems, n, m, device),
            }
        )
    return results


def _uniform(count: int, n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, n, n, generator=generator)


def _permutation(count: int, n: int, generator: torch.Generator) -> Tensor:
    order = _uniform(count, n, generator)[:, 0].argsort(-1)
    return 2 * (1 - torch.eye(n)[order]) * (1 - 0.05 * _uniform(count, n, generator))


def _hub(count: int, n: int, _: torch.Generator) -> Tensor:
    cost = torch.full((count, n, n), 2.0)
    cost[:, 0], cost[:, :, 0] = 0.0, 0.0
    return cost


def _band(count: int, n: int, _: torch.Generator) -> Tensor:
    points = torch.linspace(0, 2, n)
    return (points.unsqueeze(-1) - points).abs().expand(count, n, n)


COST_FAMILIES: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "band": _band,
    "e5, 0 to 0.3": lambda *shape: 0.3 * _uniform(*shape),
    "hub": _hub,
    "permutation": _permutation,
    "uniform, 0 to 2": lambda *shape: 2 * _uniform(*shape),
    "0 or 2": lambda *shape: 2 * (_uniform(*shape) < 0.9).float(),
}
"""Costs of equal vectors, opposite vectors and between, where kernels in float32 have the widest range."""


def departure(
    family: str, epsilon: float, iterations: int, log_domain: bool | None, count: int = 8, n: int = 24
) -> float:
    """Largest L1 distance of our plan from that of the same iteration on float64 logarithms, of mass 1.

    Half of the problems have uniform weights, half weights from 1 down to 1e-4.
    """
    generator = torch.Generator().manual_seed(0)
    cost = COST_FAMILIES[family](count, n, generator)
    weights = 10.0 ** (-4 * torch.rand(2, count, n, generator=generator))
    weights[:, ::2] = 1.0
    mask = torch.ones(count, n)
    options = {"source_weights": weights[0], "target_weights": weights[1]}
    plan = sinkhorn(cost, mask, mask, **options, epsilon=epsilon, iterations=iterations, log_domain=log_domain)
    log_source, log_target = (weights.double() / weights.double().sum(-1, keepdim=True)).log()
    shifted = cost.double() - cost.double().amin(-1, keepdim=True)
    kernel = -(shifted - shifted.amin(-2, keepdim=True)) / epsilon
    columns = torch.zeros_like(log_target)
    for _ in range(iterations):
        rows = log_source - (kernel + columns.unsqueeze(-2)).logsumexp(-1)
        columns = log_target - (kernel + rows.unsqueeze(-1)).logsumexp(-2)
    expected = (rows.unsqueeze(-1) + kernel + columns.unsqueeze(-2)).exp()
    return (plan - expected).abs().sum(dim=(1, 2)).max().item()


def print_speed(console: Console, results: list[dict[str, Any]]) -> None:
    """Table of the times."""
    table = Table("size", "solver", "min ms", "median ms", "min / ours", "median / ours", "bound ms", box=None)
    for result in results:
        bound = result["bandwidth_bound_ms"]
        for name, row in result["contestants"].items():
            numbers = [row[key] for key in ("min_ms", "median_ms", "ratio_min", "ratio_median")]
            shown = f"{bound:.2f}" if bound is not None and name == "ours" else ""
            table.add_row(result["size"], name, *(f"{number:.2f}" for number in numbers), shown)
    console.print(table)
    for result in results:
        error = result["plan_error"]
        console.print(
            f"{result['size']}: from POT's converged plan {error['converged']:.1e}, at 50 iterations {error['at_50']:.1e}"
        )
    if not importlib.util.find_spec("geomloss"):
        console.print("geomloss left out: not installed (pip install geomloss)")


def print_departures(console: Console, departures: dict[str, dict[str, float]]) -> None:
    """Table of the distances from float64."""
    console.print(f"\nDistance of the float32 kernel's plan from float64; logarithms below {LOG_DOMAIN_BELOW}")
    table = Table("costs", *next(iter(departures.values())), box=None)
    for family, row in departures.items():
        table.add_row(family, *(f"{value:.0e}" for value in row.values()))
    console.print(table)


def main() -> None:
    """Measure, print tables, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant")
    parser.add_argument("--threads", type=int, help="threads of PyTorch")
    parser.add_argument("--device", default="cpu", help="device of PyTorch, such as cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.quick:
        results = measure([(6, 6, False), (8, 8, True)], problems=4, rounds=1, device=arguments.device)
    else:
        results = measure(SIZES, rounds=arguments.rounds, device=arguments.device)
    console = Console(width=110)
    print_speed(console, results)
    iterations = 10 if arguments.quick else 200
    departures = {
        family: {f"{epsilon:g}": departure(family, epsilon, iterations, log_domain=False) for epsilon in EPSILONS}
        for family in COST_FAMILIES
    }
    print_departures(console, departures)
    if arguments.output:
        written = {
            "threads": torch.get_num_threads(),
            "device": arguments.device,
            "torch": torch.__version__,
            "pot": ot.__version__,
            "epsilon": EPSILON,
            "iterations": ITERATIONS,
            "speed": results,
            "departures": departures,
        }
        arguments.output.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
