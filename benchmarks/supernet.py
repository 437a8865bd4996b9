"""What a supernet costs: a child inside it against the same child extracted, memory, and switching.

    python -m benchmarks.supernet [--spaces resnet vit ...] [--repeats 9]

Prints for each space the time of a child's forward and backward pass inside the supernet over that of the
extracted module (biggest and smallest child; medians of interleaved runs), the shared weights over the
biggest child's, and milliseconds to switch to a child and to extract one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import nasflow
from nasflow.lower import Supernet

SETTINGS: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {"size": 96, "classes": 100},
    "resnet": {"size": 32, "classes": 10, "skeleton": "cifar", "widths": (1, 2), "groups": (1, 4)},
    "vit": {"size": 64, "classes": 10, "patches": (8,), "heads": (3, 6), "depths": (3, 6)},
    "swin": {"size": 64, "classes": 10, "widths": (32, 64), "depths": (2, 2, 4, 2)},
    "nas_bench_201": {"size": 32},
}


def step(module: nn.Module, x: Tensor) -> Callable[[], None]:
    def run() -> None:
        module(x).float().square().mean().backward()

    return run


def interleaved(first: Callable[[], None], second: Callable[[], None], repeats: int) -> float:
    """Return the median time of the first over that of the second."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):
        for run, spent in zip((first, second), times, strict=True):
            start = time.perf_counter()
            run()
            spent.append(time.perf_counter() - start)
    return statistics.median(times[0][1:]) / statistics.median(times[1][1:])


def milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def measure(name: str, repeats: int, batch: int = 8) -> str:
    space = nasflow.space(name, **SETTINGS.get(name, {}))
    start = time.perf_counter()
    net = Supernet(space)
    made = time.perf_counter() - start
    ratios = []
    for point in (space.largest(), space.smallest()):
        child, module = net.at(point), net.extract(point)
        x = torch.randn(batch, *child.graph.inputs[0].shape)
        ratios.append(interleaved(step(child, x), step(module, x), repeats))
    shared = sum(p.numel() for p in net.parameters())
    biggest = max(space.bind(p).params for p in (space.largest(), space.smallest()))
    points = [space.sample(seed) for seed in range(40)]
    for point in points[:20]:
        net.at(point)
    switching = [milliseconds(lambda p=p: net.at(p)) for p in points[20:]]  # type: ignore[misc]
    extracting = [milliseconds(lambda p=p: net.extract(p)) for p in points[30:]]  # type: ignore[misc]
    return (
        f"{name:<16}{made:>8.2f}{ratios[0]:>9.3f}{ratios[1]:>10.3f}{shared / biggest:>9.2f}"
        f"{statistics.median(switching):>9.1f}{statistics.median(extracting):>11.1f}{len(net.notes):>7}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", nargs="*", default=list(SETTINGS))
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    print("space           made, s  biggest  smallest  weights  at, ms  extract, ms  notes")
    for name in arguments.spaces:
        print(measure(name, arguments.repeats), flush=True)


if __name__ == "__main__":
    main()
