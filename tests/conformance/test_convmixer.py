"""ConvMixer against timm."""

from __future__ import annotations

import pytest
import torch
from timm.models.convmixer import ConvMixer
from torch import nn

import nasflow
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

KERNELS = {
    "convmixer_768_32": 7,
    "convmixer_1536_20": 9,
    "convmixer_1024_12": 8,
    "convmixer_512_16": 8,
}


@pytest.mark.parametrize("name", KERNELS)
def test_counts(name: str) -> None:
    width, depth = map(int, name.split("_")[1:])
    with torch.device("meta"):
        reference = ConvMixer(width, depth, KERNELS[name])
        image = torch.empty(1, 3, 224, 224)
    assert_counts(nasflow.model(name), parameters(reference), counted_macs(reference, image))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("kernel", "activation"), [(8, "gelu"), (5, "relu")])
def test_outputs(kernel: int, activation: str) -> None:
    space = nasflow.space("convmixer", size=70, classes=10, widths=(32,), depths=(2, 4))
    point = {"patch": 7, "width": 32, "kernel": kernel, "activation": activation, "depth": 3}
    act = {"gelu": nn.GELU, "relu": nn.ReLU}[activation]
    reference = ConvMixer(32, 3, kernel, 7, num_classes=10, act_layer=act)
    assert_equal_outputs(space.bind(point), reference)


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("convmixer", size=56, classes=10).verify()
    assert space.size == 2 * 5 * 5 * 2 * 29  # patch, width, kernel, activation, depth
