"""ConvNeXts against timm's modules and the paper's table."""

from __future__ import annotations

import pytest
from timm.models.convnext import ConvNeXt

import nasflow
from tests.conformance.reference import assert_counts, assert_equal_outputs

# Parameters and multiply-adds of timm's modules.
COUNTS = {
    "convnext_t_224": (28_589_128, 4_455_531_264),
    "convnext_s_224": (50_223_688, 8_683_712_256),
    "convnext_xl_224": (350_196_968, 60_921_030_656),
    "convnext_xl_384": (350_196_968, 179_029_262_336),
}
# Millions of parameters and billions of multiply-adds (table 1).
PRINTED = {
    "convnext_b_224": (88.6, 15.4),
    "convnext_b_384": (88.6, 45.0),
    "convnext_l_224": (197.8, 34.4),
    "convnext_l_384": (197.8, 101.0),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    if name == "convnext_t_224":
        assert_counts(graph, *COUNTS[name])
    assert (graph.params, graph.macs) == COUNTS[name]


@pytest.mark.parametrize("name", PRINTED)
def test_printed_figures(name: str) -> None:
    graph = nasflow.model(name)
    params, macs = PRINTED[name]
    assert graph.params / 1e6 == pytest.approx(params, abs=0.06)
    assert graph.macs / 1e9 == pytest.approx(macs, rel=5e-3)


@pytest.mark.parametrize(("width", "depths"), [(96, (1, 2, 3, 1)), (128, (2, 1, 1, 1))])
def test_outputs(width: int, depths: tuple[int, ...]) -> None:
    space = nasflow.space("convnext", size=64, deepest=(3, 3, 3, 3))
    point = {"width": width, "kernel": 7, "expand": 4}
    point |= {f"stage{stage}/depth": depth for stage, depth in enumerate(depths, 1)}
    reference = ConvNeXt(dims=tuple(width * 2**stage for stage in range(4)), depths=depths)
    assert_equal_outputs(space.bind(point), reference)


def test_every_point_of_the_space_binds() -> None:
    space = nasflow.space("convnext", size=64, deepest=(2, 2, 2, 2), drop_path=0.1)
    for seed in range(15):
        space.bind(space.sample(seed))
