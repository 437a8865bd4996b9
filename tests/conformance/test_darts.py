"""DARTS: the counts of the authors' released networks, and what the paper prints."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import nasflow
from search_spaces import darts
from tests.conformance.reference import assert_counts, assert_equal_outputs

# Exact counts of the released code, auxiliary heads left out; the paper's parameters beside them.
COUNTS = {
    "darts_v1_cifar": (3_169_414, 500_987_520, None),
    "darts_v2_cifar": (3_349_342, 528_359_040, 3.3),
    "darts_v1_imagenet": (4_510_432, 505_864_704, None),
    "darts_imagenet": (4_718_752, 529_911_552, 4.7),
}


# A node each.
SEP3 = (("sep_conv_3x3", 0), ("sep_conv_3x3", 1))
SKIP = (("skip_connect", 0), ("skip_connect", 2))
MAX3 = (("max_pool_3x3", 0), ("max_pool_3x3", 1))
AVG3 = (("avg_pool_3x3", 1), ("avg_pool_3x3", 2))


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    params, macs, printed = COUNTS[name]
    assert_counts(nasflow.model(name), params, macs)
    assert printed is None or int(params / 1e5) / 10 == printed


class Reduce(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(channels, out // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(channels, out // 2, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1))


def _separable(channels: int, kernel: int, stride: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    depthwise = nn.Conv2d(
        channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
    )
    pointwise = nn.Conv2d(channels, channels, 1, bias=False)
    return nn.Sequential(nn.ReLU(), depthwise, pointwise, nn.BatchNorm2d(channels))


def _operation(name: str, channels: int, stride: int) -> nn.Module:
    if name == "skip_connect":
        return Reduce(channels, channels) if stride > 1 else nn.Identity()
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    kernel = int(name[-1])
    if name.startswith("dil"):
        return _separable(channels, kernel, stride, 2)
    first, second = _separable(channels, kernel, stride), _separable(channels, kernel, 1)
    return nn.Sequential(first, second)


def _project(channels: int, out: int) -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out))


class Cell(nn.Module):
    """A cell written from section 2.1, for a list of (operation, state) pairs."""

    def __init__(
        self, edges: darts.Edges, widths: tuple[int, int], out: int, stride: int, halve: bool
    ) -> None:
        super().__init__()
        self.before = (Reduce if halve else _project)(widths[0], out)
        self.last = _project(widths[1], out)
        self.states = [state for _, state in edges]
        self.ops = nn.ModuleList(
            _operation(name, out, stride if state < 2 else 1) for name, state in edges
        )

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        states = [self.before(before), self.last(last)]
        for i in range(0, len(self.ops), 2):
            pair = (self.ops[j](states[self.states[j]]) for j in (i, i + 1))
            states.append(sum(pair))
        return torch.cat(states[2:], 1)


class Network(nn.Module):
    """Three cells of 4, 8 and 16 filters, the last two strided, after the stem for CIFAR."""

    def __init__(self, normal: darts.Edges, reduction: darts.Edges) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 1, 1, bias=False), nn.BatchNorm2d(12))
        self.cells = nn.ModuleList(
            [
                Cell(normal, (12, 12), 4, 1, False),
                Cell(reduction, (12, 16), 8, 2, False),
                Cell(reduction, (16, 32), 16, 2, True),
            ]
        )
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        before = last = self.stem(x)
        for cell in self.cells:
            before, last = last, cell(before, last)
        return self.classifier(last.mean((2, 3)))


@pytest.mark.parametrize(
    ("normal", "reduction"),
    [
        (SEP3 + SKIP + (("dil_conv_3x3", 2), ("sep_conv_5x5", 3)) + SEP3, MAX3 + SKIP * 3),
        (MAX3 + AVG3 + SEP3 * 2, SEP3 + (("skip_connect", 0), ("dil_conv_5x5", 1)) + AVG3 * 2),
    ],
)
def test_outputs(normal: darts.Edges, reduction: darts.Edges) -> None:
    space = darts.space(layers=3, filters=4, size=16)
    graph = space.bind(darts._point(normal, reduction))
    assert_equal_outputs(graph, Network(normal, reduction), torch.randn(8, 3, 16, 16))


def test_training_drops_paths() -> None:
    space = darts.space(nodes=2, layers=3, filters=4, drop_path=0.2)
    module = space.bind(space.sample(0)).to_torch(seed=0)
    module.train()(torch.randn(2, 3, 32, 32)).sum().backward()


def test_every_point_of_the_space_binds() -> None:
    space = darts.space(layers=4, filters=4)
    for seed in range(20):
        space.bind(space.sample(seed))
