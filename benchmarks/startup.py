"""What the import hook costs: starts of Python with and without it, in turn.

    python benchmarks/startup.py [--starts 40] [--output startup.json]

The hook must cost at most 3 ms a start. The two kinds of start differ only in the line of `optical_mteb.pth`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table


def one_start(code: str) -> float:
    """Milliseconds of one start of Python without `site`, which runs `code`."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
    return 1000 * (time.perf_counter() - begun)


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=40, help="pairs of starts")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    site = sysconfig.get_path("purelib")
    hook = Path(site, "optical_mteb.pth").read_text(encoding="utf-8").splitlines()[-1]
    without = f"import os, sys; sys.path.append({site!r}); sys.path.append({str(Path(__file__).parents[1])!r})"
    pairs = [(one_start(f"{without}; {hook}"), one_start(without)) for _ in range(arguments.starts)]
    result = {
        "with_hook_ms": statistics.median(a for a, _ in pairs),
        "without_hook_ms": statistics.median(b for _, b in pairs),
        "difference_ms": statistics.median(a - b for a, b in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
        "limit_ms": 3.0,
        "starts": arguments.starts,
    }
    table = Table("start-up", "median", box=None)
    for key, value in result.items():
        table.add_row(key, f"{value:.2f}" if isinstance(value, float) else str(value))
    Console().print(table)
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
