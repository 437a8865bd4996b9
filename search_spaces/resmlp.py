"""ResMLP: patches exchange through one linear map; affine maps instead of norms, LayerScale.

Touvron et al., "ResMLP: Feedforward networks for image classification with data-efficient
training" (arXiv 2105.03404), section 2 and the table of alternatives to the linear exchange.
"""

from __future__ import annotations

from collections.abc import Callable

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, dense, mlp, residual


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    patches: tuple[int, ...] = (8, 14, 16),
    widths: tuple[int, ...] = (192, 384, 768),
    depths: tuple[int, int] = (6, 36),
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of ResMLPs for square images of ``size`` pixels.

    ``exchange`` is how patches communicate: by a linear map over all patches, by a 3 x 3 convolution
    (of each channel, or of each channel and then over channels), or not at all. ``drop_rate`` is
    the rate of stochastic depth of every block.
    """
    patch = ir.choice("patch", *patches, ordered=True)
    width = ir.choice("width", *widths, ordered=True)
    exchange = ir.choice("exchange", "linear", "depthwise", "separable", "none")
    ratio = ir.choice("mlp_ratio", 2, 3, 4, ordered=True)
    depth = ir.integer("depth", *depths)
    # The deeper, the smaller the start of LayerScale: section 2 and the released code.
    scale = ir.where(depth <= 18, 1e-4, ir.where(depth <= 24, 1e-5, 1e-6))

    def block(x: ir.Value) -> ir.Value:
        return resmlp_block(x, exchange, ratio, scale, size // patch, drop_rate)

    x = ir.image(channels, size)
    x = ir.Conv2d(width, patch, patch, padding=0, init=TRANSFORMER_INIT)(x, name="stem")
    x = ir.Rearrange("c h w -> L=(h w) D=c")(x)
    x = ir.repeat(block, depth)(x)
    x = ir.Mean(("L",))(ir.Affine()(x, name="norm"), name="pool")
    return ir.Space(dense(x, classes, "head"), name="resmlp")


@ir.block
def resmlp_block(
    x: ir.Value,
    exchange: ir.Operand,
    ratio: ir.Operand,
    scale: ir.Operand,
    side: ir.Operand,
    rate: float,
) -> ir.Value:
    """Exchange between the patches of a ``side`` x ``side`` grid, then transform each: (L, D)."""
    y = ir.switch(
        exchange,
        linear=linear_exchange,
        depthwise=on_the_grid(side, lambda y: depthwise(y)),
        separable=on_the_grid(side, lambda y: pointwise(depthwise(y))),
        none=lambda y: y,
    )(ir.Affine()(x, name="norm1"), name="exchange")
    x = residual(x, scaled(y, scale, "ls1"), rate)
    y = mlp(ir.Affine()(x, name="norm2"), ratio * x.dim("D"))
    return residual(x, scaled(y, scale, "ls2"), rate)


def scaled(x: ir.Value, start: ir.Operand, name: str) -> ir.Value:
    gamma = ir.Parameter(("D",), (x.dim("D"),), ("constant", start))(name=name)
    return ir.Multiply()(x, gamma)


@ir.block
def linear_exchange(x: ir.Value) -> ir.Value:
    """Map each channel's column of patches linearly."""
    y = ir.Rearrange("l d -> C=d D=l")(x, name="columns")
    return ir.Rearrange("c d -> L=d D=c")(dense(y, x.dim("L"), "linear_tokens"), name="rows")


def on_the_grid(
    side: ir.Operand, body: Callable[[ir.Value], ir.Value]
) -> Callable[[ir.Value], ir.Value]:
    """Return ``body``, which reads a map, as a function of tokens."""

    def exchange(x: ir.Value) -> ir.Value:
        y = body(ir.Rearrange("(h w) d -> C=d h w", (("h", side),))(x, name="map"))
        return ir.Rearrange("c h w -> L=(h w) D=c")(y, name="tokens")

    return exchange


def depthwise(x: ir.Value) -> ir.Value:
    channels = x.dim("C")
    return ir.Conv2d(channels, 3, groups=channels, init=TRANSFORMER_INIT)(x, name="depthwise")


def pointwise(x: ir.Value) -> ir.Value:
    return ir.Conv2d(x.dim("C"), 1, init=TRANSFORMER_INIT)(x, name="pointwise")


def _model(
    depth: int, width: int = 384, exchange: str = "linear", note: str = "", found: bool = False
) -> ir.Model:
    point = {
        "patch": 16,
        "width": width,
        "exchange": exchange,
        "mlp_ratio": 4,
        "depth": depth,
    }
    return ir.Model(point, source="Touvron et al. (2021)", reconstructed=found, note=note)


MODELS: dict[str, ir.Model] = {
    "resmlp_s12": _model(12, note="15.4 M; 15 is the paper's rounding"),
    "resmlp_s12_conv3x3": _model(
        12,
        exchange="separable",
        found=True,
        note="of 3 x 3 convolutions only the depthwise separable one meets 16.7 M and 3.2 G",
    ),
    "resmlp_s24": _model(24),
    "resmlp_s36": _model(36, note="44.7 M; 45 is the paper's rounding"),
    "resmlp_b24": _model(24, width=768),
}
