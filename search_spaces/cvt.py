"""CvT: a transformer in three stages whose tokens and projections come from convolutions.

Wu et al., "CvT: Introducing Convolutions to Vision Transformers", ICCV 2021 (arXiv 2103.15808),
section 3 and table 2. No position is told to the tokens; a class token joins them in the last stage.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, conv_bn, dense, mlp, residual

HEAD_WIDTH = 64


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    embeddings: tuple[tuple[int, int], ...] = ((7, 4), (3, 2), (3, 2)),
    heads: tuple[tuple[int, ...], ...] = ((1, 3), (3, 12), (6, 16)),
    deepest: tuple[int, ...] = (2, 4, 20),
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of CvTs for square images of ``size`` pixels.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        embeddings: kernel and stride of the convolution that opens each stage.
        heads: numbers of heads to choose from in each stage; a head has 64 features.
        deepest: most blocks of each stage.
        drop_rate: of the last block; the first block of the last stage has 0.

    As in the paper's own search (section 4.4), every block chooses the expansion of its MLP and the
    stride at which its keys and values are read.
    """
    x, token = ir.image(channels, size), None
    for stage, most in enumerate(deepest):
        last = stage == len(deepest) - 1
        with ir.scope(f"stage{stage + 1}"):
            count = ir.choice("heads", *heads[stage], ordered=True)
            width = count * HEAD_WIDTH
            x = convolutional_embedding(x, width, *embeddings[stage], name="embed")
            if last:
                start = TRANSFORMER_INIT
                token = ir.Parameter(("L", "D"), (1, width), start)(name="cls_token")
            rows = x.dim("H")
            x = ir.Rearrange("c h w -> L=(h w) D=c")(x, name="tokens")
            x = x if token is None else ir.Concat("L")(token, x)

            def block(
                x: ir.Value,
                i: int,
                n: ir.Operand,
                rows: ir.Operand = rows,
                count: ir.Operand = count,
                last: bool = last,
            ) -> ir.Value:
                ratio = ir.choice("mlp_ratio", 2, 3, 4, ordered=True)
                stride = ir.choice("kv_stride", 1, 2, ordered=True)
                rate = drop_rate * i / ir.maximum(n - 1, 1) if drop_rate and last else 0.0
                return encoder_block(x, rows, count, ratio, stride, rate, with_class_token=last)

            x = ir.repeat(block, ir.integer("depth", 1, most))(x)
            if not last:
                x = ir.Rearrange("(h w) d -> C=d h w", (("h", rows),))(x, name="map")
    x = ir.LayerNorm()(ir.Slice("L", 0, drop=True)(x, name="class_token"), name="norm")
    return ir.Space(dense(x, classes, "head"), name="cvt")


@ir.block
def convolutional_embedding(x: ir.Value, width: ir.Operand, kernel: int, stride: int) -> ir.Value:
    """Cut a map into patches that overlap: (C, H, W) -> (width, H', W'). Section 3.1."""
    x = ir.Conv2d(width, kernel, stride, padding=(kernel - 1) // 2 if stride < 4 else 2)(
        x, name="proj"
    )
    x = ir.LayerNorm()(ir.Rearrange("c h w -> h w D=c")(x), name="norm")
    return ir.Rearrange("h w d -> C=d h w")(x)


@ir.block
def encoder_block(
    x: ir.Value,
    rows: ir.Operand,
    heads: ir.Operand,
    ratio: ir.Operand,
    stride: ir.Operand,
    rate: ir.Operand,
    with_class_token: bool,
) -> ir.Value:
    y = ir.LayerNorm()(x, name="norm1")
    x = residual(x, attention(y, rows, heads, stride, with_class_token, name="attn"), rate)
    return residual(x, mlp(ir.LayerNorm()(x, name="norm2"), ratio * x.dim("D")), rate)


@ir.block
def attention(
    x: ir.Value, rows: ir.Operand, heads: ir.Operand, stride: ir.Operand, with_class_token: bool
) -> ir.Value:
    """Attend among tokens that a depthwise convolution has mixed: (L, D) -> the same. Section 3.2.

    Scores are scaled by the root of the whole width, as in the released code.
    """
    width = x.dim("D")
    patches = ir.Slice("L", 1)(x, name="patches") if with_class_token else x
    image = ir.Rearrange("(h w) d -> C=d h w", (("h", rows),))(patches, name="map")

    def project(name: str, stride: ir.Operand) -> ir.Value:
        y = conv_bn(image, width, 3, stride, groups=width, name=f"conv_{name}", init="torch")
        y = ir.Rearrange("c h w -> L=(h w) D=c")(y)
        if with_class_token:
            y = ir.Concat("L")(ir.Slice("L", 0, 1)(x, name="class_token"), y)
        return ir.Rearrange("l (h d) -> h l d", (("h", heads),))(dense(y, width, name))

    query, key, value = (
        project(n, s) for n, s in (("query", 1), ("key", stride), ("value", stride))
    )
    y = ir.Attention(scale=width**-0.5)(query, key, value)
    return dense(ir.Rearrange("h l d -> l D=(h d)")(y, name="merge"), width, "proj")


def _model(heads: tuple[int, ...], depths: tuple[int, ...], size: int = 224) -> ir.Model:
    point: ir.Point = {}
    for stage, (count, depth) in enumerate(zip(heads, depths, strict=True), start=1):
        point |= {f"stage{stage}/heads": count, f"stage{stage}/depth": depth}
        for i in range(depth):
            point |= {
                f"stage{stage}/blocks/{i}/mlp_ratio": 4,
                f"stage{stage}/blocks/{i}/kv_stride": 2,
            }
    return ir.Model(point, {"size": size}, "Wu et al. (2021), table 2")


def _searched() -> ir.Model:
    """Return CvT-13 with narrower MLPs in stage 2 and in the first six blocks of stage 3."""
    narrow = [f"stage2/blocks/{i}" for i in range(2)] + [f"stage3/blocks/{i}" for i in range(6)]
    point = _model((1, 3, 6), (1, 2, 10)).point | {f"{block}/mlp_ratio": 3 for block in narrow}
    note = "the found choices are not published; these meet the printed 18 M and 4.1 G"
    source = "Wu et al. (2021), table 3 and section 4.4"
    return ir.Model(point, {}, source, reconstructed=True, note=note)


MODELS: dict[str, ir.Model] = {
    "cvt_13": _model((1, 3, 6), (1, 2, 10)),
    "cvt_13_384": _model((1, 3, 6), (1, 2, 10), size=384),
    "cvt_13_nas": _searched(),
    "cvt_21": _model((1, 3, 6), (1, 4, 16)),
    "cvt_21_384": _model((1, 3, 6), (1, 4, 16), size=384),
    "cvt_w24_384": _model((3, 12, 16), (2, 2, 20), size=384),
}
