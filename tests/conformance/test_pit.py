"""PiT against timm."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.pit import PoolingVisionTransformer

import nasflow
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)


@pytest.mark.parametrize("size", ["ti", "xs", "s", "b"])
def test_counts(size: str) -> None:
    with torch.device("meta"):
        reference = timm.create_model(f"pit_{size}_224")
        image = torch.empty(1, 3, 224, 224)
    graph = nasflow.model(f"pit_{size}")
    params = parameters(reference)
    reference.requires_grad_(False)  # PyTorch's counter stumbles over a parameter that is an input
    assert_counts(graph, params, counted_macs(reference, image))


def test_outputs() -> None:
    space = nasflow.space("pit", size=64, classes=10, head_widths=(16,), deepest=(2, 2, 2))
    point = {"heads": 2, "head_width": 16, "mlp_ratio": 3}
    point |= {"stage1/depth": 1, "stage2/depth": 2, "stage3/depth": 1}
    reference = PoolingVisionTransformer(
        64, 16, 8, "overlap", (16,) * 3, (1, 2, 1), (2, 4, 8), mlp_ratio=3, num_classes=10
    )
    graph = space.bind(point)
    assert_equal_outputs(graph, reference)


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("pit", size=64, classes=10).verify()
    assert space.size == 3 * 3 * 3 * 3 * 6 * 6  # heads, head_width, mlp_ratio, three depths
