"""MLP-Mixer against timm."""

from __future__ import annotations

import pytest
import torch
from timm.models.mlp_mixer import MlpMixer

import nasflow
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

TIMM = {
    "mixer_s32": (32, 8, 512),
    "mixer_s16": (16, 8, 512),
    "mixer_b32": (32, 12, 768),
    "mixer_b16": (16, 12, 768),
    "mixer_l32": (32, 24, 1024),
    "mixer_l16": (16, 24, 1024),
    "mixer_h14": (14, 32, 1280),
}


@pytest.mark.parametrize("name", TIMM)
def test_counts(name: str) -> None:
    patch, depth, width = TIMM[name]
    with torch.device("meta"):
        reference = MlpMixer(patch_size=patch, num_blocks=depth, embed_dim=width)
        image = torch.empty(1, 3, 224, 224)
    assert_counts(nasflow.model(name), parameters(reference), counted_macs(reference, image))


@pytest.mark.parametrize("token_ratio", [0.25, 1])
def test_outputs(token_ratio: float) -> None:
    space = nasflow.space("mixer", size=48, classes=10, widths=(64,), depths=(2, 3))
    point = {
        "patch": 16,
        "width": 64,
        "token_ratio": token_ratio,
        "channel_ratio": 3,
        "depth": 3,
    }
    reference = MlpMixer(10, 48, 3, 16, 3, 64, mlp_ratio=(token_ratio, 3))
    assert_equal_outputs(space.bind(point), reference)


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("mixer", size=64, classes=10, patches=(16, 32)).verify()
    assert space.size == 2 * 4 * 3 * 3 * 29  # patch, width, token_ratio, channel_ratio, depth
