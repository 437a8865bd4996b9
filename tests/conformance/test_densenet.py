"""DenseNets against timm's modules and the paper's tables."""

from __future__ import annotations

import pytest
import torch
from timm.models.densenet import DenseNet

import nasflow
from tests.conformance.reference import assert_counts, assert_equal_outputs

# Parameters and multiply-adds of timm's modules; for CIFAR of the paper's networks rebuilt.
COUNTS = {
    "densenet121": (7_978_856, 2_834_161_664),
    "densenet169": (14_149_480, 3_359_843_328),
    "densenet264": (33_337_704, 5_751_653_376),
    "densenet_l40_k12_cifar": (1_019_722, 264_812_928),
    "densenet_l100_k12_cifar": (6_979_642, 1_769_516_448),
    "densenet_l100_k24_cifar": (27_249_082, 6_889_347_744),
}
PRINTED = {"densenet_bc_l100_k12_cifar": 0.8, "densenet_bc_l190_k40_cifar": 25.6}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    if name in ("densenet121", "densenet_l40_k12_cifar"):
        assert_counts(graph, *COUNTS[name])
    assert (graph.params, graph.macs) == COUNTS[name]


@pytest.mark.parametrize("name", PRINTED)
def test_printed_parameters(name: str) -> None:
    assert nasflow.model(name).params / 1e6 == pytest.approx(PRINTED[name], abs=0.05)


@pytest.mark.parametrize(("growth", "depths"), [(12, (2, 3, 4, 2)), (32, (1, 2, 1, 1))])
def test_outputs(growth: int, depths: tuple[int, ...]) -> None:
    space = nasflow.space("densenet", size=64, deepest=(6, 6, 6, 6))
    point = {"growth": growth, "bottleneck": True, "compression": 0.5}
    point |= {f"block{number}/depth": depth for number, depth in enumerate(depths, 1)}
    reference = DenseNet(growth_rate=growth, block_config=depths)
    assert_equal_outputs(space.bind(point), reference, double=True)


class Layer(torch.nn.Module):
    """A layer without bottleneck (section 3, "Dense connectivity", "Composite function")."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(channels)
        self.conv = torch.nn.Conv2d(channels, growth, 3, 1, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.conv(self.norm(x).relu())], 1)


def test_outputs_without_bottlenecks() -> None:
    space = nasflow.space("densenet", size=16, classes=10, skeleton="cifar", deepest=(2, 2, 2))
    point = {"growth": 12, "bottleneck": False, "compression": 1.0, "stem_width": 16}
    point |= {"block1/depth": 2, "block2/depth": 1, "block3/depth": 1}

    def transition(channels: int) -> list[torch.nn.Module]:
        norm, conv = (
            torch.nn.BatchNorm2d(channels),
            torch.nn.Conv2d(channels, channels, 1, bias=False),
        )
        return [norm, torch.nn.ReLU(), conv, torch.nn.AvgPool2d(2)]

    reference = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        *(Layer(16, 12), Layer(28, 12), *transition(40)),
        *(Layer(40, 12), *transition(52)),
        *(Layer(52, 12), torch.nn.BatchNorm2d(64), torch.nn.ReLU()),
        *(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 10)),
    )
    assert_equal_outputs(space.bind(point), reference, double=True)


def test_every_point_of_the_space_binds() -> None:
    space = nasflow.space("densenet", size=64, deepest=(2, 2, 2, 2))
    for seed in range(20):
        space.bind(space.sample(seed))
