"""Xception beside timm's module, and beside the figures the paper prints."""

from __future__ import annotations

import torch

import nasflow
from search_spaces import xception
from tests.conformance.reference import assert_counts, assert_equal_outputs, counted_macs


def test_outputs_equal_timm() -> None:
    from timm.models.xception import Xception

    space = xception.space(size=75, classes=7)
    graph = space.bind(xception.MODELS["xception"].point)
    assert_equal_outputs(graph, Xception(num_classes=7), torch.randn(6, 3, 75, 75))


def test_counts() -> None:
    from timm.models.xception import Xception

    with torch.device("meta"):
        macs = counted_macs(Xception(), torch.empty(1, 3, 299, 299))
    assert macs == 8_357_403_496  # 8.4B in tables
    assert_counts(nasflow.model("xception"), 22_855_952, macs)  # table 3


def test_every_point_of_the_space_binds() -> None:
    space = xception.space(size=75)
    for seed in range(10):
        space.bind(space.sample(seed))
