"""How well latency is predicted from a table of operations: 100 random networks, measured for real.

    python -m benchmarks.latency [--networks 100] [--repeats 15] [case ...]

For each case the operations of the space are profiled as `python -m nasflow profile` does (its
calibration networks are drawn with another seed), then random networks are measured in shuffled
turns, one thread, in processor time, and compared. Printed: Spearman's rank correlation, the median
and the 90th percentile of the relative error; in brackets those of the plain sum of operations; and
the same of measuring all networks a second time, which no prediction can be expected to beat by much.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from nasflow import discovery
from nasflow.cli.profile import covering
from nasflow.evaluate.latency_table import LatencyTable
from nasflow.evaluate.profile import (
    Setting,
    calibrate_with,
    measure_networks,
    measure_operations,
    missing,
    open_table,
)

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "nasnet, digits": ("nasnet", {"size": 8, "channels": 1, "repeats": 1, "filters": 8}),
    "nasnet, CIFAR-10": ("nasnet", {"size": 32, "channels": 3, "repeats": 2, "filters": 16}),
    "mobilenet_v3, 96 pixels": ("mobilenet_v3", {"size": 96, "classes": 100}),
}
CALIBRATION, SEED = 16, 1


def figures(predicted: Sequence[float], measured: Sequence[float]) -> tuple[float, float, float]:
    """Return Spearman's rank correlation, the median and the 90th percentile of relative errors."""
    errors = sorted(abs(p / m - 1) for p, m in zip(predicted, measured, strict=True))
    rank = float(spearmanr(predicted, measured)[0])
    return rank, statistics.median(errors), errors[int(0.9 * len(errors))]


def profiled(name: str, settings: dict[str, Any], setting: Setting, path: Path) -> LatencyTable:
    """Return the table of a space, completed and calibrated."""
    table = open_table(path, setting)
    graphs = covering(discovery.space(name, **settings), 500, seed=0)
    measure_operations(table, missing(table, graphs), setting, say=lambda line: None)
    calibrate_with(table, graphs[:CALIBRATION], setting)
    return table


def compare(case: str, networks: int, setting: Setting, folder: Path) -> None:
    """Print the figures of one case."""
    name, settings = CASES[case]
    begin = time.perf_counter()
    table = profiled(name, settings, setting, folder / f"{case}.json")
    took = time.perf_counter() - begin
    space, rng = discovery.space(name, **settings), random.Random(SEED)
    graphs = [space.bind(space.sample(rng)) for _ in range(networks)]
    measure_operations(table, missing(table, graphs), setting, say=lambda line: None)
    first, second = (
        [row["ms"] for row in measure_networks(table, graphs, setting)] for _ in range(2)
    )
    measured = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    print(
        f"{case}: {len(table.operations):,} operations in {took:.0f} s; networks of "
        f"{min(measured):.2f} to {max(measured):.2f} ms; scale and us an operation "
        f"{table.calibration[0]:.3f}, {table.calibration[1]:.2f}"
    )
    fitted = figures([table.predict(graph) for graph in graphs], measured)
    plain = figures([table.add_up(graph)[0] / 1e3 for graph in graphs], measured)
    print(
        f"  Spearman {fitted[0]:.3f} ({plain[0]:.3f})  median error {fitted[1]:.1%} ({plain[1]:.1%})  "
        f"90th percentile {fitted[2]:.1%} ({plain[2]:.1%})"
    )
    again = figures(second, first)
    print(
        f"  measured twice: Spearman {again[0]:.3f}  median error {again[1]:.1%}  "
        f"90th percentile {again[2]:.1%}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=int, default=100, help="measured whole, of each case")
    parser.add_argument("--repeats", type=int, default=15, help="rounds of each measurement")
    parser.add_argument("cases", nargs="*", help=f"of {list(CASES)}; all by default")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        for case in options.cases or CASES:
            compare(case, options.networks, Setting(repeats=options.repeats), Path(folder))


if __name__ == "__main__":
    main()
