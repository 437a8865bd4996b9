"""HaloNets against timm's modules and the paper's table 2."""

from __future__ import annotations

import pytest
import torch
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from torch import nn

import nasflow
from search_spaces import halonet
from tests.conformance.reference import assert_counts, assert_equal_outputs, counted_macs


def reference(depths: tuple[int, ...], ratio: int) -> ByobNet:
    """Return timm's halonet_h1 with other depths and blocks of 2; every stage has eight heads."""
    blocks = tuple(
        ByoBlockCfg("self_attn", depth, (64 * ratio) << stage, 2 if stage else 1, 0, 1 / ratio)
        for stage, depth in enumerate(depths)
    )
    attention = {"self_attn_layer": "halo", "self_attn_kwargs": {"block_size": 2, "halo_size": 1}}
    stem = {"stem_chs": 64, "stem_type": "7x7", "stem_pool": "maxpool"}
    return ByobNet(ByoModelCfg(blocks, **stem, **attention), num_classes=10)


def tables(module: nn.Module) -> list[str]:
    return [name for name in module.state_dict() if name.endswith("_rel")]


@pytest.mark.parametrize(("depths", "ratio"), [((1, 2, 1, 1), 1), ((1, 1, 1, 1), 2)])
def test_outputs(depths: tuple[int, ...], ratio: int) -> None:
    space = nasflow.space("halonet", size=64, classes=10, heads=(8,) * 4, blocks=(2,))
    point = halonet._point(2, 1, 1, ratio, 1, 0)
    point |= {f"stage{stage}/depth": depth for stage, depth in enumerate(depths, 1)}
    graph, theirs = space.bind(point), reference(depths, ratio)
    names = dict(zip(tables(graph.to_torch()), tables(theirs), strict=True))
    assert_equal_outputs(graph, theirs, torch.randn(2, 3, 64, 64), names=names)
    assert graph.params == sum(p.numel() for p in theirs.parameters())
    assert graph.macs == counted_macs(theirs, torch.randn(1, 3, 64, 64))


def test_attention_in_the_last_stages_only() -> None:
    space = nasflow.space("halonet", size=64, classes=10, widths=(16,), blocks=(2,))
    point = halonet._point(2, 1, 2.5, 1, 1, 1024, width=16, convolutions=2)
    module = space.bind(point).to_torch(seed=0)
    assert module(torch.randn(2, 3, 64, 64)).shape == (2, 10)


# Parameters and multiply-adds. The former agree to the digit with those that a public implementation
# of table 2 prints (keras_cv_attention_models).
COUNTS = {
    "halonet_h0": (5_502_248, 2_352_932_864, 5.5),
    "halonet_h1": (8_101_352, 2_988_232_704, 8.1),
    "halonet_h2": (9_405_608, 3_312_763_904, 9.4),
    "halonet_h3": (11_842_792, 6_179_532_800, 11.8),
    "halonet_h4": (19_103_464, 11_998_447_616, 19.1),
    "halonet_h5": (30_718_952, 32_246_239_232, 30.7),
    "halonet_h6": (43_458_280, 52_787_113_984, 43.4),
    "halonet_h7": (67_434_728, 121_540_608_000, 67.4),
    "halonet_h4_base128_conv12": (69_833_768, 42_231_793_664, None),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    params, macs, printed = COUNTS[name]
    graph = nasflow.model(name)
    assert (graph.params, graph.macs) == (params, macs)
    assert printed is None or int(params / 1e5) / 10 == printed
    if name == "halonet_h0":
        assert_counts(graph, params, macs)


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("halonet", deepest=(2, 2, 2, 2)).verify()
    attending = (2 * 2) ** 4 - 2**4  # blocks and halos are decided where a stage attends
    assert space.size == 2 * 5 * 8 * 5 * (attending * 2 * 4 + 2**4)
