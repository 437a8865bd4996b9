"""PNASNet and AmoebaNet, points of NASNet's space: beside timm's module and the printed figures."""

from __future__ import annotations

import re

import pytest
import torch

import nasflow
from nasflow.lower import to_torch
from search_spaces import nasnet
from tests.conformance.reference import assert_counts, assert_equal_outputs

# Exact counts; what the papers print is in the comment. The large PNASNet's equal timm's, and
# AmoebaNet's equal those of the released specifications.
COUNTS = {
    "pnasnet5_cifar": (3_189_082, 574_891_392),  # 3.2M
    "pnasnet5_mobile": (5_064_487, 587_293_200),  # 5.1M, 588M
    "pnasnet5_large": (86_057_668, 24_937_395_792),  # 86.1M, 25.0B
    "amoebanet_a": (86_718_797, 23_133_663_507),  # 86.7M, 23.1B
    "amoebanet_b_gpipe": (557_277_864, 298_794_036_064),  # 557M
    "amoebanet_c": (155_272_667, 41_129_488_875),  # 155.3M, 41.1B
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    assert (graph.params, graph.macs) == COUNTS[name]


@pytest.mark.parametrize("name", ["pnasnet5_mobile", "pnasnet5_large", "amoebanet_a"])
def test_counts_on_the_lowered_module(name: str) -> None:
    assert_counts(nasflow.model(name), *COUNTS[name])


def _theirs(name: str) -> str:
    """Return timm's name of one of our tensors."""
    strided = {"stem0": "cell_stem_0", "stem1": "cell_stem_1"}
    strided |= {"reduction1": "cell_4", "reduction2": "cell_8"}
    name = re.sub(r"^(stem\d|reduction\d)_normal\.", lambda m: f"{strided[m[1]]}.", name)
    first = (0, 5, 9)
    name = re.sub(r"^stage(\d)\.(\d)", lambda m: f"cell_{first[int(m[1])] + int(m[2])}", name)
    name = re.sub(r"block(\d)_(left|right)_\w+\.", r"comb_iter_\1_\2.", name)
    name = re.sub(r"part(\d)_norm", r"bn_sep_\1", name)
    name = re.sub(r"part(\d)_(\w+)\.", r"separable_\1.\2_conv2d.", name)
    for ours, timm in (
        ("fit_halve.factorised_reduction.even", "conv_prev_1x1.path_1.conv"),
        ("fit_halve.factorised_reduction.odd", "conv_prev_1x1.path_2.conv"),
        ("fit_halve.factorised_reduction.norm", "conv_prev_1x1.final_path_bn"),
        ("fit_project.", "conv_prev_1x1."),
        ("squeeze.", "conv_1x1."),
        ("match.project", "conv"),
        ("match.norm", "bn"),
        ("stem_conv", "conv_0.conv"),
        ("stem_norm", "conv_0.bn"),
        ("classifier", "last_linear"),
    ):
        name = name.replace(ours, timm)
    return re.sub(r"(conv_prev_1x1|conv_1x1|comb_iter_\d_right)\.norm", r"\1.bn", name)


def test_outputs_equal_timm() -> None:
    from timm.models.pnasnet import PNASNet5Large

    entry = nasnet.MODELS["pnasnet5_large"]
    space = nasnet.space(**{**entry.settings, "size": 75, "classes": 7})
    graph = space.bind({**entry.point, "resolution": 75})
    reference = PNASNet5Large(num_classes=7, pad_type="same")
    ours = to_torch(graph, device="meta").state_dict()
    names = {name: _theirs(name) for name in ours}
    assert_equal_outputs(graph, reference, torch.randn(4, 3, 75, 75), names=names)


def test_every_point_of_the_space_binds() -> None:
    space = nasnet.space(operations="amoebanet", repeats=1, filters=8)
    for seed in range(20):
        space.bind(space.sample(seed))
