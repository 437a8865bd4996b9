"""EfficientNets against timm's modules."""

from __future__ import annotations

import pytest
import timm
import torch

import nasflow
from nasflow import ir
from tests.conformance.reference import assert_counts, assert_equal_outputs

# Parameters and multiply-adds of timm's modules.
COUNTS = {
    "efficientnet_b0": (5_288_548, 385_814_752),
    "efficientnet_b1": (7_794_184, 686_802_832),
    "efficientnet_b2": (9_109_994, 993_561_872),
    "efficientnet_b3": (12_233_232, 1_827_141_392),
    "efficientnet_b4": (19_341_616, 4_393_771_024),
    "efficientnet_b5": (30_389_784, 10_266_384_752),
    "efficientnet_b6": (43_040_704, 19_067_593_536),
    "efficientnet_b7": (66_347_960, 37_745_884_192),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    if name == "efficientnet_b0":
        assert_counts(graph, *COUNTS[name])
    assert (graph.params, graph.macs) == COUNTS[name]


def test_the_largest_has_the_parameters_its_paper_prints() -> None:
    # Xie et al. (2020), "Self-training with Noisy Student", section 3.1: 480 million.
    assert nasflow.model("efficientnet_l2").params / 1e6 == pytest.approx(480, abs=0.5)


def small(name: str) -> ir.Graph:
    """Return a published network for 64-pixel images, without dropout."""
    entry = nasflow.discovery.models()[name][1]
    space = nasflow.discovery.find("space", "efficientnet")(sizes=(64,))
    return space.bind({**entry.point, "resolution": 64, "dropout": 0.0})


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_b2"])
def test_outputs(name: str) -> None:
    assert_equal_outputs(small(name), timm.create_model(name, drop_rate=0.0))


def test_weights_start_as_released() -> None:
    module = small("efficientnet_b0").to_torch(seed=0)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.weight.numel() > 1000:
            fan_out = layer.out_channels // layer.groups * layer.kernel_size[0] ** 2
            assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
    (linear,) = (layer for layer in module.modules() if isinstance(layer, torch.nn.Linear))
    assert linear.weight.abs().max().item() == pytest.approx(1000**-0.5, rel=1e-3)
    assert not linear.bias.any()


def test_scaling_multiplies_and_rounds() -> None:
    space = nasflow.space("efficientnet", sizes=(64,))
    point = dict(nasflow.discovery.models()["efficientnet_b0"][1].point)
    graph = space.bind({**point, "resolution": 64, "width": 1.1, "depth": 1.2})
    first = graph.nodes[0].content
    assert isinstance(first, ir.Applied)
    assert first.outputs[0].size("C") == 32  # 35.2 to a multiple of 8, not below 0.9 of it
    depthwise = [
        node for _, node, _ in graph.walk()
        if isinstance(node.content.op, ir.Conv2d) and node.content.op.groups > 1
    ]  # fmt: skip
    assert len(depthwise) == sum((2, 3, 3, 4, 4, 5, 2))  # each stage's layers times 1.2, rounded up


def test_every_point_of_the_space_binds() -> None:
    space = nasflow.space("efficientnet", sizes=(32, 48))
    for seed in range(20):
        space.bind(space.sample(seed))
