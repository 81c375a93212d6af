"""Our tests of significance beside ranx and scipy, on the same differences and as many resamples.

    python benchmarks/scores.py [--tasks 10] [--queries 10000] [--resamples 10000] [--rounds 1] [--quick]
                                [--output scores.json]

Ten tasks of 10,000 queries: `equal` gives all of them as many queries, `unequal` one more to each. Ours should take less
than 5 seconds on two cores for both methods and Holm's correction. ranx has a randomisation test and no bootstrap;
scipy has both. The contestants take turns, round after round, so that a busy machine slows all of them; each ran once
on little data before, so that nothing compiles on the clock.
"""

import argparse
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from optical_mteb.scores.significance import bootstrap_intervals, holm, randomisation_tests

BATCH = 200
"""Resamples that scipy holds in memory at once."""


def scores(sizes: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores of two systems on each task: many zeros and ones, gains from none to two points from task to task."""
    generator = np.random.default_rng(0)
    levels = np.array([0, 0, 1, 1, 1, *(1 / np.log2(np.arange(3, 12)))])
    pairs = []
    for number, size in enumerate(sizes):
        baseline = generator.choice(levels, size)
        redrawn = np.where(generator.random(size) < 0.3, generator.choice(levels, size), baseline)
        gain = 0.02 * number / len(sizes)
        pairs.append((baseline, np.where(generator.random(size) < gain, 1.0, redrawn)))
    return pairs


def randomisation_ours(pairs: list[tuple[np.ndarray, np.ndarray]], resamples: int) -> np.ndarray:
    """This package; Holm's correction included."""
    p_values = randomisation_tests([model - baseline for baseline, model in pairs], resamples=resamples)
    holm(p_values)
    return p_values


def randomisation_ranx(pairs: list[tuple[np.ndarray, np.ndarray]], resamples: int) -> np.ndarray:
    """The test behind `ranx.compare(stat_test="fisher")`, compiled by numba, on all cores."""
    from ranx.statistical_tests import fisher_randomization_test

    return np.array([fisher_randomization_test(*pair, n_permutations=resamples)[0] for pair in pairs])


def randomisation_scipy(pairs: list[tuple[np.ndarray, np.ndarray]], resamples: int) -> np.ndarray:
    """`scipy.stats.permutation_test`, vectorised."""
    return np.array(
        [
            stats.permutation_test(
                pair,
                lambda x, y, axis: np.mean(x - y, axis=axis),
                permutation_type="samples",
                vectorized=True,
                n_resamples=resamples,
                batch=BATCH,
                rng=np.random.default_rng(0),
            ).pvalue
            for pair in pairs
        ]
    )


def bootstrap_ours(pairs: list[tuple[np.ndarray, np.ndarray]], resamples: int) -> np.ndarray:
    """This package."""
    return bootstrap_intervals([model - baseline for baseline, model in pairs], resamples=resamples)


def bootstrap_scipy(pairs: list[tuple[np.ndarray, np.ndarray]], resamples: int) -> np.ndarray:
    """`scipy.stats.bootstrap` of the differences, percentile method."""
    return np.array(
        [
            stats.bootstrap(
                (model - baseline,),
                np.mean,
                n_resamples=resamples,
                batch=BATCH,
                method="percentile",
                rng=np.random.default_rng(0),
            ).confidence_interval
            for baseline, model in pairs
        ]
    )


def contestants() -> dict[str, dict[str, Callable[[list[tuple[np.ndarray, np.ndarray]], int], np.ndarray]]]:
    """Those that are installed, ours first, by method."""
    has_ranx = importlib.util.find_spec("ranx") is not None
    peer = {"ranx": randomisation_ranx} if has_ranx else {"scipy": randomisation_scipy}
    return {
        "randomisation": {"ours": randomisation_ours, **peer},
        "bootstrap": {"ours": bootstrap_ours, "scipy": bootstrap_scipy},
    }


def measure(sizes: dict[str, list[int]], resamples: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds of each contestant, and how far its results are from ours."""
    for solvers in contestants().values():
        for solve in solvers.values():
            solve(scores([50, 60]), 100)
    results = []
    for setting, of_setting in sizes.items():
        pairs = scores(of_setting)
        errors = np.array([(model - baseline).std() / np.sqrt(len(model)) for baseline, model in pairs])
        for method, solvers in contestants().items():
            seconds: dict[str, list[float]] = {name: [] for name in solvers}
            found: dict[str, np.ndarray] = {}
            for _ in range(rounds):
                for name, solve in solvers.items():
                    begun = time.perf_counter()
                    found[name] = solve(pairs, resamples)
                    seconds[name].append(time.perf_counter() - begun)
            unit = 1.0 if method == "randomisation" else errors[:, None]
            results += [
                {
                    "setting": setting,
                    "method": method,
                    "solver": name,
                    "min_s": min(spent),
                    "median_s": statistics.median(spent),
                    "ratio_median": statistics.median(spent) / statistics.median(seconds["ours"]),
                    "distance": float(np.abs((found[name] - found["ours"]) / unit).max()),
                }
                for name, spent in seconds.items()
            ]
    return results


def print_results(console: Console, results: list[dict[str, Any]]) -> None:
    """Table of the times and distances, and the sums of our two methods."""
    table = Table("tasks", "method", "solver", "min s", "median s", "median / ours", "distance", box=None)
    for row in results:
        numbers = [f"{row['min_s']:.2f}", f"{row['median_s']:.2f}", f"{row['ratio_median']:.1f}"]
        table.add_row(row["setting"], row["method"], row["solver"], *numbers, f"{row['distance']:.3f}")
    console.print(table)
    console.print("distance: largest one from ours, of p-values, or of bounds in standard errors of the mean")
    for setting in dict.fromkeys(row["setting"] for row in results):
        ours = [row["median_s"] for row in results if row["setting"] == setting and row["solver"] == "ours"]
        console.print(f"{setting}: both methods {sum(ours):.2f} s")
    if not importlib.util.find_spec("ranx"):
        console.print("ranx left out: not installed (pip install ranx); scipy stands in for it")


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=10, help="number of tasks")
    parser.add_argument("--queries", type=int, default=10_000, help="queries of a task")
    parser.add_argument("--resamples", type=int, default=10_000, help="resamples of each method")
    parser.add_argument("--rounds", type=int, default=1, help="turns of each contestant")
    parser.add_argument("--quick", action="store_true", help="little data, one round")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.tasks, arguments.queries, arguments.resamples, arguments.rounds = 3, 200, 500, 1
    sizes = {
        "equal": [arguments.queries] * arguments.tasks,
        "unequal": [arguments.queries + number for number in range(arguments.tasks)],
    }
    results = measure(sizes, arguments.resamples, arguments.rounds)
    print_results(Console(width=110), results)
    if arguments.output:
        packages = ["numpy", "scipy", *(["ranx", "numba"] if importlib.util.find_spec("ranx") else [])]
        written = {
            "cores": os.cpu_count(),
            "versions": {name: version(name) for name in packages},
            "tasks": arguments.tasks,
            "queries": arguments.queries,
            "resamples": arguments.resamples,
            "rounds": arguments.rounds,
            "results": results,
        }
        arguments.output.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
