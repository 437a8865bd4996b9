"""HaloNet: bottlenecks whose blocks of pixels attend to themselves and a halo around them.

Vaswani et al., "Scaling Local Self-Attention for Parameter Efficient Visual Backbones", CVPR 2021
(arXiv 2103.12731), sections 2.2 and 3, tables 1 and 2. Strides, shortcuts and the count of relative
positions, which the text leaves open, are those of timm's halonet_h1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn, conv_bn_act, residual


def space(
    *,
    classes: int = 1000,
    size: int = 256,
    channels: int = 3,
    widths: Sequence[int] = (64, 128),
    heads: Sequence[int] = (4, 8, 8, 8),
    deepest: Sequence[int] = (3, 3, 26, 3),
    blocks: Sequence[int] = (4, 8),
    halos: Sequence[int] = (1, 2, 3, 4),
    value_ratios: Sequence[float] = (1, 2, 2.5, 3, 4),
    ratios: Sequence[float] = (0.5, 1, 1.25, 1.5, 2, 2.75, 3, 3.5),
    features: Sequence[int] = (0, 1024, 1280, 1536, 2048),
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of HaloNets for square images of ``size`` pixels.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        widths: of the first stage's queries and keys; the other stages double it.
        heads: of each stage.
        deepest: most units of each stage.
        blocks, halos: sides of the blocks, even, which must fill every map; pixels around them.
        value_ratios: width of values over that of queries, r_v.
        ratios: width of a unit's result over that of queries, r_b.
        features: of the last 1x1 convolution, 0 for none.
        drop_rate: of the last unit; the first unit's is 0.
    """
    width = ir.choice("width", *widths, ordered=True)
    block = ir.choice("block", *blocks, ordered=True)
    halo = ir.choice("halo", *halos, ordered=True)
    value_ratio = ir.choice("value_ratio", *value_ratios, ordered=True)
    ratio = ir.choice("ratio", *ratios, ordered=True)
    last = ir.choice("features", *features, ordered=True)
    kinds, depths = [], []
    for stage, most in enumerate(deepest, 1):
        with ir.scope(f"stage{stage}"):
            kinds.append(ir.choice("kind", "attention", "convolution"))
            depths.append(ir.integer("depth", 1, most))

    x = conv_bn_act(ir.image(channels, size), 64, 7, 2, name="stem", init="torch")
    x = ir.MaxPool(3, 2)(x)
    for stage, (kind, depth, count) in enumerate(zip(kinds, depths, heads, strict=True)):
        inner = width * 2**stage
        shape = Shape(kind, inner, ir.round_to(inner * value_ratio, count), count, block, halo)
        out = ir.round_to(inner * ratio, 8)

        def run(
            x: ir.Value,
            i: int,
            stage: int = stage,
            shape: Shape = shape,
            out: ir.Operand = out,
        ) -> ir.Value:
            rate = drop_rate and drop_rate * (sum(depths[:stage]) + i) / ir.maximum(
                sum(depths) - 1, 1
            )
            return unit(x, shape, out, stride=2 if stage and i == 0 else 1, rate=rate)

        with ir.scope(f"stage{stage + 1}"):
            x = ir.repeat(run, depth)(x)
    x = ir.when(last != 0, lambda x: conv_bn_act(x, last, name="last"), lambda x: x)(x, name="head")
    return ir.Space(classifier(x, classes), name="halonet")


class Shape:
    """What a stage's units share: their kind, widths of keys and values, heads, block and halo."""

    def __init__(
        self,
        kind: ir.Decision,
        keys: ir.Operand,
        values: ir.Operand,
        heads: int,
        block: ir.Operand,
        halo: ir.Operand,
    ) -> None:
        self.kind, self.keys, self.values, self.heads = kind, keys, values, heads
        self.block, self.halo = block, halo


@ir.block
def unit(
    x: ir.Value, shape: Shape, out: ir.Operand, stride: int = 1, rate: ir.Operand = 0.0
) -> ir.Value:
    """1x1, attention or 3x3, 1x1; a bottleneck with another middle. Table 1."""

    def attend(y: ir.Value) -> ir.Value:
        y = halo_attention(y, shape, stride, name="attn")
        return ir.Activation("relu")(ir.BatchNorm()(y, name="attn_norm"))

    def fit(x: ir.Value) -> ir.Value:
        return conv_bn(x, out, 1, stride, name="fit")

    fits = (x.dim("C") == out) & (stride == 1)
    shortcut = ir.when(fits, lambda x: x, fit)(x, name="shortcut")
    y = conv_bn_act(x, shape.keys, name="reduce")
    y = ir.switch(
        shape.kind,
        attention=attend,
        convolution=lambda y: conv_bn_act(y, shape.values, 3, stride, name="conv"),
    )(y, name="middle")
    return ir.Activation("relu")(residual(shortcut, conv_bn(y, out, name="expand"), rate))


