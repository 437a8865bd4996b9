"""Networks for every pixel: DeepLabv3 beside torchvision's, the context module beside its table."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.segmentation.deeplabv3 import _deeplabv3_resnet

import nasflow
from search_spaces import deeplab, dilation
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

DILATED = [False, True, True]
# torchvision's counts, at 512 pixels.
COUNTS = {
    "deeplabv3": ((3, 4, 23, 3), 58_630_997, 241_157_275_648),
    "deeplabv3_resnet50": ((3, 4, 6, 3), 39_638_869, 163_579_428_864),
}


class First(nn.Module):
    """Keep the scores of torchvision's dictionary."""

    def __init__(self, depths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        backbone = ResNet(Bottleneck, list(depths), replace_stride_with_dilation=DILATED)
        self.network = _deeplabv3_resnet(backbone, classes, None)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)["out"]


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_deeplab(name: str) -> None:
    depths, *counts = COUNTS[name]
    assert_counts(nasflow.model(name), *counts)
    with torch.device("meta"):
        reference = First(depths, 21)
    image = torch.empty(1, 3, 512, 512, device="meta")
    assert [parameters(reference), counted_macs(reference, image)] == counts


def test_outputs_of_deeplab() -> None:
    depths = (1, 1, 2, 2)
    point = {f"stage{stage}/depth": depth for stage, depth in enumerate(depths, 1)}
    space = deeplab.space(size=64, classes=5, dropout=0.0)
    graph = space.bind({**deeplab.MODELS["deeplabv3"].point, **point})
    reference = First(depths, 5)
    reference.network.classifier[0].project[3].p = 0.0
    assert_equal_outputs(graph, reference)


def test_context_module_is_that_of_the_table() -> None:
    """Yu & Koltun (2016), table 1: it sees 67 pixels; about 64 C² weights, section 3."""
    graph = nasflow.model("dilated_context_module")
    assert graph.cost().receptive_field == 67
    assert_counts(graph, 64 * 21**2 + 8 * 21, 64 * 21**2 * 64 * 64)
    widths = (1, 2, 2, 4, 8, 16, 32, 32)
    weights = sum(a * b * 9 for a, b in itertools.pairwise(widths)) + 32
    large = nasflow.model("dilated_context_module_large")
    assert large.params == weights * 21**2 + (sum(widths[1:]) + 1) * 21


@pytest.mark.parametrize("name", dilation.MODELS)
def test_context_module_starts_as_the_identity(name: str) -> None:
    graph = dilation.space(classes=3, size=20).bind(dilation.MODELS[name].point)
    x = torch.rand(1, 3, 20, 20)
    noise = 1e-5 if name == "dilated_context_module" else 0.5
    assert torch.allclose(graph.to_torch(seed=0)(x), x, atol=noise)


def test_every_point_of_the_spaces_binds() -> None:
    for space in (deeplab.space(size=64, deepest=(1, 1, 2, 2)), nasflow.space("deformable")):
        for seed in range(10):
            space.bind(space.sample(seed))
