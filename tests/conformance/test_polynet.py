"""PolyNet beside pytorchcv's module and the figures that are printed of it."""

from __future__ import annotations

import re

import pytest
import torch
from pytorchcv.models.polynet import PolyNet
from torch import nn

import nasflow
from nasflow import ir
from search_spaces import polynet
from tests.conformance.reference import assert_counts, assert_equal_outputs

# pytorchcv's counts of the released network. Zoph et al. (2018), table 2 print 92M and 34.7 billion.
COUNTS = (95_366_600, 34_699_493_472)


def test_counts() -> None:
    assert_counts(nasflow.model("polynet"), *COUNTS)
    assert round(COUNTS[1] / 1e9, 1) == 34.7


def small(**more: int) -> ir.Graph:
    point = {**polynet.MODELS["polynet"].point, "a/depth": 1, "b/depth": 1, "c/depth": 1, **more}
    return polynet.space(size=107, classes=7, dropout=0.0, deepest=(1, 1, 1)).bind(point)


def their_name(name: str) -> str | None:
    """Return pytorchcv's name of a weight in a poly-3, whose norms stand beside their convolution."""
    stage = {"b": 2, "c": 3}.get(name[0])
    part = re.fullmatch(r"\w_blocks\.0\.poly0\.(branch|fit)(\d)_?(.*)", name)
    if stage is None or part is None:
        return None
    kind, number, rest = part.groups()
    poly = f"features.stage{stage}.unit2.poly"
    if kind == "fit":
        place = "bn" if rest.startswith("norm") else "conv"
        return f"{poly}.res_blocks.{int(number) - 1}.{place}.{rest.removeprefix('norm').strip('.')}"
    step, value = rest.split(".", 1)
    which = f".conv_list.conv{step[4]}" if number == "1" else ""
    inner = "conv.weight" if step.startswith("conv") else f"bns.{int(step[-1]) - 1}.{value}"
    return f"{poly}.pre_block.branches.branch{number}{which}.{inner}"


def test_outputs_equal_pytorchcv() -> None:
    scales = [1 - 0.075 * k for k in range(5)]
    reference = PolyNet(
        two_way_scales=[[scales[0]], [0.0, scales[2]], [0.0, scales[4]]],
        poly_scales=[[0.0], [0.0, scales[1]], [0.0, scales[3]]],
        dropout_rate=0.0,
        num_classes=7,
    )
    reference.features.final_pool = nn.AdaptiveAvgPool2d(1)
    graph = small()
    ours = graph.to_torch(seed=0).state_dict()
    names = {name: other for name in ours if (other := their_name(name))}
    assert len(names) == 2 * (4 + 4 * 3 * 5 + 3 * 6)
    assert_equal_outputs(graph, reference, torch.randn(4, 3, 107, 107), names=names)


@pytest.mark.parametrize(("kind", "order"), [("poly", 2), ("mpoly", 3), ("way", 1)])
def test_polynomials_of_one_block_share_its_convolutions(kind: str, order: int) -> None:
    """A poly of any order has the convolutions of one block; the others one block for each term."""
    modules = (("way",), (kind,), ("way",))
    space = polynet.space(size=107, classes=7, deepest=(1, 1, 1), modules=modules)
    point = {"a/depth": 1, "b/depth": 1, "c/depth": 1, "a/order1": 1, "c/order1": 1}
    params = [space.bind({**point, "b/order1": n}).params for n in (1, order)]
    before = 1152 * 128 + 128 * 160 * 7 + 160 * 192 * 7 + 1152 * 192
    norms, fit = 2 * (128 + 160 + 192 + 192), 384 * 1152 + 2 * 1152
    term = norms + fit + (0 if kind == "poly" else before)
    assert params[1] - params[0] == (order - 1) * term


def test_every_point_of_the_space_binds() -> None:
    space = polynet.space(size=107, deepest=(2, 2, 2))
    for seed in range(10):
        space.bind(space.sample(seed))
