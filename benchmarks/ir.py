"""How fast points become networks, on one core and without PyTorch.

    python -m benchmarks.ir [--points 400]

Printed for the NASNet space (13 operations, 5 blocks a cell) with the skeleton for digits (N = 1) and for
ImageNet (N = 6): how many points a second are sampled, bound with every type checked, costed
(parameters and multiply-adds; all six figures) and fingerprinted, and all but the costs together. Points
are drawn anew for each round; a figure is the median of rounds, after a warm-up as any search has.
Seconds are of the processor (this thread), so that other work on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import nasflow
from nasflow.ir import Graph, Space

ROUNDS = 20
WARM_UP = 300
SKELETONS: dict[str, dict[str, Any]] = {
    "digits, N = 1": {"size": 8, "channels": 1, "repeats": 1},
    "ImageNet, N = 6": {"skeleton": "imagenet", "classes": 1000, "size": 224, "repeats": 6},
}


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor's seconds that ``work`` takes, and what it returns."""
    start = time.thread_time()
    result = work()
    return time.thread_time() - start, result


def one_round(space: Space, rng: random.Random, points: int) -> dict[str, float]:
    """Return seconds a point of each step, on points never seen before."""
    taken: dict[str, float] = {}
    taken["sample"], drawn = seconds(lambda: [space.sample(rng) for _ in range(points)])
    taken["bind and check"], graphs = seconds(lambda: [space.bind(point) for point in drawn])
    taken["fingerprint"], _ = seconds(lambda: [graph.fingerprint for graph in graphs])
    taken["params and macs"], _ = seconds(lambda: [(g.params, g.macs) for g in graphs])
    taken["all six costs"], _ = seconds(lambda: [full_cost(graph) for graph in graphs])
    taken["sample + bind + check + fingerprint"], _ = seconds(
        lambda: [space.bind(space.sample(rng)).fingerprint for _ in range(points)]
    )
    return {step: value / points for step, value in taken.items()}


def full_cost(graph: Graph) -> dict[str, Any]:
    """Return every figure of a network's cost."""
    return dataclasses.asdict(graph.cost())


def rates(space: Space, points: int, rounds: int = ROUNDS) -> dict[str, float]:
    """Return how many points a second each step does, the median of rounds."""
    rng = random.Random(0)
    for _ in range(WARM_UP):
        _ = space.bind(space.sample(rng)).fingerprint
    gc.freeze()  # as a search does
    found = [one_round(space, rng, max(1, points // rounds)) for _ in range(rounds)]
    return {step: 1 / statistics.median(r[step] for r in found) for step in found[0]}


def published_cost(rounds: int = ROUNDS) -> float:
    """Return how often a second NASNet-A 6 @ 4032 is bound anew and costed in full."""
    model = "nasnet_a_6_4032"
    wanted = nasflow.model(model).cost().params
    settings = {"skeleton": "imagenet", "classes": 1000, "size": 331}
    space = nasflow.space("nasnet", **settings)
    from search_spaces.nasnet import MODELS

    point = space.complete(MODELS[model].point)
    taken = []
    for _ in range(rounds):
        spent, cost = seconds(lambda: full_cost(space.bind(point)))
        assert cost["params"] == wanted
        taken.append(spent)
    return 1 / statistics.median(taken)


def import_seconds(module: str, rounds: int = 5) -> float:
    """Return the seconds that importing a module adds to starting Python; the best of rounds."""

    def start(code: str) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - begin

    return min(start(f"import {module}") for _ in range(rounds)) - min(
        start("pass") for _ in range(rounds)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=400, help="points of each skeleton")
    options = parser.parse_args(arguments)
    for label, settings in SKELETONS.items():
        print(f"NASNet, {label}: points a second on one core")
        space = nasflow.space("nasnet", **settings)
        for step, rate in rates(space, options.points).items():
            print(f"  {step:36} {rate:10,.0f}")
    print(f"NASNet-A 6 @ 4032 bound and costed in full: {published_cost():,.0f} a second")
    for module in ("nasflow.ir", "nasflow"):
        print(f"import {module}: {import_seconds(module):.3f} s")


if __name__ == "__main__":
    main()
