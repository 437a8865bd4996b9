"""SMASH: layers that read some banks of a memory and add what they make to some.

Brock et al., "SMASH: One-Shot Model Architecture Search through HyperNetworks", ICLR 2018
(arXiv 1708.05344), section 3.1 and figures 1 to 3; norms, bottlenecks and transitions follow the
released code. Its multiplicative gates, and banks that are empty at a block's start, are left out.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass

from nasflow import ir

PATHS = {"1": (1,), "2": (2,), "1+1": (1, 1), "2+1": (2, 1), "2+2": (2, 2)}
"""Convolutions in a row on each of the parallel paths of a layer."""
BOTTLENECK = 4  # a layer's 1x1 convolution has at most that many times the channels of its result


@dataclass(frozen=True)
class Conv:
    """The decisions of one convolution."""

    kernel: ir.Decision
    dilation: ir.Decision
    groups: ir.Decision

    def __call__(self, x: ir.Value, out: ir.Operand, name: str) -> ir.Value:
        made = ir.Conv2d(out, self.kernel, 1, "half", self.dilation, self.groups, bias=False)
        return made(ir.Activation("relu")(x), name=name)


class Recipe:
    """The decisions of one layer: which banks it reads and writes, its paths and convolutions."""

    def __init__(self, banks: int, kernels: Sequence[int]) -> None:
        self.reads = [ir.choice(f"read{bank}", False, True) for bank in range(banks)]
        self.writes = [ir.choice(f"write{bank}", False, True) for bank in range(banks)]
        self.paths = ir.choice("paths", *PATHS)
        self.convolutions = []
        for number in range(4):
            with ir.scope(f"conv{number}"):
                kernel = ir.choice("kernel", *kernels, ordered=True)
                dilation = ir.choice("dilation", 1, 2, 3, ordered=True)
                groups = ir.choice("groups", 1, 2, 4, 8, ordered=True)
                self.convolutions.append(Conv(kernel, dilation, groups))


def at_least_first(chosen: Sequence[ir.Operand]) -> list[ir.Operand]:
    """Return which banks are meant: the first where none is chosen."""
    none = ~functools.reduce(operator.or_, chosen)
    return [chosen[0] | none, *chosen[1:]]


@ir.block
def layer(x: ir.Value, out: ir.Operand, recipe: Recipe) -> ir.Value:
    """A 1x1 bottleneck, then the paths, added."""
    read = x.dim("C")
    wide = ir.minimum(ir.maximum(read // out, 1), BOTTLENECK) * out
    x = ir.Activation("relu")(ir.BatchNorm()(x, name="norm"))
    x = ir.Conv2d(ir.minimum(wide, read), bias=False)(x, name="bottleneck")
    x = ir.BatchNorm()(x, name="bottleneck_norm")

    def paths(x: ir.Value, lengths: Sequence[int]) -> ir.Value:
        ends = []
        for path, length in enumerate(lengths):
            y = x
            for number in range(2 * path, 2 * path + length):
                y = recipe.convolutions[number](y, out, f"conv{number}")
            ends.append(y)
        return ir.Add()(*ends) if len(ends) > 1 else ends[0]

    branches = {name: functools.partial(paths, lengths=shape) for name, shape in PATHS.items()}
    return ir.switch(recipe.paths, branches)(x, name="paths")


def space(
    *,
    classes: int = 10,
    size: int = 32,
    channels: int = 3,
    layers: Sequence[int] = (6, 6, 6),
    banks: int = 4,
    bank: int = 16,
    kernels: Sequence[int] = (3, 5, 7),
) -> ir.Space:
    """Return the space: for each layer the banks it reads and writes, and its convolutions.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        layers: of each block.
        banks: parts of the memory.
        bank: channels of a part in the first block, a multiple of 8, doubled where the map is halved.
        kernels: sides of kernels to choose from.
    """
    x = ir.Conv2d(banks * bank, 7, bias=False)(ir.image(channels, size), name="stem")
    for block, depth in enumerate(layers):
        width = bank * 2**block
        if block:
            x = ir.Activation("relu")(ir.BatchNorm()(x, name=f"transition{block}_norm"))
            x = ir.Conv2d(banks * width, bias=False)(x, name=f"transition{block}")
            x = ir.AvgPool(2, 2, 0)(x)
        memory = list(ir.Split(banks)(x, name=f"memory{block + 1}"))
        for number in range(depth):
            with ir.scope(f"block{block + 1}", f"layer{number + 1}"):
                recipe = Recipe(banks, kernels)
                memory = stepped(memory, recipe, width)
        x = ir.Concat()(*memory, name=f"block{block + 1}")
    x = ir.Activation("relu")(ir.BatchNorm()(x, name="norm"))
    return ir.Space(ir.Linear(classes)(ir.Mean()(x), name="classifier"), name="smash")


def stepped(memory: Sequence[ir.Value], recipe: Recipe, width: int) -> list[ir.Value]:
    """Return the memory after a layer; each written bank is given channels of its own."""
    reads, writes = at_least_first(recipe.reads), at_least_first(recipe.writes)
    read = [ir.Gated(part, when) for part, when in zip(memory, reads, strict=True)]
    counts = [ir.where(write, 1, 0) for write in writes]
    y = layer(ir.Concat()(*read, name="read"), width * sum(counts), recipe, name="layer")
    after: list[ir.Value] = []
    for number, (part, write) in enumerate(zip(memory, writes, strict=True)):
        start = width * sum(counts[:number])

        def write_to(part: ir.Value, y: ir.Value, start: ir.Operand = start) -> ir.Value:
            return ir.Add()(part, ir.Slice("C", start, start + width)(y, name="slice"))

        add = ir.when(write, write_to, lambda part, y: part)
        after.append(add(part, y, name=f"bank{number}"))
    return after


# -- a network that meets the printed figure ----------------------------------------------------------

Layers = Sequence[tuple[str, str, str, str]]
"""For each layer the banks read, those written, the paths, and kernel, dilation, groups of convolutions."""

FOUND: Layers = (
    ("1", "03", "2+2", "321 721 332 731"),
    ("0", "03", "2+2", "534 312 522 522"),
    ("1", "23", "2+2", "511 721 714 711"),
    ("23", "0", "2+2", "721 522 512 532"),
    ("0", "0", "2+2", "532 722 311 532"),
    ("0", "0", "2+2", "531 338 311 521"),
    ("2", "01", "2+2", "714 324 714 328"),
    ("0", "013", "2+2", "512 538 324 714"),
    ("012", "123", "2+2", "338 318 311 528"),
    ("02", "0", "2+2", "731 318 514 712"),
    ("02", "2", "2+2", "738 518 511 518"),
    ("023", "12", "2+2", "712 538 521 518"),
    ("02", "1", "2+2", "324 714 314 732"),
    ("12", "12", "2+2", "514 331 314 324"),
    ("13", "12", "2+2", "538 528 512 511"),
    ("0", "01", "2+2", "332 718 522 732"),
    ("02", "2", "2+2", "728 738 712 728"),
    ("03", "12", "2+2", "711 331 311 338"),
)


def _point(layers: Layers, banks: int = 4, depth: int = 6) -> ir.Point:
    point: ir.Point = {}
    for place, (reads, writes, paths, shapes) in enumerate(layers):
        scope = f"block{place // depth + 1}/layer{place % depth + 1}"
        for bank in range(banks):
            point[f"{scope}/read{bank}"] = str(bank) in reads
            point[f"{scope}/write{bank}"] = str(bank) in writes
        point[f"{scope}/paths"] = paths
        numbers = [2 * path + i for path, length in enumerate(PATHS[paths]) for i in range(length)]
        for number, shape in zip(numbers, shapes.split(), strict=True):
            names = ("kernel", "dilation", "groups")
            values = zip(names, map(int, shape), strict=True)
            point |= {f"{scope}/conv{number}/{name}": value for name, value in values}
    return point


MODELS = {
    "smash": ir.Model(
        _point(FOUND),
        {},
        "Brock et al. (2018), table 1: SMASHv1",
        reconstructed=True,
        note="the paper gives the architecture in a figure only; 4.6M is printed (Zhang et al., 2019, table 1): "
        "this is a point drawn at random from the space that has as many",
    ),
}
