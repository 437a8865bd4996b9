"""Swin against timm."""

from __future__ import annotations

import pytest
import timm
import torch

import nasflow
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

TIMM = {
    "swin_t_224": "swin_tiny_patch4_window7_224",
    "swin_s_224": "swin_small_patch4_window7_224",
    "swin_b_224": "swin_base_patch4_window7_224",
    "swin_b_384": "swin_base_patch4_window12_384",
    "swin_l_224": "swin_large_patch4_window7_224",
    "swin_l_384": "swin_large_patch4_window12_384",
}


@pytest.mark.parametrize("name", TIMM)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    with torch.device("meta"):
        reference = timm.create_model(TIMM[name])
        image = torch.empty(1, *graph.inputs[0].shape)
    assert_counts(graph, parameters(reference), counted_macs(reference, image))


def test_outputs() -> None:
    reference = timm.create_model("swin_tiny_patch4_window7_224", drop_path_rate=0.0)
    assert_equal_outputs(nasflow.model("swin_t_224"), reference)


@pytest.mark.parametrize(("size", "window"), [(72, 7), (96, 7), ((112, 144), 3)])
def test_maps_that_windows_do_not_fill_are_padded(size: int | tuple[int, int], window: int) -> None:
    """A 72 pixel image gives maps of 18, 9, 5 (padded from 9) and 3: padding, odd merges, no shift."""
    space = nasflow.space(
        "swin", size=size, classes=10, widths=(32,), windows=(window,), depths=(2,) * 4
    )
    point = {"width": 32, "window": window, "mlp_ratio": 4}
    graph = space.bind(point | {f"stage{i}/depth": 2 for i in range(1, 5)})
    reference = timm.models.SwinTransformer(
        img_size=size, num_classes=10, embed_dim=32, depths=(2,) * 4, num_heads=(1, 2, 4, 8),
        window_size=window, drop_path_rate=0.0,
    )  # fmt: skip
    assert_equal_outputs(graph, reference)


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("swin", size=64, classes=10).verify()
    assert space.size == 3 * 2 * 3 * 9  # width, window, mlp_ratio, depth of the third stage
