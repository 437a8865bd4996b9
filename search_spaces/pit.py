"""PiT: a vision transformer in three stages, pooled between them by a depthwise convolution.

Heo et al., "Rethinking Spatial Dimensions of Vision Transformers", ICCV 2021 (arXiv 2103.16302),
section 3.2 and table 1.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, attention, dense, mlp, residual

EPS = 1e-6


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    patch: tuple[int, int] = (16, 8),
    heads: tuple[int, ...] = (2, 3, 4),
    head_widths: tuple[int, ...] = (32, 48, 64),
    deepest: tuple[int, ...] = (3, 6, 6),
) -> ir.Space:
    """Return the space of PiTs for square images of ``size`` pixels.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        patch: side of the patches, which overlap, and how far apart they are.
        heads: of the first stage; every stage doubles them, and the width with them.
        head_widths: features of one head.
        deepest: most blocks of each stage.
    """
    head_count = ir.choice("heads", *heads, ordered=True)
    head_width = ir.choice("head_width", *head_widths, ordered=True)
    ratio = ir.choice("mlp_ratio", 2, 3, 4, ordered=True)
    side, stride = patch
    width = head_count * head_width

    x = ir.Conv2d(width, side, stride, 0, init="torch")(
        ir.image(channels, size), name="patch_embed"
    )
    shape = (width, x.dim("H"), x.dim("W"))
    shrink = ("prefix", "interpolate", "interpolate")
    table = ir.Parameter(("C", "H", "W"), shape, TRANSFORMER_INIT, shrink)
    x = ir.Add()(x, table(name="pos_embed"))
    token = ir.Parameter(("L", "D"), (1, width), TRANSFORMER_INIT)(name="cls_token")
    for stage, most in enumerate(deepest):
        with ir.scope(f"stage{stage + 1}"):
            depth = ir.integer("depth", 1, most)
            count = head_count * 2**stage
            if stage:
                x, token = pooled(x, token)

            def block(x: ir.Value, count: ir.Operand = count) -> ir.Value:
                return encoder_block(x, count, head_width, ratio)

            rows = x.dim("H")
            tokens = ir.Rearrange("c h w -> L=(h w) D=c")(x, name="tokens")
            tokens = ir.repeat(block, depth)(ir.Concat("L")(token, tokens))
            token = ir.Slice("L", 0, 1)(tokens, name="class_token")
            x = ir.Slice("L", 1)(tokens, name="patches")
            x = ir.Rearrange("(h w) d -> C=d h w", (("h", rows),))(x, name="map")
    token = ir.Slice("L", 0, drop=True)(token, name="class_token")
    return ir.Space(dense(ir.LayerNorm(EPS)(token, name="norm"), classes, "head"), name="pit")


def pooled(x: ir.Value, token: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Halve the map and double its channels, each from one; map the class token to that width."""
    width = x.dim("C")
    x = ir.Conv2d(2 * width, 3, 2, groups=width, init="torch")(x, name="pool")
    return x, ir.Linear(2 * width)(token, name="pool_token")


@ir.block
def encoder_block(
    x: ir.Value, heads: ir.Operand, head_width: ir.Operand, ratio: ir.Operand
) -> ir.Value:
    x = residual(x, attention(ir.LayerNorm(EPS)(x, name="norm1"), heads, head_width, name="attn"))
    return residual(x, mlp(ir.LayerNorm(EPS)(x, name="norm2"), ratio * x.dim("D")))


def _model(
    heads: int, head_width: int, depths: tuple[int, ...], patch: tuple[int, int] = (16, 8)
) -> ir.Model:
    point = {"heads": heads, "head_width": head_width, "mlp_ratio": 4}
    point |= {f"stage{stage}/depth": depth for stage, depth in enumerate(depths, 1)}
    return ir.Model(point, {"patch": patch}, "Heo et al. (2021), table 1")


MODELS: dict[str, ir.Model] = {
    "pit_ti": _model(2, 32, (2, 6, 4)),
    "pit_xs": _model(2, 48, (2, 6, 4)),
    "pit_s": _model(3, 48, (2, 6, 4)),
    "pit_b": _model(4, 64, (3, 6, 4), patch=(14, 7)),
}
