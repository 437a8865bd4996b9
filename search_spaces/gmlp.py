"""gMLP: an MLP whose hidden features gate each other through a linear map over patches.

Liu et al., "Pay Attention to MLPs", NeurIPS 2021 (arXiv 2105.08050), section 2 and table 1.
"""

from __future__ import annotations

from typing import Any

from nasflow import ir
from nasflow.ir.blocks import residual

EPS = 1e-6


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    patches: tuple[int, ...] = (16, 32),
    widths: tuple[int, ...] = (128, 256, 512),
    depths: tuple[int, int] = (6, 30),
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of gMLPs for square images of ``size`` pixels.

    ``drop_rate`` is the last block's rate of stochastic depth; the first block's is 0.
    """
    patch = ir.choice("patch", *patches, ordered=True)
    width = ir.choice("width", *widths, ordered=True)
    ratio = ir.choice("ratio", 2, 4, 6, ordered=True)
    depth = ir.integer("depth", *depths)

    def block(x: ir.Value, i: int, n: ir.Operand) -> ir.Value:
        return gmlp_block(x, ratio, drop_rate and drop_rate * i / ir.maximum(n - 1, 1))

    x = ir.image(channels, size)
    x = ir.Conv2d(width, patch, patch, padding=0, init="lecun_normal")(x, name="stem")
    x = ir.Rearrange("c h w -> L=(h w) D=c")(x)
    x = ir.repeat(block, depth)(x)
    x = ir.Mean(("L",))(ir.LayerNorm(EPS)(x, name="norm"), name="pool")
    return ir.Space(ir.Linear(classes, init="zeros")(x, name="head"), name="gmlp")


@ir.block
def gmlp_block(x: ir.Value, ratio: ir.Operand, rate: ir.Operand) -> ir.Value:
    """Expand the channels, gate half of them by the other half, project back: (L, D) -> the same."""
    width = x.dim("D")
    start: dict[str, Any] = {"init": "xavier_uniform", "bias_init": ("normal", 1e-6)}
    y = ir.Linear(ratio * width, **start)(ir.LayerNorm(EPS)(x, name="norm"), name="fc1")
    y = spatial_gating_unit(ir.Activation("gelu")(y, name="act"))
    return residual(x, ir.Linear(width, **start)(y, name="fc2"), rate)


@ir.block
def spatial_gating_unit(x: ir.Value) -> ir.Value:
    """Multiply half of the channels by a linear map over patches of the other half (equation 2).

    The map starts as nothing and its bias as 1, so that at first the unit passes one half through.
    """
    u, v = ir.Split(2, "D")(x)
    v = ir.Rearrange("l d -> d l")(ir.LayerNorm()(v, name="norm"), name="columns")
    v = ir.Linear(x.dim("L"), init=("normal", 1e-6), bias_init="ones")(v, name="proj")
    return ir.Multiply()(u, ir.Rearrange("d l -> l d")(v, name="rows"))


def _model(width: int, note: str = "") -> ir.Model:
    point = {"patch": 16, "width": width, "ratio": 6, "depth": 30}
    return ir.Model(point, source="Liu et al. (2021), table 1", note=note)


_NOTE = "the released model counts 2 to 6 % below the paper's figures"

MODELS: dict[str, ir.Model] = {
    "gmlp_ti": _model(128, _NOTE),
    "gmlp_s": _model(256, _NOTE),
    "gmlp_b": _model(512),
}