@ir.block
def halo_attention(x: ir.Value, shape: Shape, stride: int) -> ir.Value:
    """Let each block's pixels attend to it and its halo: (C, H, W) -> (values, H', W').

    With a stride only every second pixel of both axes asks. Section 2.2 and figure 2.
    """
    heads, width = shape.heads, shape.keys // shape.heads
    value = shape.values // heads
    side, window = shape.block // stride, shape.block + 2 * shape.halo
    start = ("trunc_normal", x.dim("C") ** -0.5)

    def project(out: ir.Operand, stride: int, name: str) -> ir.Value:
        parts = (heads, out)
        made = ir.Conv2d(heads * out, 1, stride, bias=False, init=start, factors=parts)
        return made(x, name=name)

    sizes = (("h", heads), ("a", side), ("b", side))
    cut = ir.Rearrange("(h d) (y a) (x b) -> W=(y x) h L=(a b) d", sizes)
    q = cut(project(width, stride, "q"), name="queries")
    seen = ir.Unfold(window, shape.block, shape.halo)(project(width + value, 1, "kv"), name="halos")
    split = ir.Rearrange("w (h d s) -> w h s d", (("h", heads), ("s", window * window)))
    k, v = ir.Split((width, value), "D")(split(seen, name="split"))

    def scores(name: str) -> ir.Value:
        law = ("trunc_normal", width**-0.5)
        shrink = ("centre", "prefix")
        table = ir.Parameter(("R", "D"), (2 * window - 1, width), law, shrink)(name=name)
        return ir.Matmul(transpose=True)(q, table, name=f"{name}_scores")

    y = ir.Attention()(q, k, v, ir.RelativeScores()(scores("height_rel"), scores("width_rel")))
    places = (("y", x.dim("H") // shape.block), ("a", side))
    return ir.Rearrange("(y x) h (a b) d -> C=(h d) H=(y a) W=(x b)", places)(y, name="map")


# -- published networks -------------------------------------------------------------------------------

SOURCE = "Vaswani et al. (2021), table 2"


def _point(
    block: int,
    halo: int,
    value_ratio: float,
    ratio: float,
    third: int,
    features: int,
    width: int = 64,
    convolutions: int = 0,
) -> ir.Point:
    """Return three units a stage, ``third`` in the third; the first stages may be convolutions."""
    point: ir.Point = {"width": width, "block": block, "halo": halo, "features": features}
    point |= {"value_ratio": value_ratio, "ratio": ratio}
    for stage, depth in enumerate((3, 3, third, 3), 1):
        kind = "convolution" if stage <= convolutions else "attention"
        point |= {f"stage{stage}/kind": kind, f"stage{stage}/depth": depth}
    return point


def _model(size: int, block: int, *more: Any, **kept: Any) -> ir.Model:
    settings = {"size": size, "blocks": (block,)}
    return ir.Model(_point(block, *more), settings, SOURCE, **kept)


MODELS: dict[str, ir.Model] = {
    "halonet_h0": _model(256, 8, 3, 1, 0.5, 7, 0),
    "halonet_h1": _model(256, 8, 3, 1, 1, 10, 0),
    "halonet_h2": _model(256, 8, 3, 1, 1.25, 11, 0),
    "halonet_h3": _model(320, 10, 3, 1, 1.5, 12, 1024),
    "halonet_h4": _model(384, 12, 2, 1, 3, 12, 1280),
    "halonet_h5": _model(448, 14, 2, 2.5, 2, 23, 1536),
    "halonet_h6": _model(512, 8, 4, 3, 2.75, 24, 1536),
    "halonet_h7": _model(
        640,
        10,
        3,
        4,
        3.5,
        26,
        2048,
        note="the paper has images of 600 pixels, whose maps blocks of 10 do not fill; 640 they do. The "
        "parameters are the same",
    ),
    "halonet_h4_base128_conv12": ir.Model(
        _point(12, 2, 1, 3, 12, 1280, width=128, convolutions=2),
        {"size": 384, "blocks": (12,)},
        "Vaswani et al. (2021), section 4.4; Tolstikhin et al. (2021), table 2",
        reconstructed=True,
        note="the HaloNet that MLP-Mixer is compared with: H4 of width 128, convolutions in the first two "
        "stages; CoAtNet's table 14 prints 87M for it, and 85M with attention everywhere, both 17M more than "
        "these settings give: what else is wider is not published",
    ),
}
