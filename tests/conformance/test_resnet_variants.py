"""Pyramidal residual networks beside pytorchcv's, BiT beside timm's; figures that papers print."""

from __future__ import annotations

import functools

import pytest
import timm
import torch
from pytorchcv.models.pyramidnet_cifar import CIFARPyramidNet
from timm.layers import GroupNormAct, StdConv2d
from timm.models.resnetv2 import ResNetV2
from torch import nn

import nasflow
from nasflow import ir
from search_spaces import resnet
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

# pytorchcv's and timm's counts. Han et al. (2017), table 4 print 1.7, 3.8, 28.3 and 26.0 million for the
# pyramids, which no port reproduces; later tables 388M and 204.6, 937M and 840.5 billion for BiT.
COUNTS = {
    "pyramidnet": (28_485_477, 4_717_983_724),
    "pyramidnet110_a48": (1_772_706, 403_813_504),
    "pyramidnet110_a84": (3_904_446, 772_168_168),
    "pyramidnet272_a200": (26_210_842, 4_488_778_176),
    "bit_r101x3_384": (387_934_888, 204_210_290_688),
    "bit_r152x4_480": (936_533_224, 839_254_016_000),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    if "bit" not in name:
        assert (graph.params, graph.macs) == COUNTS[name]
        return
    assert_counts(graph, *COUNTS[name])
    layers, side = name.removeprefix("bit_r").split("_")
    with torch.device("meta"):
        reference = timm.create_model(f"resnetv2_{layers}_bit", num_classes=1000)
    image = torch.empty(1, 3, int(side), int(side), device="meta")
    assert (parameters(reference), counted_macs(reference, image)) == COUNTS[name]


def pyramid(unit: str, alpha: int) -> ir.Graph:
    settings = {"units": (unit,), "orders": ("pyramidal",), "attentions": ("none",), "classes": 7}
    space = resnet.space(skeleton="cifar", size=16, deepest=(2, 2, 2), alphas=(alpha,), **settings)
    entry = resnet.MODELS["pyramidnet272_a200" if unit == "bottleneck" else "pyramidnet"].point
    depths = {f"stage{stage}/depth": 2 for stage in (1, 2, 3)}
    return space.bind({**entry, "alpha": alpha, **depths})


@pytest.mark.parametrize("unit", ["basic", "bottleneck"])
def test_outputs_of_pyramids(unit: str) -> None:
    expansion = 4 if unit == "bottleneck" else 1
    widths = [round(16 + 20 * k / 6) * expansion for k in range(1, 7)]  # 19, 23, 26, 29, 33, 36
    channels = [widths[:2], widths[2:4], widths[4:]]
    reference = CIFARPyramidNet(channels, 16, unit == "bottleneck", num_classes=7)
    reference.features.final_pool = nn.AdaptiveAvgPool2d(1)
    assert_equal_outputs(pyramid(unit, 20), reference)


def test_outputs_of_bit() -> None:
    settings = {
        **resnet.MODELS["bit_r101x3_384"].settings,
        "size": 64,
        "classes": 7,
        "widths": (1,),
    }
    point = {**resnet.MODELS["bit_r101x3_384"].point, "width": 1, "stem_width": 64}
    depths = {f"stage{stage}/depth": depth for stage, depth in enumerate((1, 2, 1, 1), 1)}
    graph = resnet.space(**settings).bind({**point, **depths})
    reference = ResNetV2(
        layers=(1, 2, 1, 1),
        num_classes=7,
        stem_type="fixed",
        conv_layer=functools.partial(StdConv2d, eps=1e-8),
        norm_layer=functools.partial(GroupNormAct, num_groups=32),
    )
    ours = "stage{}_first_bottleneck.shortcut_projection.weight"
    theirs = "stages.{}.blocks.0.downsample.conv.weight"
    names = {ours.format(stage): theirs.format(stage - 1) for stage in (1, 2, 3, 4)}
    assert_equal_outputs(graph, reference, names=names)


def test_every_point_of_the_spaces_binds() -> None:
    spaces = [
        resnet.space(size=64, deepest=(2, 2, 2, 2), norm="group"),
        resnet.space(skeleton="cifar", size=32, deepest=(3, 3, 3), alphas=(12, 48), drop_path=0.1),
        resnet.space(skeleton="cifar", size=32, orders=("post", "pre", "pyramidal")),
    ]
    for space in spaces:
        for seed in range(10):
            space.bind(space.sample(seed))
