"""gMLP against timm."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.layers import GatedMlp
from timm.models.mlp_mixer import MlpMixer, SpatialGatingBlock

import nasflow
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

TIMM = {"gmlp_ti": "gmlp_ti16_224", "gmlp_s": "gmlp_s16_224", "gmlp_b": "gmlp_b16_224"}


@pytest.mark.parametrize("name", TIMM)
def test_counts(name: str) -> None:
    with torch.device("meta"):
        reference = timm.create_model(TIMM[name])
        image = torch.empty(1, 3, 224, 224)
    assert_counts(nasflow.model(name), parameters(reference), counted_macs(reference, image))


def test_outputs() -> None:
    space = nasflow.space("gmlp", size=64, classes=10, depths=(2, 4))
    point = {"patch": 16, "width": 128, "ratio": 6, "depth": 3}
    blocks = {"block_layer": SpatialGatingBlock, "mlp_layer": GatedMlp}
    reference = MlpMixer(10, 64, 3, 16, 3, 128, 6, **blocks)
    assert_equal_outputs(space.bind(point), reference)


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("gmlp", size=64, classes=10).verify()
    assert space.size == 2 * 3 * 3 * 25  # patch, width, ratio, depth
