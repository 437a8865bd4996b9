"""ResMLP against timm."""

from __future__ import annotations

import pytest
import torch
from timm.models.mlp_mixer import Affine, MlpMixer, ResBlock
from torch import nn

import nasflow
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

TIMM = {"resmlp_s12": (12, 384), "resmlp_s24": (24, 384), "resmlp_s36": (36, 384)}
TIMM["resmlp_b24"] = (24, 768)


def resmlp(**settings: object) -> MlpMixer:
    return MlpMixer(block_layer=ResBlock, norm_layer=Affine, **settings)


@pytest.mark.parametrize("name", TIMM)
def test_counts(name: str) -> None:
    depth, width = TIMM[name]
    with torch.device("meta"):
        reference = resmlp(num_blocks=depth, embed_dim=width, mlp_ratio=4)
        image = torch.empty(1, 3, 224, 224)
    assert_counts(nasflow.model(name), parameters(reference), counted_macs(reference, image))


class Grid(nn.Module):
    """Convolve columns of patches, (B, D, 16), as 4 x 4 maps."""

    def __init__(self, *convolutions: nn.Module) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(*convolutions)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolutions(x.unflatten(2, (4, 4))).flatten(2)


def mixing(exchange: str) -> nn.Module:
    depthwise = nn.Conv2d(48, 48, 3, padding=1, groups=48)
    pointwise = [nn.Conv2d(48, 48, 1)] if exchange == "separable" else []
    return nn.Identity() if exchange == "none" else Grid(depthwise, *pointwise)


@pytest.mark.parametrize("exchange", ["linear", "depthwise", "separable", "none"])
def test_outputs(exchange: str) -> None:
    space = nasflow.space("resmlp", size=32, classes=10, patches=(8,), widths=(48,), depths=(1, 4))
    point = {"patch": 8, "width": 48, "exchange": exchange, "mlp_ratio": 3, "depth": 2}
    settings = {"patch_size": 8, "num_blocks": 2, "embed_dim": 48, "mlp_ratio": 3}
    reference = resmlp(num_classes=10, img_size=32, **settings)
    if exchange != "linear":
        for block in reference.blocks:
            block.linear_tokens = mixing(exchange)
    graph = space.bind(point)
    # timm registers a block's scales before everything else of it.
    ours = [name for name in graph.to_torch().state_dict() if "ls1" in name or "ls2" in name]
    theirs = [name for name in reference.state_dict() if name.endswith(("ls1", "ls2"))]
    assert_equal_outputs(graph, reference, names=dict(zip(ours, theirs, strict=True)))


def test_the_separable_exchange_meets_the_printed_figures() -> None:
    graph = nasflow.model("resmlp_s12_conv3x3")
    assert round(graph.params / 1e6, 1) == 16.7
    assert round(graph.macs / 1e9, 1) == 3.2


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("resmlp", size=32, classes=10, patches=(8, 16)).verify()
    assert space.size == 2 * 3 * 4 * 3 * 31  # patch, width, exchange, mlp_ratio, depth
