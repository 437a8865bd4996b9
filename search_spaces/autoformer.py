"""AutoFormer: vision transformers whose width is one for all blocks, heads and MLP one for each.

Chen et al., "AutoFormer: Searching Transformers for Visual Recognition", ICCV 2021 (arXiv
2107.00651), table 1: three spaces. Children share the first entries of every weight (weight
entanglement). The named networks are those of the released configurations.
"""

from __future__ import annotations

from collections.abc import Sequence

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, dense, heads_of, mlp, residual

SCALES: dict[str, dict[str, tuple[float, ...]]] = {
    "tiny": {
        "widths": (192, 216, 240),
        "heads": (3, 4),
        "ratios": (3.5, 4.0),
        "depths": (12, 13, 14),
    },
    "small": {
        "widths": (320, 384, 448),
        "heads": (5, 6, 7),
        "ratios": (3.0, 3.5, 4.0),
        "depths": (12, 13, 14),
    },
    "base": {
        "widths": (528, 576, 624),
        "heads": (8, 9, 10),
        "ratios": (3.0, 3.5, 4.0),
        "depths": (14, 15, 16),
    },
}
"""What each of the paper's spaces chooses among."""


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    scale: str = "tiny",
    widths: Sequence[int] = (),
    heads: Sequence[int] = (),
    ratios: Sequence[float] = (),
    depths: Sequence[int] = (),
    patch: int = 16,
    head_width: int = 64,
    reach: int = 14,
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space: width, depth, and for each block its heads and the width of its MLP.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        scale: one of SCALES.
        widths, heads, ratios, depths: they replace those of the scale.
        patch, head_width: side of the patches; features of one head.
        reach: how many patches apart relative positions are told apart.
        drop_rate: the last block's rate of stochastic depth; the first block's is 0.
    """
    if scale not in SCALES:
        raise ir.SpaceError(f"autoformer: expected scale tiny, small or base, got {scale!r}")
    wanted = {"widths": widths, "heads": heads, "ratios": ratios, "depths": depths}
    options = {name: tuple(given) or SCALES[scale][name] for name, given in wanted.items()}
    width = ir.choice("width", *options["widths"], ordered=True)
    depth = ir.choice("depth", *options["depths"], ordered=True)
    side = size // patch

    def encoder_block(x: ir.Value, i: int, n: ir.Operand) -> ir.Value:
        count = ir.choice("heads", *options["heads"], ordered=True)
        ratio = ir.choice("mlp_ratio", *options["ratios"], ordered=True)
        rate = drop_rate and drop_rate * i / ir.maximum(n - 1, 1)
        y = ir.LayerNorm()(x, name="norm1")
        x = residual(x, relative_attention(y, count, head_width, side, reach, name="attn"), rate)
        return residual(x, mlp(ir.LayerNorm()(x, name="norm2"), ir.floor(width * ratio)), rate)

    x = ir.Conv2d(width, patch, patch, padding=0, init="torch")(
        ir.image(channels, size), name="patch_embed"
    )
    x = ir.Rearrange("c h w -> L=(h w) D=c")(x)
    token = ir.Parameter(("L", "D"), (1, width), TRANSFORMER_INIT)(name="cls_token")
    x = ir.Concat("L")(token, x)
    shape, shrink = (side**2 + 1, width), ("interpolate", "prefix")
    table = ir.Parameter(("L", "D"), shape, TRANSFORMER_INIT, shrink)
    x = ir.Add()(x, table(name="pos_embed"))
    x = ir.LayerNorm()(ir.repeat(encoder_block, depth)(x), name="norm")
    # The classes are read from the patches; the class token only takes part.
    x = ir.Mean(("L",))(ir.Slice("L", 1)(x, name="patches"), name="pool")
    return ir.Space(dense(x, classes, "head"), name="autoformer")


@ir.block
def relative_attention(
    x: ir.Value, heads: ir.Operand, width: int, side: int, reach: int
) -> ir.Value:
    """Attend with relative positions in keys and values: (L, D) -> the same.

    Shaw et al. (2018), equations 3 and 4, with a position as the sum of one for rows and one for
    columns.
    """
    q, k, v = heads_of(x, heads, width)
    q = ir.Scale(width**-0.5)(q)
    keys = relative_positions(width, side, reach, "k")
    values = relative_positions(width, side, reach, "v")
    near = ir.Matmul(transpose=True)(ir.Rearrange("h l d -> l h d")(q), keys)
    near = ir.Rearrange("l h s -> h l s")(near, name="near")
    scores = ir.Softmax("N")(ir.Add()(ir.Matmul(transpose=True)(q, k), near))
    seen = ir.Matmul()(ir.Rearrange("h l s -> l h s")(scores), values)
    seen = ir.Add()(ir.Matmul()(scores, v), ir.Rearrange("l h d -> h l d")(seen, name="seen"))
    merged = ir.Rearrange("h l d -> l D=(h d)")(seen, name="merge")
    return dense(merged, x.dim("D"), "proj")


def relative_positions(width: int, side: int, reach: int, name: str) -> ir.Value:
    """Return a vector for each pair of tokens: (L, S, D)."""
    count = 2 * reach + 2
    found = []
    for axis, letter in (("H", "v"), ("W", "h")):
        table = ir.Parameter(("P", "D"), (count, width), TRANSFORMER_INIT, ("prefix", "prefix"))
        rows = ir.ClippedOffsets(side, reach, axis)()
        found.append(ir.Embedding(count, width)(rows, table(name=f"relative_{name}_{letter}")))
    return ir.Add()(*found)


def _model(
    scale: str, width: int, heads: Sequence[int], expansions: Sequence[float], **settings: object
) -> ir.Model:
    point: dict[str, object] = {"width": width, "depth": len(heads)}
    for i, (count, ratio) in enumerate(zip(heads, expansions, strict=True)):
        point |= {f"blocks/{i}/heads": count, f"blocks/{i}/mlp_ratio": ratio}
    source = "Chen et al. (2021), table 2 and released configuration"
    note = "print leaves out the products with relative positions, which are counted here"
    return ir.Model(point, {"scale": scale, **settings}, source, note=note)


MODELS: dict[str, ir.Model] = {
    "autoformer_tiny": _model(
        "tiny",
        192,
        (3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 3, 3),
        (3.5, 3.5, 3.0, 3.5, 3.0, 3.0, 4.0, 4.0, 3.5, 4.0, 3.5, 4.0, 3.5),
        ratios=(3.0, 3.5, 4.0),
    ),
    "autoformer_small": _model(
        "small",
        384,
        (6, 6, 5, 7, 5, 5, 5, 6, 6, 7, 7, 6, 7),
        (3.0, 3.5, 3.0, 3.5, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 3.5, 4.0),
    ),
    "autoformer_base": _model(
        "base",
        576,
        (9, 9, 9, 9, 9, 10, 9, 9, 10, 9, 10, 9, 9, 10),
        (3.5, 3.5, 4.0, 3.5, 4.0, 3.5, 3.5, 3.0, 4.0, 4.0, 3.0, 4.0, 3.0, 3.5),
    ),
}
