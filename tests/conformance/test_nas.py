"""NAS: the printed parameters, and outputs against section 3.3 read directly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import nasflow
from search_spaces import nas
from tests.conformance.reference import assert_counts, assert_equal_outputs

# Table 1 prints millions of parameters, no multiply-adds.
COUNTS = {
    "nas_v1_cifar": (4_201_630, 4_300_665_312, 4.2),
    "nas_v3_cifar": (7_102_882, 986_619_240, 7.1),
    "nas_v3_more_filters_cifar": (37_402_442, 5_385_662_200, 37.4),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    params, macs, printed = COUNTS[name]
    assert_counts(nasflow.model(name), params, macs)
    assert round(params / 1e6, 1) == printed


def _conv(channels: int, out: int, kernel: tuple[int, int]) -> nn.Sequential:
    padding = kernel[0] // 2, kernel[1] // 2
    conv = nn.Conv2d(channels, out, kernel, padding=padding, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())


class Block(nn.Module):
    """Two convolutions, the second reads the block's input too."""

    def __init__(self, channels: int, out: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.first, self.second = _conv(channels, out, kernel), _conv(channels + out, out, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.cat([x, self.first(x)], 1))


class Network(nn.Module):
    """Four blocks: the second reads the image, the fourth the first and the third."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [Block(3, 4, (3, 3)), Block(3, 6, (1, 5)), Block(4, 6, (3, 1)), Block(10, 4, (5, 3))]
        )
        self.pool, self.classifier = nn.MaxPool2d(2), nn.Linear(6 + 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        first, second = (self.pool(block(x)) for block in self.blocks[:2])
        third = self.blocks[2](first)
        last = self.blocks[3](torch.cat([first, third], 1))
        return self.classifier(torch.cat([second, last], 1).mean((2, 3)))  # nobody reads the second


LAYERS: nas.Layers = ((3, 3, 4, ()), (1, 5, 6, ()), (3, 1, 6, (1,)), (5, 3, 4, (1, 3)))


def test_outputs() -> None:
    space = nas.space(size=8, blocks=4, layers=2, filters=(4, 6), pools=(3,))
    assert_equal_outputs(space.bind(nas._point(LAYERS)), Network(), torch.randn(8, 3, 8, 8))


def test_the_space_holds_what_it_should() -> None:
    space = nas.space(size=8, blocks=3, filters=(4, 6), kernels=(1, 3), pools=(2,)).verify()
    assert space.size == (2 * 2 * 2) ** 3 * 2**3  # height, width and filters; who reads whom
