"""ENAS's and NAO's cells: the counts of the authors' released networks, and cells read directly."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nasflow
from search_spaces import enas
from tests.conformance.reference import assert_counts, assert_equal_outputs

# Exact counts; those of NAO are what its released code makes, auxiliary heads left out.
COUNTS = {
    "enas": (3_894_372, 620_907_552),
    "naonet": (11_470_150, 1_673_814_240),
    "naonet_128": (144_576_394, 21_133_147_136),
    "naonet_imagenet": (11_353_831, 1_243_996_992),
    "naonet_b": (2_921_302, 462_002_400),
    "naonet_v2": (4_387_654, 684_238_464),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    assert (graph.params, graph.macs) == COUNTS[name]
    if name in ("enas", "naonet"):
        assert_counts(graph, *COUNTS[name])


class Reduce(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.even, self.odd = (nn.Conv2d(channels, channels // 2, 1, 2, bias=False) for _ in "ab")
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1))


class Beyond(nn.Module):
    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(F.pad(x, (0, 1, 0, 1)))


def _conv(channels: int, out: int, kernel: object = 1, stride: object = 1) -> nn.Sequential:
    sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    conv = nn.Conv2d(channels, out, sides, stride, tuple(k // 2 for k in sides), bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(out))


def _separable(c: int, kernel: int, stride: int) -> nn.Sequential:
    depthwise = nn.Conv2d(c, c, kernel, stride, kernel // 2, groups=c, bias=False)
    return nn.Sequential(nn.ReLU(), depthwise, nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c))


def _operation(number: int, c: int, stride: int) -> nn.Module:
    """Return an operation by its number in the released architectures."""
    if number in (0, 1):
        kernel = (3, 5)[number]
        return nn.Sequential(_separable(c, kernel, stride), _separable(c, kernel, 1))
    if number in (4, 5):
        return Reduce(c) if stride > 1 else nn.Identity()
    if number in (6, 7):
        return _conv(c, c, (1, 3)[number - 6], stride)
    if number in (8, 9):
        size = (3, 7)[number - 8]
        return nn.Sequential(
            _conv(c, c, (1, size), (1, stride)), _conv(c, c, (size, 1), (stride, 1))
        )
    if number in (10, 13):
        return Beyond((nn.MaxPool2d if number == 10 else nn.AvgPool2d)(2, stride))
    if number == 2:
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    size = {3: 3, 11: 3, 12: 5, 14: 3, 15: 5}[number]
    return (nn.MaxPool2d if number < 13 else nn.AvgPool2d)(size, stride, size // 2)


class Cell(nn.Module):
    """A cell of NAO's for a list of state, operation, state, operation."""

    def __init__(self, numbers: list[int], widths: tuple[int, int], c: int, stride: int) -> None:
        super().__init__()
        self.before, self.last = (_conv(n, c) if n != c else nn.Identity() for n in widths)
        self.states, operations = numbers[::2], numbers[1::2]
        self.ops = nn.ModuleList(
            _operation(op, c, stride if state < 2 else 1)
            for state, op in zip(self.states, operations, strict=True)
        )
        self.free = [i for i in range(2 + len(self.ops) // 2) if i not in self.states]
        reduced = [i for i in self.free if i < 2 and stride > 1]
        self.reduce = nn.ModuleDict({str(i): Reduce(c) for i in reduced})

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        states = [self.before(before), self.last(last)]
        for i in range(0, len(self.ops), 2):
            states.append(sum(self.ops[j](states[self.states[j]]) for j in (i, i + 1)))
        for i, reduce in self.reduce.items():
            states[int(i)] = reduce(states[int(i)])
        return torch.cat([states[i] for i in self.free], 1)


class Network(nn.Module):
    """A normal cell of four filters, then one that halves the resolution."""

    def __init__(self, normal: list[int], halving: list[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 1, 1, bias=False), nn.BatchNorm2d(12))
        first = Cell(normal, (12, 12), 4, 1)
        width = 4 * len(first.free)
        second = Cell(halving, (12, width), 8, 2)
        self.cells = nn.ModuleList([first, second])
        self.classifier = nn.Linear(8 * len(second.free), 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        first = self.cells[0](x, x)
        return self.classifier(self.cells[1](x, first).mean((2, 3)))


ARCHITECTURES = (
    ("0 7 1 15 2 8 1 7 2 6 1 9", "0 10 0 13 2 12 0 5 2 11 3 14"),  # the second reads 0 only
    ("0 0 1 1 2 2 0 3 1 4 2 0", "1 4 1 0 2 3 1 2 3 1 1 3"),
)


@pytest.mark.parametrize(("normal", "halving"), ARCHITECTURES)
def test_outputs(normal: str, halving: str) -> None:
    graph = two_cells(normal, halving)
    theirs = Network(*([int(word) for word in text.split()] for text in (normal, halving)))
    assert_equal_outputs(graph, theirs, torch.randn(8, 3, 16, 16))


def two_cells(normal: str, halving: str) -> nasflow.ir.Graph:
    """Return a normal cell and a halving one, made of the space's own parts."""
    ir, style = nasflow.ir, enas.STYLES["nao"]
    recipes = [
        enas.Recipe(kind, 3, dict.fromkeys(enas.NAO_NUMBERS)) for kind in ("normal", "reduction")
    ]
    before, last = enas.cifar_stem(ir.image(3, 16), 4, style)
    first = enas.cell(before, last, recipes[0], 4, style, name="cell0")
    second = enas.cell(last, first, recipes[1], 8, style, 2, name="cell1")
    logits = ir.Linear(10)(ir.Mean()(second), name="classifier")
    point = enas._point(f"{normal} {halving}", enas.NAO_NUMBERS)
    return ir.Space(logits, name="two_cells").bind(point)


def test_training_drops_paths() -> None:
    space = enas.space(nodes=2, repeats=1, filters=4, size=16, drop_path=0.2)
    module = space.bind(space.sample(0)).to_torch(seed=0)
    module.train()(torch.randn(2, 3, 16, 16)).sum().backward()


def test_every_point_of_the_space_binds() -> None:
    for style, operations in (("enas", enas.ENAS_OPERATIONS), ("nao", enas.NAO_OPERATIONS)):
        space = enas.space(style=style, operations=operations, repeats=1, filters=4, nodes=3)
        for seed in range(10):
            space.bind(space.sample(seed))
