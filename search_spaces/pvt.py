"""PVT: a pyramid of four transformer stages whose keys and values come from a shrunken map.

Wang et al., "Pyramid Vision Transformer", ICCV 2021 (arXiv 2102.12122), section 3 and table 1.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, dense, mlp, residual

HEADS = (1, 2, 5, 8)  # of each stage; a stage's width is that many times the first stage's
EPS = 1e-6


def space(
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    patches: tuple[int, int, int, int] = (4, 2, 2, 2),
    widths: tuple[int, ...] = (32, 64),
    deepest: tuple[int, int, int, int] = (3, 8, 27, 3),
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of PVTs for square images of ``size`` pixels.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        patches: side of the patches that each stage cuts its input into.
        widths: of the first stage.
        deepest: most blocks of each stage.
        drop_rate: of the last block; the first block's is 0.
    """
    width = ir.choice("width", *widths, ordered=True)
    depths, ratios, reductions = [], [], []
    for stage, most in enumerate(deepest, start=1):
        with ir.scope(f"stage{stage}"):
            depths.append(ir.integer("depth", 1, most))
            ratios.append(ir.choice("mlp_ratio", 4, 8, ordered=True))
            if stage < len(deepest):  # the last stage's class token has no place on a map
                options = [2**i for i in range(len(deepest) - stage + 1)]  # deeper maps are smaller
                reductions.append(ir.choice("reduction", *options, ordered=True))

    x = ir.image(channels, size)
    for stage, (depth, ratio, heads) in enumerate(zip(depths, ratios, HEADS, strict=True)):
        last = stage == len(depths) - 1
        with ir.scope(f"stage{stage + 1}"):
            rows = None if last else x.dim("H") // patches[stage]
            x = patch_embedding(x, heads * width, patches[stage], with_class_token=last)

            shape = (heads, ratio, 1 if last else reductions[stage], rows)
            before = sum(depths[:stage])

            def block(
                x: ir.Value,
                i: int,
                shape: tuple[ir.Operand, ...] = shape,
                before: ir.Operand = before,
            ) -> ir.Value:
                rate = drop_rate and drop_rate * (before + i) / ir.maximum(sum(depths) - 1, 1)
                return encoder_block(x, *shape, rate)

            x = ir.repeat(block, depth)(x)
            if not last:
                x = ir.Rearrange("(h w) d -> C=d h w", (("h", rows),))(x, name="map")
    x = ir.LayerNorm(EPS)(ir.Slice("L", 0, drop=True)(x, name="class_token"), name="norm")
    return ir.Space(dense(x, classes, "head"), name="pvt")


def patch_embedding(x: ir.Value, width: ir.Operand, patch: int, with_class_token: bool) -> ir.Value:
    """Cut a map into patches as tokens and add positions: (C, H, W) -> (L, width)."""
    x = ir.Conv2d(width, patch, patch, padding=0, init="torch")(x, name="patch_embed")
    tokens = ir.LayerNorm()(ir.Rearrange("c h w -> L=(h w) D=c")(x), name="patch_norm")
    if with_class_token:
        token = ir.Parameter(("L", "D"), (1, width), TRANSFORMER_INIT)(name="cls_token")
        tokens = ir.Concat("L")(token, tokens)
    shape = (tokens.dim("L"), width)
    table = ir.Parameter(("L", "D"), shape, TRANSFORMER_INIT, shrink=("interpolate", "prefix"))
    return ir.Add()(tokens, table(name="pos_embed"))


@ir.block
def encoder_block(
    x: ir.Value,
    heads: ir.Operand,
    ratio: ir.Operand,
    reduction: ir.Operand,
    rows: ir.Operand,
    rate: ir.Operand,
) -> ir.Value:
    y = reduced_attention(ir.LayerNorm(EPS)(x, name="norm1"), heads, reduction, rows, name="attn")
    x = residual(x, y, rate)
    return residual(x, mlp(ir.LayerNorm(EPS)(x, name="norm2"), ratio * x.dim("D")), rate)


@ir.block
def reduced_attention(
    x: ir.Value, heads: ir.Operand, reduction: ir.Operand, rows: ir.Operand
) -> ir.Value:
    """Let each token attend to a map ``reduction`` times smaller on each side: (L, D) -> the same.

    ``rows`` are those of the map that the tokens make up; with None they see each other as they are.
    Section 3.3.
    """
    width = x.dim("D")

    def reduce(x: ir.Value) -> ir.Value:
        y = ir.Rearrange("(h w) d -> C=d h w", (("h", rows),))(x, name="map")
        y = ir.Conv2d(width, reduction, reduction, padding=0, init="torch")(y, name="reduce")
        return ir.LayerNorm()(ir.Rearrange("c h w -> L=(h w) D=c")(y), name="reduce_norm")

    seen = x if rows is None else ir.when(reduction > 1, reduce, lambda x: x)(x, name="reduced")
    split = ir.Rearrange("l (h d) -> h l d", (("h", heads),))
    query = split(dense(x, width, "query"))
    key, value = split(dense(seen, width, "key")), split(dense(seen, width, "value"))
    y = ir.Attention()(query, key, value)
    return dense(ir.Rearrange("h l d -> l D=(h d)")(y), width, "proj")


def _model(*depths: int) -> ir.Model:
    point: ir.Point = {"width": 64}
    for stage, depth in enumerate(depths, start=1):
        point |= {f"stage{stage}/depth": depth, f"stage{stage}/mlp_ratio": 8 if stage < 3 else 4}
    point |= {f"stage{stage}/reduction": 16 >> stage for stage in (1, 2, 3)}
    return ir.Model(point, {}, "Wang et al. (2021), table 1")


MODELS: dict[str, ir.Model] = {
    "pvt_tiny": _model(2, 2, 2, 2),
    "pvt_small": _model(3, 4, 6, 3),
    "pvt_medium": _model(3, 4, 18, 3),
    "pvt_large": _model(3, 8, 27, 3),
}
