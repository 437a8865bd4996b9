"""FBNetV3 against the released code's counts and timm's modules."""

from __future__ import annotations

import pytest
import timm
import torch

import nasflow
from nasflow import ir
from tests.conformance.reference import assert_counts, assert_equal_outputs, parameters

# Parameters and multiply-adds of facebookresearch/mobile-vision's networks.
RELEASED = {
    "fbnetv3_a": (8_598_480, 355_514_328),
    "fbnetv3_c": (9_973_816, 555_578_368),
    "fbnetv3_e": (10_772_896, 759_952_160),
    "fbnetv3_f": (13_896_160, 1_178_860_656),
}
TIMM = {
    "fbnetv3_b": (8_598_464, 407_508_576),
    "fbnetv3_d": (10_306_272, 501_971_056),
    "fbnetv3_g": (16_623_888, 1_253_584_000),
}


@pytest.mark.parametrize("name", [*RELEASED, *TIMM])
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    expected = {**RELEASED, **TIMM}[name]
    if name == "fbnetv3_a":
        assert_counts(graph, *expected)
    assert (graph.params, graph.macs) == expected


@pytest.mark.parametrize("name", TIMM)
def test_parameters(name: str) -> None:
    with torch.device("meta"):
        assert parameters(timm.create_model(name)) == TIMM[name][0]


def small(name: str) -> ir.Graph:
    """Return a published network for 64-pixel images."""
    point = nasflow.discovery.models()[name][1].point
    return nasflow.space("fbnet_v3", sizes=(64,)).bind({**point, "resolution": 64})


@pytest.mark.parametrize("name", ["fbnetv3_b", "fbnetv3_d"])
def test_outputs(name: str) -> None:
    assert_equal_outputs(small(name), timm.create_model(name))


def test_the_released_borders_are_narrower() -> None:
    sides = {node.content.outputs[0].size("H") for _, node, _ in nasflow.model("fbnetv3_a").walk()
             if "H" in node.content.outputs[0].axes}  # fmt: skip
    assert {13, 6} <= sides and not {14, 7} & sides


def test_branches_that_are_added_start_at_zero() -> None:
    state = small("fbnetv3_d").to_torch(seed=0).state_dict()
    scales = [value for name, value in state.items() if name.endswith("project_norm.weight")]
    assert sum(not value.any() for value in scales) == sum((1, 5, 4, 4, 6, 5, 0))


def test_every_point_of_the_space_binds() -> None:
    space = nasflow.space("fbnet_v3", size=64)
    for seed in range(15):
        space.bind(space.sample(seed))
