"""PoolFormer and the ablations of MetaFormer against timm, whose frame takes any token mixer.

Only where the last norm stands is timm not the released code: there it comes before the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
import timm
import torch
from timm.models.metaformer import Attention, MetaFormer, Pooling
from torch import Tensor, nn

import nasflow
from nasflow import ir
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

IMAGE = 64  # side, so that the four stages have 16, 8, 4 and 2 pixels a side
DIMS = (32, 64, 96, 128)
POOL = ("pool3",) * 4
S12 = (11915176, 1812267008)
FROZEN = 21133602  # entries of the random matrices


@pytest.mark.parametrize("size", ["s12", "s24", "s36", "m36", "m48"])
def test_poolformer_counts(size: str) -> None:
    with torch.device("meta"):
        reference = timm.create_model(f"poolformer_{size}")
        image = torch.empty(1, 3, 224, 224)
    graph = nasflow.model(f"poolformer_{size}")
    assert_counts(graph, parameters(reference), counted_macs(reference, image))


ABLATIONS = {
    "identity": S12,
    "randmatrix": (S12[0], 3304651776),
    "dwconv": (11945128, 1821524480),
    **dict.fromkeys(("pool5", "pool7", "pool9", "layernorm", "batchnorm"), S12),
    **dict.fromkeys(("relu", "silu", "noresidual"), S12),
    "nonorm": (11901864, S12[1]),
    # Without its branch: 8 d^2 + 5 d of the MLP, 2 d of the norm and d of LayerScale in 12 blocks.
    "nomlp": (S12[0] - 9437184 - 8 * 3328, 232325120),
    # The released metaformer_pppa_s12_224, ppaa, pppf and ppff.
    "ppp_attn": (S12[0] + 2 * (4 * 512**2 + 512) + 49 * 512, None),
    "pp_attn_attn": (16535592, 2549151744),
    "ppp_spatialfc": (11919978, 1814725632),
    "pp_spatialfc_spatialfc": (11919978 + 6 * 196**2, 1814725632 + 6 * 196**2 * 320),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation_counts(name: str) -> None:
    graph = nasflow.model(f"metaformer_s12_{name}")
    params, macs = ABLATIONS[name]
    assert_counts(graph, params, macs or graph.macs)


def test_random_matrices_are_frozen() -> None:
    module = nasflow.model("metaformer_s12_randmatrix").to_torch()
    assert sum(b.numel() for name, b in module.named_buffers() if "random" in name) == FROZEN
    assert not any("random" in name for name, _ in module.named_parameters())


# -- outputs --------------------------------------------------------------------------------------


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SpatialFc(nn.Module):
    def __init__(self, dim: int, sides: dict[int, int], **_: object) -> None:
        super().__init__()
        self.fc = nn.Linear(sides[dim] ** 2, sides[dim] ** 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(2)).view_as(x)


class RandomMixing(nn.Module):
    def __init__(self, dim: int, sides: dict[int, int], **_: object) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.rand(sides[dim] ** 2, sides[dim] ** 2))

    def forward(self, x: Tensor) -> Tensor:
        mixed = torch.einsum("ts,bcs->bct", self.matrix.softmax(-1), x.flatten(2))
        return mixed.view_as(x)


class Identity(nn.Identity):
    """One that timm may give a width."""


class Depthwise(nn.Conv2d):
    def __init__(self, dim: int, **_: object) -> None:
        super().__init__(dim, dim, 3, padding=1, groups=dim, bias=False)


SIDES = dict(zip(DIMS, (16, 8, 4, 2), strict=True))
MIXERS = {
    "pool3": Pooling,
    "identity": Identity,
    "depthwise": Depthwise,
    "attention": Attention,
    "spatial_fc": type(
        "Fc", (SpatialFc,), {"__init__": lambda s, dim, **_: SpatialFc.__init__(s, dim, SIDES)}
    ),
    "random": type(
        "Mix",
        (RandomMixing,),
        {"__init__": lambda s, dim, **_: RandomMixing.__init__(s, dim, SIDES)},
    ),
    "pool7": type("Pool7", (Pooling,), {"__init__": lambda s, **_: Pooling.__init__(s, 7)}),
}
NORMS = {
    "modified": partial(nn.GroupNorm, 1),
    "layer": LayerNorm2d,
    "batch": nn.BatchNorm2d,
    "none": lambda dim, **_: nn.Identity(),
}


class Released(nn.Module):
    """timm's frame with the head of the released code: the norm, then the mean."""

    def __init__(self, mixers: Sequence[str], norm: str, act: type[nn.Module]) -> None:
        super().__init__()
        frame = MetaFormer(
            num_classes=10,
            depths=(1, 2, 1, 1),
            dims=DIMS,
            token_mixers=[MIXERS[name] for name in mixers],
            mlp_act=act,
            mlp_bias=True,
            downsample_norm=None,
            norm_layers=[NORMS[norm] if m != "attention" else nn.LayerNorm for m in mixers],
            layer_scale_init_values=0.1,
            res_scale_init_values=None,
            use_mlp_head=False,
        )
        for stage, mixer in zip(frame.stages, mixers, strict=True):
            if mixer == "attention":  # timm's projection has no bias
                for block in stage.blocks:
                    width = block.token_mixer.proj.in_features
                    block.token_mixer.proj = nn.Linear(width, width)
        self.stem, self.stages = frame.stem, frame.stages
        self.norm = NORMS["modified" if norm == "none" else norm](DIMS[-1])
        self.fc = frame.head.fc

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.stages(self.stem(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def small() -> ir.Space:
    widths = tuple((width,) for width in DIMS)
    return nasflow.space("metaformer", classes=10, size=IMAGE, widths=widths, deepest=(2, 2, 2, 2))


CASES = [
    (POOL, "modified", "gelu"),
    (("pool7", "identity", "depthwise", "pool3"), "batch", "relu"),
    (("pool3", "random", "spatial_fc", "pool3"), "none", "silu"),
    (("pool3", "pool3", "attention", "attention"), "layer", "gelu"),
]


@pytest.mark.parametrize(("mixers", "norm", "activation"), CASES)
def test_outputs(small: ir.Space, mixers: Sequence[str], norm: str, activation: str) -> None:
    act = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}[activation]
    point = {"norm": norm, "residual": True, "channel_mlp": activation}
    for stage, (width, depth, mixer) in enumerate(zip(DIMS, (1, 2, 1, 1), mixers, strict=True), 1):
        chosen = {"depth": depth, "width": width, "mixer": mixer}
        point |= {f"stage{stage}/{name}": value for name, value in chosen.items()}
    graph = small.bind(point)
    reference = Released(mixers, norm, act)
    # A module's bare tensors stand before the modules in it; timm has modules of the scales.
    ours, theirs = graph.to_torch().state_dict(), reference.state_dict()
    names = {}
    for mine, other in (("random_matrix", "matrix"), ("layer_scale", ".scale")):
        ends = [name for name in theirs if name.endswith(other)]
        names |= dict(zip([n for n in ours if mine in n], ends, strict=True))
    assert_equal_outputs(graph, reference, names=names)


def test_positions_residuals_and_mlps_can_be_left_out(small: ir.Space) -> None:
    point = small.sample(0) | {"residual": True, "channel_mlp": "none"}
    plain = small.bind(point)
    assert small.bind(point | {"residual": False}).params == plain.params
    assert small.bind(point | {"stage3/position": True}).params == plain.params + 96 * 4 * 4


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("metaformer", size=64, classes=10, deepest=(2, 2, 2, 2))
    # norm, residual, channel_mlp; in each stage depth, width and mixer
    assert space.size == 4 * 2 * 4 * (2 * 2 * 9) ** 4
