"""ENAS's macro network: the count of the released code, and outputs of a chain written directly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import nasflow
from search_spaces import enas_macro
from tests.conformance.reference import assert_counts, assert_equal_outputs


def test_counts() -> None:
    graph = nasflow.model("enas_macro")
    assert_counts(graph, released_parameters(), 5_646_094_080)


def released_parameters() -> int:
    """Count as the released code makes its variables, reductions of every layer among them."""
    width, total, made = 96, 3 * 9 * 96 + 2 * 96, 1
    for layer, line in enumerate(enas_macro.RELEASED.split("\n")[1:-1]):
        op, *skips = map(int, line.split())
        kernel = (3, 3, 5, 5)[op]
        joined = (sum(skips) + 1) * width**2 + 2 * width if skips else 0
        total += (1 + kernel**2) * width**2 + 4 * width + joined
        made += 1
        if layer in (7, 15):
            total += made * 2 * width * (width + 2)
            width *= 2
    return total + 10 * width


def _conv(channels: int, out: int, kernel: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(out, 1e-3))


def _separable(width: int, kernel: int) -> nn.Sequential:
    depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
    pointwise = nn.Conv2d(width, width, 1, bias=False)
    return nn.Sequential(nn.ReLU(), depthwise, pointwise, nn.BatchNorm2d(width, 1e-3))


class Reduce(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.even, self.odd = (nn.Conv2d(channels, channels, 1, 2, bias=False) for _ in "ab")
        self.norm = nn.BatchNorm2d(2 * channels, 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1))


class Reference(nn.Module):
    """Three layers; the second reads the stem too, the third the first layer."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.stem = nn.Sequential(conv, nn.BatchNorm2d(4, 1e-3))
        self.first = nn.Sequential(_conv(4, 4), _conv(4, 4, 5))
        self.reduce0, self.reduce1 = Reduce(4), Reduce(4)
        self.second = nn.Sequential(_conv(8, 8), _separable(8, 3))
        self.join2 = _conv(16, 8)
        self.reduce2, self.reduce3 = Reduce(8), Reduce(8)
        self.third = nn.Sequential(_conv(16, 16), nn.MaxPool2d(3, 1, 1))
        self.join3 = _conv(32, 16)
        self.classifier = nn.Linear(16, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(x)
        stem, first = self.reduce0(stem), self.reduce1(self.first(stem))
        second = self.join2(torch.cat([stem, self.second(first)], 1))
        first, second = self.reduce2(first), self.reduce3(second)
        third = self.join3(torch.cat([first, self.third(second)], 1))
        return self.classifier(third.mean((2, 3)))


def test_outputs() -> None:
    space = enas_macro.space(layers=3, filters=4, size=16)
    point = enas_macro._point("\n2\n1 1\n5 0 1\n", list(enas_macro.OPERATIONS))
    assert_equal_outputs(space.bind(point), Reference(), torch.randn(8, 3, 16, 16))


def test_the_space_holds_what_it_should() -> None:
    space = enas_macro.space(layers=3, filters=4, size=16).verify()
    assert space.size == 6**3 * 2 ** (1 + 2)
