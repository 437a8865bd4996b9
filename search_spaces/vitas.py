"""ViTAS: vision transformers whose blocks each have their own heads and widths, or are left out.

Su et al., "ViTAS: Vision Transformer Architecture Search", ECCV 2022 (arXiv 2106.13700, version 1:
"Vision Transformer Architecture Search"), section 3.1; options and networks are those of the released
code.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, dense, mlp, residual

EPS = 1e-6  # of the norms of blocks; the last norm has PyTorch's
SHARES = 10  # widths to choose from, tenths of the widest


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    patches: Sequence[int] = (14, 16, 32),
    heads: Sequence[int] = (3, 6, 12, 16),
    depth: int = 16,
    width: int = 384,
    attention_width: int = 480,
    mlp_width: int = 1440,
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space: patch, width of tokens, and for each block its heads, or 0 for no block, and widths.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        patches: sides of the patches that images are cut into.
        heads: of a block, to choose from.
        depth: most blocks.
        width, attention_width, mlp_width: the widest tokens, queries (and keys and values), and
            hidden features; the options are tenths of them.
        drop_rate: of the last block; the first block's is 0.
    """
    patch = ir.choice("patch", *patches, ordered=True)
    tokens = ir.choice("width", *tenths(width), ordered=True)
    x = ir.Conv2d(tokens, patch, patch, padding=0, init="torch")(
        ir.image(channels, size), name="patch_embed"
    )
    x = ir.Rearrange("c h w -> L=(h w) D=c")(x)
    token = ir.Parameter(("L", "D"), (1, tokens))(name="cls_token")
    x = ir.Concat("L")(token, x)
    shrink = ("interpolate", "prefix")
    table = ir.Parameter(("L", "D"), (x.dim("L"), tokens), TRANSFORMER_INIT, shrink)
    x = ir.Add()(x, table(name="pos_embed"))
    for number in range(1, depth + 1):
        rate = drop_rate and drop_rate * (number - 1) / max(depth - 1, 1)

        with ir.scope(f"block{number}"):
            count = ir.choice("heads", 0, *heads, ordered=True)
            inner = ir.choice("attention", *tenths(attention_width), ordered=True)
            hidden = ir.choice("mlp", *tenths(mlp_width), ordered=True)
        block = functools.partial(
            encoder_block, heads=count, inner=inner, hidden=hidden, rate=rate, name=f"block{number}"
        )
        x = ir.when(count != 0, block, lambda x: x)(x, name=f"block{number}")
    x = ir.LayerNorm()(ir.Slice("L", 0, drop=True)(x, name="class_token"), name="norm")
    return ir.Space(dense(x, classes, "head"), name="vitas")


def tenths(widest: int) -> list[int]:
    """Return one to ten tenths of a width, rounded."""
    return [round(widest * share / SHARES) for share in range(1, SHARES + 1)]


@ir.block
def encoder_block(
    x: ir.Value, heads: ir.Operand, inner: ir.Operand, hidden: ir.Operand, rate: float
) -> ir.Value:
    y = attention(ir.LayerNorm(EPS)(x, name="norm1"), heads, inner, name="attn")
    x = residual(x, y, rate)
    return residual(x, mlp(ir.LayerNorm(EPS)(x, name="norm2"), hidden), rate)


@ir.block
def attention(x: ir.Value, heads: ir.Operand, inner: ir.Operand) -> ir.Value:
    """Let tokens attend to each other; scores are scaled by the tokens' width, not the heads'."""
    parts = (3, heads, inner // heads)
    split = ir.Rearrange("l (p h d) -> p h l d", (("p", 3), ("h", heads)))
    qkv = split(dense(x, 3 * inner, "qkv", factors=parts), name="heads")
    scale = (x.dim("D") // heads) ** -0.5
    y = ir.Attention(scale)(*ir.Unbind("P", 3)(qkv))
    return dense(ir.Rearrange("h l d -> l D=(h d)")(y, name="merge"), x.dim("D"), "proj")


# -- published networks -------------------------------------------------------------------------------

Blocks = Sequence[tuple[int, int, int]]
"""Heads, width of queries and hidden features of each block."""

VITAS_A: Blocks = (
    (12, 96, 1008), (16, 240, 576), (6, 96, 1296), (16, 336, 720), (16, 384, 1008),
    (16, 288, 1152), (16, 480, 1296),
)  # fmt: skip
VITAS_B: Blocks = (
    (16, 96, 864), (16, 144, 576), (16, 144, 1008), (12, 384, 864), (12, 336, 720),
    (12, 288, 576), (16, 144, 1296), (6, 288, 864),
)  # fmt: skip
VITAS_E: Blocks = (
    (16, 240, 720), (16, 336, 864), (16, 288, 1008), (6, 288, 1008), (3, 192, 720), (12, 432, 1296),
    (6, 432, 1152), (12, 240, 144), (12, 480, 864), (6, 192, 1008), (12, 384, 1296),
)  # fmt: skip
VITAS_F: Blocks = (
    (16, 288, 1728), (16, 96, 2304), (16, 576, 864), (16, 384, 2016), (16, 672, 864),
    (16, 480, 1440), (16, 864, 2304), (16, 480, 2016), (16, 768, 864), (16, 672, 576),
    (16, 672, 2016), (16, 480, 2304), (16, 576, 2304),
)  # fmt: skip


def _point(width: int, blocks: Blocks, depth: int = 16, patch: int = 16) -> ir.Point:
    """Return a point whose last blocks, up to ``depth``, are left out."""
    point: ir.Point = {"patch": patch, "width": width}
    for number in range(1, depth + 1):
        if number > len(blocks):
            point[f"block{number}/heads"] = 0
            continue
        names = ("heads", "attention", "mlp")
        made = zip(names, blocks[number - 1], strict=True)
        point |= {f"block{number}/{name}": value for name, value in made}
    return point


WIDER = {"depth": 13, "width": 768, "attention_width": 960, "mlp_width": 2880}
SOURCE = "Su et al. (2021), version 1, and the released code"
MODELS: dict[str, ir.Model] = {
    "vitas_a": ir.Model(_point(154, VITAS_A), {}, SOURCE),
    "vitas_b": ir.Model(_point(192, VITAS_B), {}, SOURCE),
    "vitas_c": ir.Model(_point(230, [(3, 144, 720)] * 12), {}, SOURCE),
    "vitas_d": ir.Model(
        _point(230, [(3, 240, 720)] * 12),
        {},
        "Su et al. (2021), version 1",
        reconstructed=True,
        note="in no public code; this is ViTAS-C with wider attention, of the points with twelve equal "
        "blocks the nearest to the printed 1.6G. The authors count the classifier once for each patch "
        "and leave the class token out: 1,599M here",
    ),
    "vitas_e": ir.Model(_point(346, VITAS_E), {}, SOURCE),
    "vitas_f": ir.Model(_point(307, VITAS_F, depth=13), WIDER, SOURCE),
}
