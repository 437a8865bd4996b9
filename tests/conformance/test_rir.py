"""ResNet in ResNet beside pytorchcv's module."""

from __future__ import annotations

import torch
from pytorchcv.models.rir_cifar import CIFARRiR, rir_cifar10
from torch import nn

import nasflow
from search_spaces import rir
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

COUNTS = (9_492_980, 1_279_279_104)  # pytorchcv's; Targ et al. (2016), table 2 print 10.3M


def test_counts() -> None:
    assert_counts(nasflow.model("resnet_in_resnet"), *COUNTS)
    reference, image = rir_cifar10(), torch.empty(1, 3, 32, 32)
    assert (parameters(reference), counted_macs(reference, image)) == COUNTS


def their_name(name: str) -> str | None:
    """Return pytorchcv's name of a weight of ours in a block."""
    stage, _, rest = name.partition("_")
    if not stage.startswith("stage"):
        return None
    place, rest = rest.removeprefix("blocks.").split(".", 1)
    unit = 1 if place == "first" else 2
    convs = {
        "residual": "res_pass_conv",
        "transient": "trans_pass_conv",
        "to_transient": "res_cross_conv",
        "to_residual": "trans_cross_conv",
        "project": "identity_conv",
        "residual_norm": "res_postactiv.bn",
        "transient_norm": "trans_postactiv.bn",
    }
    part, value = rest.rsplit(".", 1)
    return f"features.{stage}.unit{unit}.{convs[part]}.{value}"


def test_outputs_equal_pytorchcv() -> None:
    widths = [[8, 8], [16, 16], [32, 32]]
    reference = CIFARRiR(widths, 8, 64, num_classes=7)
    reference.output.final_pool = nn.AdaptiveAvgPool2d(1)
    depths = {f"stage{stage}/depth": 2 for stage in (1, 2, 3)}
    space = rir.space(classes=7, widths=(8,), deepest=(2, 2, 2))
    graph = space.bind({"width": 8, **depths})
    names = {n: other for n in graph.to_torch(seed=0).state_dict() if (other := their_name(n))}
    assert_equal_outputs(graph, reference, names=names)


def test_every_point_of_the_space_binds() -> None:
    space = rir.space(deepest=(2, 3, 2))
    for seed in range(10):
        space.bind(space.sample(seed))
