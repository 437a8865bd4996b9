"""MnasNets against timm's and torchvision's modules."""

from __future__ import annotations

import pytest
import timm
import torchvision
from torch import nn

import nasflow
from nasflow import ir
from tests.conformance.reference import assert_counts, assert_equal_outputs

# Parameters and multiply-adds of timm's modules; b1 and its multiples are torchvision's as well.
COUNTS = {
    "mnasnet_a1": (3_887_038, 311_579_072),
    "mnasnet_a1_050": (2_082_006, 103_162_992),
    "mnasnet_a1_075": (2_912_278, 223_448_480),
    "mnasnet_a1_140": (6_105_992, 586_317_952),
    "mnasnet_b1": (4_383_312, 314_415_872),
    "mnasnet_b1_050": (2_218_512, 104_455_968),
    "mnasnet_b1_075": (3_170_208, 215_493_104),
    "mnasnet_b1_130": (6_282_256, 526_362_432),
    "mnasnet_b1_140": (7_115_728, 588_799_408),
    "mnasnet_small": (2_030_264, 68_339_184),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    if name in ("mnasnet_a1", "mnasnet_small"):
        assert_counts(graph, *COUNTS[name])
    assert (graph.params, graph.macs) == COUNTS[name]


@pytest.mark.parametrize(
    ("name", "millions"), [("mnasnet_a2", (4.8, 340)), ("mnasnet_a3", (5.2, 403))]
)
def test_reconstructed_networks_meet_what_is_printed(
    name: str, millions: tuple[float, int]
) -> None:
    entry = nasflow.discovery.models()[name][1]
    graph = nasflow.model(name)
    assert entry.reconstructed
    assert (round(graph.params / 1e6, 1), round(graph.macs / 1e6)) == millions


def small(name: str) -> ir.Graph:
    """Return a published network for 64-pixel images."""
    point = nasflow.discovery.models()[name][1].point
    return nasflow.space("mnasnet", sizes=(64,)).bind({**point, "resolution": 64})


def reference(name: str) -> nn.Module:
    if name.startswith("mnasnet1_0"):
        return torchvision.models.mnasnet1_0(dropout=0.0)
    if name.startswith("mnasnet0_5"):
        return torchvision.models.mnasnet0_5(dropout=0.0)
    made: nn.Module = timm.create_model(name)
    return made


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("mnasnet_a1", "semnasnet_100"),
        ("mnasnet_a1_075", "semnasnet_075"),
        ("mnasnet_b1", "mnasnet_100"),
        ("mnasnet_b1", "mnasnet1_0 of torchvision"),
        ("mnasnet_b1_050", "mnasnet0_5 of torchvision"),
        ("mnasnet_small", "mnasnet_small"),
    ],
)
def test_outputs(ours: str, theirs: str) -> None:
    assert_equal_outputs(small(ours), reference(theirs))


def test_each_block_has_the_choices_of_the_paper() -> None:
    space = nasflow.space("mnasnet", widths=(1.0,), size=64)
    per_block = 4 * 2 * 2 * 3 * 3  # operations, kernels, SE, skips, filters
    assert (
        space.size == (per_block * 3) ** 5 * (per_block * 2) ** 2
    )  # layers: one less, as many, one more


@pytest.mark.parametrize("skip", ["none", "identity", "pool"])
def test_a_skip_joins_where_shapes_agree(skip: str) -> None:
    space = nasflow.space("mnasnet", size=64)
    point = dict(nasflow.discovery.models()["mnasnet_small"][1].point)
    point |= {"resolution": 64} | {f"block{number}/skip": skip for number in range(1, 8)}
    graph = space.bind(point)
    names = [type(node.content.op).__name__ for _, node, _ in graph.walk()]
    # Layers that change neither size nor channels: 1 + 1 + 3 + 3 + 2, and block 3's first keeps channels.
    joined = {"none": 0, "identity": 10, "pool": 11}
    assert names.count("Add") == joined[skip]
    assert names.count("AvgPool") == (11 if skip == "pool" else 0)


def test_every_point_of_the_space_binds() -> None:
    space = nasflow.space("mnasnet", sizes=(32, 48))
    for seed in range(15):
        space.bind(space.sample(seed))
