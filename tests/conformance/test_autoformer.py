"""AutoFormer against the counts of its released code, and against its formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import nasflow
from tests.conformance.reference import assert_counts

# Parameters and MACs of the released code's children; its table's parameters and the paper's MACs.
COUNTS = {
    "autoformer_tiny": (5_867_944, 1_481_938_432, "5.9M"),
    "autoformer_small": (22_891_432, 5_161_400_832, "22.9M"),
    "autoformer_base": (53_691_688, 11_691_179_008, "53.7M"),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    params, macs, printed = COUNTS[name]
    assert f"{params / 1e6:.1f}M" == printed
    assert_counts(nasflow.model(name), params, macs)


def test_the_printed_macs_leave_relative_positions_out() -> None:
    graph = nasflow.model("autoformer_tiny")
    tokens, heads = 197, sum(v for k, v in point("autoformer_tiny").items() if "heads" in k)
    relative = 2 * tokens**2 * 64 * heads
    assert f"{(graph.macs - relative) / 1e9:.1f}G" == "1.3G"


def point(name: str) -> dict[str, int]:
    return dict(nasflow.discovery.models()[name][1].point)


def test_attention_is_the_formula() -> None:
    space = nasflow.space(
        "autoformer", size=48, widths=(8,), heads=(2,), ratios=(2,), depths=(1,), head_width=4, reach=1
    )  # fmt: skip
    module = space.bind(space.smallest()).to_torch(seed=0).blocks[0].attn
    for tensor in module.parameters():
        nn.init.normal_(tensor)
    x = torch.randn(1, 10, 8)
    assert torch.allclose(module(x), directly(module, x[0])[None], atol=1e-5)


def directly(module: nn.Module, x: Tensor) -> Tensor:
    """Shaw et al. (2018), equations 3 and 4, token by token; ids by AutoFormer's released rule."""
    q, k, v = module.qkv(x).reshape(10, 3, 2, 4).unbind(1)
    tables = {"k": (module.relative_k_v, module.relative_k_h)}
    tables["v"] = (module.relative_v_v, module.relative_v_h)

    def positions(kind: str, i: int, j: int) -> Tensor:
        if 0 in (i, j):
            return tables[kind][0][0] + tables[kind][1][0]
        (y, x), (b, a) = divmod(i - 1, 3), divmod(j - 1, 3)
        row, column = (max(-1, min(1, d)) + 2 for d in (b - y, a - x))
        return tables[kind][0][row] + tables[kind][1][column]

    out = torch.zeros(10, 2, 4)
    for h in range(2):
        for i in range(10):
            scores = torch.stack([q[i, h] @ (k[j, h] + positions("k", i, j)) for j in range(10)])
            share = (scores / 2).softmax(0)
            out[i, h] = sum(share[j] * (v[j, h] + positions("v", i, j)) for j in range(10))
    return module.proj(out.flatten(1))


@pytest.mark.parametrize("scale", ["tiny", "small", "base"])
def test_the_space_holds_what_it_should(scale: str) -> None:
    space = nasflow.space("autoformer", scale=scale, classes=10)
    block = {"tiny": 2 * 2, "small": 3 * 3, "base": 3 * 3}[scale]
    depths = {"tiny": (12, 13, 14), "small": (12, 13, 14), "base": (14, 15, 16)}[scale]
    assert space.size == 3 * sum(block**depth for depth in depths)
