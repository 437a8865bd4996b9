"""Context Cluster against the released code's counts, and its mixing read off section 3.2."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import nasflow
from nasflow import ir
from nasflow.ir.trace import source
from tests.conformance.reference import assert_counts, relative_error

# Counted on the released code (ma-xu/Context-Cluster). The paper prints them in units of 2^20 and 2^30.
COUNTS = {
    "coc_tiny2": (5_570_584, 1_112_094_720, 5.3, 1.0),
    "coc_small": (14_657_024, 2_773_940_224, 14.0, 2.6),
    "coc_medium": (29_290_520, 5_893_081_088, 27.9, 5.5),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    params, macs, printed_params, printed_macs = COUNTS[name]
    assert_counts(nasflow.model(name), params, macs)
    assert round(params / 2**20, 1) == printed_params
    assert round(macs / 2**30, 1) == printed_macs


def clustered(points: Tensor, values: Tensor, centres: Tensor, gathered: Tensor) -> Tensor:
    """Do for one region and one head what section 3.2 says, point by point."""
    scale, offset = 1.5, -0.25
    members: dict[int, list[tuple[int, Tensor]]] = {m: [] for m in range(len(centres))}
    for n, point in enumerate(points):
        cosines = torch.stack([point @ c / (point.norm() * c.norm()) for c in centres])
        likeness = torch.sigmoid(scale * cosines + offset)
        members[int(likeness.argmax())].append((n, likeness.max()))
    out = torch.zeros_like(values)
    for m, found in members.items():
        total = gathered[m] + sum(s * values[n] for n, s in found)
        average = total / (1 + sum(s for _, s in found))
        for n, s in found:
            out[n] = s * average
    return out


def test_clusters_exchange_as_in_the_paper() -> None:
    shapes = ((3, 10, 4), (3, 10, 5), (3, 2, 4), (3, 2, 5))
    inputs = [source(f"x{i}", ("E", "L", "D"), s, "float") for i, s in enumerate(shapes)]
    scale = ir.Parameter(("A",), (1,), ("constant", 1.5))(name="scale")
    offset = ir.Parameter(("A",), (1,), ("constant", -0.25))(name="offset")
    graph = ir.Space(ir.Cluster()(*inputs, scale, offset), name="cluster").bind({})
    torch.manual_seed(0)
    x = [torch.randn(2, *shape, dtype=torch.float64) for shape in shapes]
    ours = graph.to_torch(seed=0).double()(*x)
    for sample in range(2):
        for region in range(3):
            expected = clustered(*(part[sample, region] for part in x))
            assert relative_error(ours[sample, region], expected) < 1e-12


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("context_cluster", size=224, classes=10, deepest=(1, 2, 1, 1)).verify()
    choices = 2 * 2 * 2  # width, heads and mlp_ratio of each stage
    assert space.size == 2 * choices**4 * 2 * (3 * 2) * (3 * 1) * (3 * 2) * (1 * 2)
