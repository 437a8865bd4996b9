"""What a supernet costs: children inside it against the same children extracted, memory, switching.

    python -m benchmarks.supernet [--spaces resnet vit ...] [--pairs 15] [--batch 16] [--device cuda]

Printed for each space: the time of the biggest and of the smallest child's forward and backward pass inside
the supernet over that of the extracted module, and of a sandwich step of four (biggest, smallest, two random)
over the four modules' sum; the shared weights over the biggest child's (over the sum of the distinct weights
where alternatives make "biggest" undefined, marked *); milliseconds to switch to a child that was not seen
before, and to extract one, with the millions of weights that copies.

Ratios are medians of paired runs in turns with their 95 % bootstrap interval, in float32 on one thread, of the
processor's seconds, so that other work on the machine disturbs little (on a GPU: between two events there, with a
bigger batch). Gradients are there before the first
pass, as in all but the first of a step's children, on both sides.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import nasflow
from benchmarks.lowering import interval, ratios, seconds
from nasflow.errors import SpaceError
from nasflow.ir.graph import Graph
from nasflow.ir.space import Space
from nasflow.lower import Supernet
from nasflow.lower.elastic import drawn_large, extremes

SETTINGS: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {"size": 96, "classes": 100},
    "mobilenet_v3": {"sizes": (128, 160)},
    "ofa": {"sizes": (128, 160)},
    "bignas": {"sizes": (128, 160)},
    "alphanet": {"sizes": (128, 160)},
    "nasvit": {"sizes": (128, 160)},
    "resnet": {"size": 32, "classes": 10, "skeleton": "cifar", "widths": (1, 2), "groups": (1, 4)},
    "vit": {"size": 64, "classes": 10, "patches": (8,), "heads": (3, 6), "depths": (3, 6)},
    "swin": {"size": 64, "classes": 10, "widths": (32, 64), "depths": (2, 2, 4, 2)},
    "nas_bench_macro": {"size": 32},
}
BATCH = {"cpu": 4, "cuda": 64}
WARM, TIMED = 40, 20
DRAWN = 1000
"""Random networks that distinct weights are counted from."""


def step(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return a forward and backward pass that adds to the gradients."""

    def run() -> None:
        module(x).sum().backward()

    return run


def together(steps: Sequence[Callable[[], None]]) -> Callable[[], None]:
    """Return several passes as one."""

    def run() -> None:
        for one in steps:
            one()

    return run


def shown(values: Sequence[float]) -> str:
    """Return a median with its interval."""
    return "{:.3f} [{:.3f}, {:.3f}]".format(*interval(values))


def known(net: Supernet, count: int, first: int) -> list[Any]:
    """Return random points that the supernet has room for."""
    found: list[Any] = []
    for seed in range(first, first + 2 * count):
        point = net.space.sample(seed)
        try:
            net.at(point)
        except SpaceError:
            continue
        found.append(point)
    return found[:count]


def memory(net: Supernet) -> str:
    """Return the shared weights over those of the biggest child, or over all distinct ones."""
    held = sum(p.numel() for p in net.parameters())
    child = net.at(net.space.largest())
    biggest = sum(t.numel() for t in child.tensors().values() if t.requires_grad)
    if held <= 1.05 * biggest:
        return f"{held / biggest:.2f}"
    return f"{held / distinct(net.space):.2f}*"


def distinct(space: Space) -> int:
    """Return the sum of the sizes of a space's distinct weights, counted from its networks alone.

    A weight is told by where it stands in the graph, and has the biggest shape that some network gives it:
    the same networks as a supernet looks at, and more random ones.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def visit(graph: Graph, lead: str) -> None:
        for node in graph.nodes:
            here = f"{lead}/{node.origin or node.weights}"
            if isinstance(node.content, Graph):
                visit(node.content, here)
                continue
            for weight in node.content.weights:
                if weight.trainable:
                    copies = range(weight.copy[1]) if weight.copy else (0,)
                    for copy in copies:
                        key = f"{here}/{weight.name}#{copy}"
                        old = shapes.get(key, weight.shape)
                        shapes[key] = tuple(map(max, zip(old, weight.shape, strict=True)))

    rng = random.Random(1)
    points = itertools.chain(extremes(space), (drawn_large(space, rng) for _ in range(DRAWN)))
    for point in points:
        visit(space.bind(point), "")
    return sum(math.prod(shape) for shape in shapes.values())


def switching(net: Supernet, device: str) -> tuple[float, float, float]:
    """Return milliseconds to switch to a new child, to extract one, and its millions of weights."""
    known(net, WARM, first=0)
    fresh = [net.space.sample(seed) for seed in range(10_000, 10_000 + TIMED)]
    at, extract, sizes = [], [], []
    for point in fresh:
        try:
            at.append(1e3 * seconds(lambda p=point: net.at(p), device))  # type: ignore[misc]
        except SpaceError:
            continue
        extract.append(1e3 * seconds(lambda p=point: net.extract(p), device))  # type: ignore[misc]
        sizes.append(net.at(point).graph.params / 1e6)
    return statistics.median(at), statistics.median(extract), statistics.median(sizes)


def measure(name: str, pairs: int, batch: int, device: str) -> None:
    """Print the figures of a space."""
    space = nasflow.space(name, **SETTINGS.get(name, {}))
    made: list[Supernet] = []
    spent = seconds(lambda: made.append(Supernet(space)))
    net = made[0].to(device)
    at, extract, size = switching(net, device)
    print(f"{name}: made in {spent:.2f} s, weights {memory(net)}, switching {at:.2f} ms, extracting "
          f"{extract:.2f} ms ({size:.1f} M)", flush=True)  # fmt: skip
    points = [space.largest(), space.smallest(), *known(net, 2, first=500)]
    inside, outside = [], []
    for point in points:
        child, module = net.at(point), net.extract(point)
        x = torch.randn(batch, *child.graph.inputs[0].shape, device=device)
        inside.append(step(child, x))
        outside.append(step(module, x))
    for label, i in (("biggest", 0), ("smallest", 1)):
        found = ratios(inside[i], outside[i], pairs if i == 0 else 4 * pairs, device)
        print(f"  {label:9} inside / extracted {shown(found)}", flush=True)
    found = ratios(together(inside), together(outside), pairs, device)
    print(f"  sandwich  four inside / extracted {shown(found)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--spaces", nargs="*", default=list(SETTINGS))
    parser.add_argument("--pairs", type=int, default=15, help="paired runs of each kind")
    parser.add_argument("--batch", type=int, help="images; 4 on a CPU, 64 on a GPU")
    parser.add_argument("--device", default="cpu", choices=list(BATCH))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in options.spaces:
        measure(name, options.pairs, options.batch or BATCH[options.device], options.device)


if __name__ == "__main__":
    main()
