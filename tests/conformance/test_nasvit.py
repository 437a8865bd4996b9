"""NASViT's children against the counts of its released supernet, and against print."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import nasflow
from nasflow import discovery
from tests.conformance.reference import assert_counts, relative_error

# Millions of MACs as Gong et al. (2022), table 2, print them.
PRINTED = {"a0": 208, "a1": 309, "a2": 421, "a3": 528, "a4": 591, "a5": 757, "supernet": 1881}


@pytest.mark.parametrize("name", PRINTED)
def test_children_have_the_printed_macs(name: str) -> None:
    graph = nasflow.model(f"nasvit_{name}")
    assert graph.macs // 10**6 == PRINTED[name]
    assert discovery.models()[f"nasvit_{name}"][1].reconstructed == (name != "supernet")


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    # MACs of the released code's smallest and biggest children.
    [("smallest", 8_237_184, 189_789_040), ("supernet", 16_681_734, 1_881_708_502)],
)
def test_counts(name: str, params: int, macs: int) -> None:
    assert_counts(nasflow.model(f"nasvit_{name}"), params, macs)


def small() -> nasflow.ir.Space:
    return nasflow.space(
        "nasvit", sizes=(16, 24), classes=5, stems=(8,), features=(16,),
        stages=[[[8], [1], [3], [1], 2, False]],
        attention_stages=[[[16, 24], [2, 3], [3], [4], 1, True]],
    )  # fmt: skip


def test_a_block_is_what_the_released_code_computes() -> None:
    space = small()
    module = space.bind(space.smallest()).to_torch(seed=0).stage2_blocks[0]
    for tensor in module.parameters():
        nn.init.normal_(tensor, std=0.5)
    x = torch.randn(2, 16, 4, 4)
    with torch.no_grad():
        assert relative_error(module(x), directly(module, x)) < 1e-5


def directly(block: nn.Module, x: Tensor) -> Tensor:
    """A transformer block in the order of the paper's figure and the released code."""
    batch, width, side, _ = x.shape
    attention, scale = block.attention, 8 / width

    def norm(x: Tensor, layer: nn.GroupNorm) -> Tensor:
        mean, var = x.mean((1, 2, 3), keepdim=True), x.var((1, 2, 3), keepdim=True, correction=0)
        return (x - mean) / (var + layer.eps).sqrt() * layer.weight[:, None, None] + layer.bias[:, None, None]  # fmt: skip # noqa: E501

    def heads(x: Tensor, features: int) -> Tensor:
        return x.reshape(batch, width // 8, features, side * side).transpose(-2, -1)

    y = norm(x, block.norm1)
    q, k = heads(attention.q(y), 8) * 8**-0.5, heads(attention.k(y), 8)
    v = heads(attention.v_conv(attention.v(y)), 32)
    pixels = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    apart = pixels[:, None] - pixels + side - 1
    bias = attention.position_table[apart[..., 0], apart[..., 1]].permute(2, 0, 1)
    scores = attention.talk((q @ k.mT + bias).permute(0, 2, 3, 1)).softmax(2)
    scores = attention.talk_again(scores).permute(0, 3, 1, 2)
    y = (scores @ v).transpose(-2, -1).reshape(batch, 4 * width, side, side)
    first, second = scales(block)
    x = x + attention.proj(nn.functional.silu(y)) * first * scale
    for layer, mlp in ((block.norm3, block.mlp2), (block.norm2, block.mlp1)):
        y = mlp.fc2(nn.functional.silu(mlp.fc1(norm(x, layer))))
        x = x + y * second * scale
    return x


def scales(block: nn.Module) -> tuple[Tensor, Tensor]:
    named = dict(block.named_parameters())
    (first,) = (v for k, v in named.items() if k.startswith("attention_scale"))
    (second,) = (v for k, v in named.items() if k.startswith("mlp_scale"))
    return first, second


def test_scales_are_kept_for_each_depth_and_resolution() -> None:
    space = small()
    names = [name for name, _ in space.to_supernet().named_parameters() if "mlp_scale" in name]
    # Two depths, and a number of pixels that is 0, 1 or 4 modulo 8; at most two blocks.
    assert len(names) == 2 * 2 * 3


def test_children_of_one_depth_and_resolution_share_scales() -> None:
    space = small()
    net = space.to_supernet()
    taken = {}
    for side in (16, 24):
        for depth in (2, 3):
            for width in (16, 24):
                point = {"resolution": side, "stage2/depth": depth, "stage2/width": width}
                uses = [use for _, use in net.at(space.complete(point)).uses()]
                names = {n for use in uses for n, _ in use.takes.values() if "mlp_scale" in n}
                taken[side, depth, width] = names
    assert all(len(names) == depth - 1 for (_, depth, _), names in taken.items())
    assert taken[16, 3, 16] == taken[16, 3, 24] != taken[24, 3, 24]
    assert not taken[16, 2, 16] & taken[16, 3, 16]
