"""SMASH: the printed parameters, and a memory that is read and written, done directly."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nasflow
from search_spaces import smash
from tests.conformance.reference import assert_counts, assert_equal_outputs


def test_counts() -> None:
    graph = nasflow.model("smash")
    assert_counts(graph, 4_601_834, 791_087_616)
    assert round(graph.params / 1e6, 1) == 4.6  # table 1, SMASHv1


def _conv(channels: int, out: int, kernel: int, dilation: int, groups: int) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    made = nn.Conv2d(channels, out, kernel, 1, padding, dilation, groups, bias=False)
    return nn.Sequential(nn.ReLU(), made)


class Layer(nn.Module):
    def __init__(self, read: int, narrow: int, *paths: nn.Module) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(read)
        self.conv = nn.Conv2d(read, narrow, 1, bias=False)
        self.bottleneck_norm, self.paths = nn.BatchNorm2d(narrow), nn.ModuleList(paths)

    def forward(self, *banks: Tensor) -> Tensor:
        x = self.bottleneck_norm(self.conv(self.norm(torch.cat(banks, 1)).relu()))
        return sum(path(x) for path in self.paths)


class Reference(nn.Module):
    """Two blocks of one layer each over three banks of 8 and 16 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 7, padding=3, bias=False)
        path = nn.Sequential(_conv(16, 8, 3, 2, 4), _conv(8, 8, 5, 1, 1))
        self.first = Layer(16, 16, path, _conv(16, 8, 3, 1, 8))  # reads 0 and 2, writes 1
        self.transition_norm = nn.BatchNorm2d(24)
        self.transition = nn.Conv2d(24, 48, 1, bias=False)
        self.second = Layer(16, 16, _conv(16, 32, 3, 3, 2))  # reads 1, writes 0 and 2
        self.norm, self.classifier = nn.BatchNorm2d(48), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.stem(x).chunk(3, 1)
        b = b + self.first(a, c)
        x = self.transition(self.transition_norm(torch.cat([a, b, c], 1)).relu())
        a, b, c = F.avg_pool2d(x, 2).chunk(3, 1)
        y = self.second(b)
        x = torch.cat([a + y[:, :16], b, c + y[:, 16:]], 1)
        return self.classifier(self.norm(x).relu().mean((2, 3)))


SMALL = {"size": 16, "layers": (1, 1), "banks": 3, "bank": 8}


def test_outputs() -> None:
    space = smash.space(**SMALL, kernels=(3, 5))
    layers = (("02", "1", "2+1", "324 511 318"), ("1", "02", "1", "332"))
    graph = space.bind(smash._point(layers, banks=3, depth=1))
    assert_equal_outputs(graph, Reference(), torch.randn(4, 3, 16, 16))


def test_a_layer_without_banks_has_the_first() -> None:
    space = smash.space(**SMALL)
    none, first = (
        space.bind(smash._point(((banks, banks, "1", "311"),) * 2, banks=3, depth=1))
        for banks in ("", "0")
    )
    assert none.fingerprint == first.fingerprint
