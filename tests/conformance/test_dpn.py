"""Dual path networks beside timm's modules, and beside the figures the paper prints."""

from __future__ import annotations

import pytest
import timm
import torch

import nasflow
from search_spaces import dpn
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

# Parameters and multiply-adds of timm's modules; the paper's millions of parameters and billions
# of multiply-adds beside them.
COUNTS = {
    "dpn68": (12_611_602, 2_326_163_456, None, None),
    "dpn92": (37_668_392, 6_501_684_224, 37.7, 6.5),
    "dpn98": (61_570_728, 11_671_217_152, 61.6, 11.7),
    "dpn131": (79_254_504, 32_678_118_400, None, None),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    params, macs, printed_params, printed_macs = COUNTS[name]
    graph = nasflow.model(name)
    assert_counts(graph, params, macs)
    with torch.device("meta"):
        reference = timm.create_model(name)
    image = torch.empty(1, *graph.inputs[0].shape, device="meta")
    assert (parameters(reference), counted_macs(reference, image)) == (params, macs)
    if printed_params:
        assert round(params / 1e6, 1) == printed_params
        assert round(macs / 1e9, 1) == printed_macs


@pytest.mark.parametrize("small", [False, True])
def test_outputs_equal_timm(small: bool) -> None:
    from timm.models.dpn import DPN

    depths, growths = (2, 1, 2, 1), (16, 32, 24, 64)
    stem = 10 if small else 64
    entry = dpn._model(depths, growths, 32, 3, small=small, stem_width=stem, resolution=64)
    space = dpn.space(size=64, classes=7, deepest=(2, 2, 2, 2))
    reference = DPN(
        depths, growths, k_r=96, groups=32, num_classes=7, small=small, num_init_features=stem
    )
    assert_equal_outputs(space.bind(entry.point), reference, torch.randn(8, 3, 64, 64))


def test_every_point_of_the_space_binds() -> None:
    space = dpn.space(size=64, deepest=(2, 2, 2, 2))
    for seed in range(20):
        space.bind(space.sample(seed))
