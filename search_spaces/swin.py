"""Swin: attention inside windows that shift by half from block to block, in four stages.

Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021
(arXiv 2103.14030), section 3 and table 7.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, attention, dense, mlp, residual

HEAD_WIDTH = 32


def space(
    classes: int = 1000,
    size: int | tuple[int, int] = 224,
    channels: int = 3,
    patch: int = 4,
    widths: tuple[int, ...] = (96, 128, 192),
    windows: tuple[int, ...] = (7, 12),
    depths: tuple[int, ...] = (2, 2, 18, 2),
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of Swin transformers for images of ``size`` pixels, a side or (height, width).

    An image is cut into patches of ``patch`` x ``patch`` pixels. ``depths`` are the most blocks of
    each stage, in pairs: one with plain windows, one shifted. ``drop_rate`` is the last block's
    rate; the first block's is 0.
    """
    maps = stages(ir.image(channels, size), patch, widths, windows, depths, drop_rate)
    x = ir.Mean(("H", "W"))(ir.LayerNorm()(maps[-1], name="norm"))
    return ir.Space(dense(x, classes, "head"), name="swin")


def stages(
    image: ir.Value,
    patch: int,
    widths: tuple[int, ...],
    windows: tuple[int, ...],
    depths: tuple[int, ...],
    drop_rate: float,
) -> list[ir.Value]:
    """Return the map of each stage: (channels, height, width) -> (H, W, D), at every resolution.

    The settings are those of :func:`space`.
    """
    width = ir.choice("width", *widths, ordered=True)
    window = ir.choice("window", *windows, ordered=True)
    ratio = ir.choice("mlp_ratio", 2, 3, 4, ordered=True)

    x = ir.Conv2d(width, patch, patch, padding=0, init="torch")(image, name="patch_embed")
    x = ir.LayerNorm()(ir.Rearrange("c h w -> h w D=c")(x), name="patch_norm")
    counts, maps = [], []
    for stage, most in enumerate(depths, start=1):
        with ir.scope(f"stage{stage}"):
            counts.append(ir.integer("depth", 2, most, step=2))
    for stage, count in enumerate(counts):
        with ir.scope(f"stage{stage + 1}"):
            if stage:
                x = patch_merging(x)
            heads, before = width * 2**stage // HEAD_WIDTH, sum(counts[:stage])

            def block(
                x: ir.Value, i: int, heads: ir.Operand = heads, before: ir.Operand = before
            ) -> ir.Value:
                rate = drop_rate and drop_rate * (before + i) / (sum(counts) - 1)
                return swin_block(x, heads, window, ratio, rate, shifted=i % 2 == 1)

            x = ir.repeat(block, count)(x)
            maps.append(x)
    return maps


@ir.block
def patch_merging(x: ir.Value) -> ir.Value:
    """Join each 2 x 2 pixels into one of twice the width."""
    width = x.dim("D")
    x = ir.Pad((0, 0, 0, x.dim("W") % 2, 0, x.dim("H") % 2))(x)
    x = ir.Rearrange("(h p) (w q) d -> h w D=(q p d)", (("p", 2), ("q", 2)))(x)
    return dense(ir.LayerNorm()(x, name="norm"), 2 * width, "reduction", bias=False)


@ir.block
def swin_block(
    x: ir.Value,
    heads: ir.Operand,
    window: ir.Operand,
    ratio: ir.Operand,
    rate: float = 0.0,
    shifted: bool = False,
) -> ir.Value:
    y = ir.LayerNorm()(x, name="norm1")
    x = residual(x, window_attention(y, heads, window, shifted, name="attn"), rate)
    y = mlp(ir.LayerNorm()(x, name="norm2"), ratio * x.dim("D"))
    return residual(x, y, rate)


@ir.block
def window_attention(x: ir.Value, heads: ir.Operand, window: ir.Operand, shifted: bool) -> ir.Value:
    """Attend within windows; a map no higher or wider than the window is never shifted."""
    height, width = x.dim("H"), x.dim("W")
    shorter = ir.minimum(height, width)
    side = ir.minimum(window, shorter)
    shift = ir.where(shorter > window, side // 2, 0) if shifted else 0
    below, beside = (side - height % side) % side, (side - width % side) % side
    rows, columns = (height + below) // side, (width + beside) // side

    y = ir.Roll((0 - shift, 0 - shift), ("H", "W"))(x, name="shift") if shifted else x
    y = ir.Pad((0, 0, 0, beside, 0, below))(y)
    sides = (("p", side), ("q", side))
    y = ir.Rearrange("(rows p) (columns q) d -> W=(rows columns) L=(p q) d", sizes=sides)(
        y, name="windows"
    )
    bias = position_bias(heads, side)
    if shifted:
        mask = ir.ShiftedWindowMask(rows * side, columns * side, side, shift)()
        bias = ir.Add()(bias, ir.Gated(mask, shift > 0), name="masked_bias")
    y = attention(y, heads, HEAD_WIDTH, bias, axes="w")
    sides = (("rows", rows), ("p", side))
    y = ir.Rearrange("(rows columns) (p q) d -> H=(rows p) W=(columns q) d", sizes=sides)(
        y, name="map"
    )
    y = ir.Slice("W", 0, width)(ir.Slice("H", 0, height)(y, name="crop"), name="crop")
    return ir.Roll((shift, shift), ("H", "W"))(y, name="unshift") if shifted else y


def position_bias(heads: ir.Operand, side: ir.Operand) -> ir.Value:
    """Look up a bias for each head and each pair of pixels, by their relative position."""
    rows = (2 * side - 1) ** 2
    shrink = ("interpolate", "prefix")
    table = ir.Parameter(("P", "H"), (rows, heads), TRANSFORMER_INIT, shrink)(name="position_table")
    by_head = ir.Rearrange("p h -> h p")(table)
    value: ir.Value = ir.Lookup()(ir.RelativePositions(side)(), by_head, name="bias")
    return value


def _model(width: int, third: int, size: int = 224, window: int = 7) -> ir.Model:
    point = {"width": width, "window": window, "mlp_ratio": 4}
    point |= {f"stage{stage}/depth": depth for stage, depth in enumerate((2, 2, third, 2), start=1)}
    return ir.Model(point, {"size": size}, "Liu et al. (2021), section 3.3")


MODELS: dict[str, ir.Model] = {
    "swin_t_224": _model(width=96, third=6),
    "swin_s_224": _model(width=96, third=18),
    "swin_b_224": _model(width=128, third=18),
    "swin_b_384": _model(width=128, third=18, size=384, window=12),
    "swin_l_224": _model(width=192, third=18),
    "swin_l_384": _model(width=192, third=18, size=384, window=12),
}
