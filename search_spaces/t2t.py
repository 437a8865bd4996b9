"""T2T-ViT: overlapping windows become tokens twice over before a narrow, deep transformer reads them.

Yuan et al., "Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet", ICCV 2021
(arXiv 2101.11986), section 3 and table 1. Positions are sinusoids; queries, keys and values have no
bias.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, dense, heads_of, mlp, residual

HEAD_WIDTH = 64
SPLITS = ((7, 4, 2), (3, 2, 1), (3, 2, 1))  # kernel, stride and padding


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    splits: tuple[tuple[int, int, int], ...] = SPLITS,
    heads: tuple[int, ...] = (4, 6, 7, 8),
    depths: tuple[int, int] = (7, 24),
    token_width: int = 64,
    token_dropout: float = 0.1,
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of T2T-ViTs for square images of ``size`` pixels; the width is 64 x heads.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        splits: kernel, stride and padding of each soft split; tokens are mixed between two of them.
        heads, depths: of the transformer.
        token_width, token_dropout: features of a token between two splits; dropout of the performer.
        drop_rate: of the last block; the first block's is 0.
    """
    count = ir.choice("heads", *heads, ordered=True)
    ratio = ir.choice("mlp_ratio", 2, 3, 4, ordered=True)
    mixer = ir.choice("token_mixer", "performer", "transformer")
    depth = ir.integer("depth", *depths)
    width = count * HEAD_WIDTH

    x = ir.image(channels, size)
    for step, split in enumerate(splits, start=1):
        rows = (x.dim("H") + 2 * split[2] - split[0]) // split[1] + 1
        tokens = ir.Unfold(*split)(x, name=f"split{step}")
        if step < len(splits):
            tokens = restructured(tokens, token_width, mixer, token_dropout, name=f"mix{step}")
            x = ir.Rearrange("(h w) d -> C=d h w", (("h", rows),))(tokens, name=f"map{step}")
    x = dense(tokens, width, "project")
    x = ir.Concat("L")(ir.Parameter(("L", "D"), (1, width), TRANSFORMER_INIT)(name="cls_token"), x)
    x = ir.Add()(x, ir.SinusoidalPositions(x.dim("L"), width)(name="positions"))

    def encoder_block(x: ir.Value, i: int, n: ir.Operand) -> ir.Value:
        rate = drop_rate and drop_rate * i / ir.maximum(n - 1, 1)
        x = residual(x, attention(ir.LayerNorm()(x, name="norm1"), count, name="attn"), rate)
        return residual(x, mlp(ir.LayerNorm()(x, name="norm2"), ratio * width), rate)

    x = ir.repeat(encoder_block, depth)(x)
    x = ir.LayerNorm()(ir.Slice("L", 0, drop=True)(x, name="class_token"), name="norm")
    return ir.Space(dense(x, classes, "head"), name="t2t")


@ir.block
def restructured(x: ir.Value, width: int, mixer: ir.Decision, dropout: float) -> ir.Value:
    """Let tokens see each other in one narrow layer: (L, D) -> (L, width). Section 3.1.

    The values are what the layer adds to, since the tokens have another width.
    """
    qkv = dense(ir.LayerNorm()(x, name="norm1"), 3 * width, "qkv", bias=mixer == "performer")
    scale = x.dim("D") ** -0.5  # of the wide tokens, as in the released code
    mix = ir.switch(
        mixer,
        performer=lambda x: performer(x, width, dropout),
        transformer=lambda x: transformer(x, width, scale),
    )
    x = mix(qkv, name="attn")
    y = mlp(ir.LayerNorm()(x, name="norm2"), width)
    drop = ir.when(mixer == "performer", ir.Dropout(dropout), lambda y: y)
    return residual(x, drop(y, name="dropout"))


def performer(x: ir.Value, width: int, dropout: float) -> ir.Value:
    """Attend by random features, half as many as the tokens are wide. The keys stand first."""
    key, query, value = (part(x, i, width) for i in range(3))

    @ir.shared
    def features(x: ir.Value) -> ir.Value:
        return ir.RandomFeatures(width // 2)(x)

    y = dense(ir.LinearAttention()(features(query), features(key), value), width, "proj")
    return residual(value, ir.Dropout(dropout)(y))


def transformer(x: ir.Value, width: int, scale: ir.Operand) -> ir.Value:
    query, key, value = (part(x, i, width) for i in range(3))
    return residual(value, dense(ir.Attention(scale=scale)(query, key, value), width, "proj"))


def part(x: ir.Value, i: int, width: int) -> ir.Value:
    return ir.Slice("D", i * width, (i + 1) * width)(x)


@ir.block
def attention(x: ir.Value, heads: ir.Operand) -> ir.Value:
    """Let tokens attend to each other: (L, D) -> the same; only the last map has a bias."""
    y = ir.Attention()(*heads_of(x, heads, HEAD_WIDTH, bias=False))
    return dense(ir.Rearrange("h l d -> l D=(h d)")(y, name="merge"), x.dim("D"), "proj")


def _model(heads: int, depth: int, ratio: int = 3, mixer: str = "performer") -> ir.Model:
    point = {"heads": heads, "mlp_ratio": ratio, "token_mixer": mixer, "depth": depth}
    return ir.Model(point, {}, "Yuan et al. (2021), table 1")


MODELS: dict[str, ir.Model] = {
    "t2t_vit_7": _model(4, 7, ratio=2),
    "t2t_vit_10": _model(4, 10, ratio=2),
    "t2t_vit_12": _model(4, 12, ratio=2),
    "t2t_vit_14": _model(6, 14),
    "t2t_vit_19": _model(7, 19),
    "t2t_vit_24": _model(8, 24),
    "t2t_vit_t_14": _model(6, 14, mixer="transformer"),
    "t2t_vit_t_19": _model(7, 19, mixer="transformer"),
    "t2t_vit_t_24": _model(8, 24, mixer="transformer"),
}
