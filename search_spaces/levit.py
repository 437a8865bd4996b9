"""LeViT: attention on a pyramid of maps, with batch norms and biases by distance.

Graham et al., "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference", ICCV 2021
(arXiv 2104.01136), section 4 and table 2. Once trained, every norm folds into the map beside it:
``folded`` is that form.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, residual

WIDTHS = ((128, 192, 256, 384), (256, 288, 384, 512), (384, 512, 768))
HEADS = ((3, 4, 6), (5, 6, 8, 9), (6, 8, 12))
ATTENTION_RATIO, SHRINKING_RATIO = 2, 4  # width of a head's values over that of its keys
MLP_RATIO = 2

Normed = Callable[..., ir.Value]
"""A convolution and its norm: takes a value, its filters, and how it starts."""


def normed(
    x: ir.Value,
    out: ir.Operand,
    kernel: int = 1,
    stride: int = 1,
    *,
    name: str,
    start: str = "ones",
    heads: ir.Operand = None,
    folded: bool = False,
) -> ir.Value:
    """Convolve and normalise; folded, the convolution has a bias instead."""
    parts = () if heads is None else (heads, out // heads)
    made = ir.Conv2d(out, kernel, stride, bias=folded, init="torch", factors=parts)
    y = made(x, name=name)
    return y if folded else ir.BatchNorm(init=start)(y, name=f"{name}_norm")


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    key_width: int = 16,
    widths: tuple[tuple[int, ...], ...] = WIDTHS,
    heads: tuple[tuple[int, ...], ...] = HEADS,
    depths: tuple[tuple[int, int], ...] = ((2, 4), (2, 4), (2, 4)),
    stem: int = 4,
    drop_rate: float = 0.0,
    folded: bool = False,
) -> ir.Space:
    """Return the space: width, heads and depth of each stage.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        key_width: features of a head's keys and queries.
        widths, heads, depths: what each stage may have; of depths the least and the most.
        stem: convolutions before the first stage; each halves the map.
        drop_rate: of every residual branch, in training.
        folded: without norms, as a trained network is run.
    """
    conv = functools.partial(normed, folded=folded)
    distilled = ir.choice("distilled", True, False, searched=False)
    x = ir.image(channels, size)
    for stage, options in enumerate(widths):
        with ir.scope(f"stage{stage + 1}"):
            width = ir.choice("width", *options, ordered=True)
            count = ir.choice("heads", *heads[stage], ordered=True)
            depth = ir.integer("depth", *depths[stage])
            if stage == 0:
                x = stem_of(x, width, stem, conv)
            else:
                x = shrinking_attention(x, width, key_width, conv)
                x = residual(x, mlp(x, conv, name="shrink_mlp"), drop_rate)

            def block(x: ir.Value, count: ir.Operand = count) -> ir.Value:
                x = residual(x, attention(x, count, key_width, conv, name="attn"), drop_rate)
                return residual(x, mlp(x, conv), drop_rate)

            x = ir.repeat(block, depth)(x)
    x = ir.Mean()(x, name="pool")

    def head(x: ir.Value, name: str) -> ir.Value:
        if not folded:
            x = ir.BatchNorm()(x, name=f"{name}_norm")
        return ir.Linear(classes, init=TRANSFORMER_INIT)(x, name=name)

    def both(x: ir.Value) -> ir.Value:
        """Average the classes' head and the one that learned from a teacher."""
        return ir.Scale(0.5)(ir.Add()(head(x, "head"), head(x, "teacher")))

    x = ir.when(distilled, both, lambda x: head(x, "head"))(x, name="heads")
    return ir.Space(x, name="levit")


def stem_of(x: ir.Value, width: ir.Operand, count: int, conv: Normed) -> ir.Value:
    """Halve the map ``count`` times, the channels growing to ``width``."""
    for i in range(count):
        x = conv(x, width // 2 ** (count - 1 - i), 3, 2, name=f"stem{i + 1}")
        if i < count - 1:
            x = ir.Activation("hard_swish")(x)
    return x


@ir.block
def mlp(x: ir.Value, conv: Normed) -> ir.Value:
    """Transform each pixel on its own: (C, H, W) -> the same."""
    width = x.dim("C")
    x = ir.Activation("hard_swish")(conv(x, MLP_RATIO * width, name="fc1"))
    return conv(x, width, name="fc2", start="zeros")


@ir.block
def attention(x: ir.Value, heads: ir.Operand, width: int, conv: Normed) -> ir.Value:
    """Let pixels attend to each other, biased by their distance: (C, H, W) -> the same."""
    side, values = x.dim("H"), ATTENTION_RATIO * width
    split = ir.Rearrange("(h d) y x -> h L=(y x) d", (("h", heads),))
    qkv = split(conv(x, heads * (2 * width + values), name="qkv", heads=heads), name="split")
    q, k, v = ir.Split((width, width, values), "D")(qkv)
    return merged(ir.Attention()(q, k, v, bias(heads, side)), side, x.dim("C"), conv)


@ir.block
def shrinking_attention(x: ir.Value, out: ir.Operand, width: int, conv: Normed) -> ir.Value:
    """Attend from every second pixel of both axes to all: (C, H, W) -> (out, H/2, W/2)."""
    side, values = x.dim("H"), SHRINKING_RATIO * width
    heads = x.dim("C") // width
    split = ir.Rearrange("(h d) y x -> h L=(y x) d", (("h", heads),))
    kv = split(conv(x, heads * (width + values), name="kv", heads=heads), name="split")
    k, v = ir.Split((width, values), "D")(kv)
    q = split(conv(ir.Subsample(2)(x), heads * width, name="q", heads=heads), name="queries")
    return merged(ir.Attention()(q, k, v, bias(heads, side, 2)), (side + 1) // 2, out, conv)


def bias(heads: ir.Operand, side: ir.Operand, stride: int = 1) -> ir.Value:
    """Look up a bias for each head and each pair of pixels, by their distance along both axes."""
    table = ir.Parameter(("H", "P"), (heads, side**2), "zeros", ("prefix", "interpolate"))
    rows = ir.Rearrange("h p -> p D=h")(table(name="attention_biases"))
    found = ir.Embedding(side**2, heads)(ir.PairDistances(side, stride)(), rows)
    return ir.Rearrange("l s d -> H=d l s")(found, name="bias")


def merged(x: ir.Value, side: ir.Operand, out: ir.Operand, conv: Normed) -> ir.Value:
    """Join the heads of a map's pixels, and project."""
    x = ir.Rearrange("h (y x) d -> C=(h d) H=y W=x", (("y", side),))(x, name="merge")
    return conv(ir.Activation("hard_swish")(x), out, name="proj", start="zeros")


def _model(
    key_width: int, widths: tuple[int, ...], heads: tuple[int, ...], depths: tuple[int, ...]
) -> ir.Model:
    point: dict[str, object] = {"distilled": True}
    for stage, values in enumerate(zip(widths, heads, depths, strict=True), 1):
        for name, value in zip(("width", "heads", "depth"), values, strict=True):
            point[f"stage{stage}/{name}"] = value
    source = "Graham et al. (2021), table 2"
    return ir.Model(point, {"key_width": key_width}, source)


MODELS: dict[str, ir.Model] = {
    "levit_128s": _model(16, (128, 256, 384), (4, 6, 8), (2, 3, 4)),
    "levit_128": _model(16, (128, 256, 384), (4, 8, 12), (4, 4, 4)),
    "levit_192": _model(32, (192, 288, 384), (3, 5, 6), (4, 4, 4)),
    "levit_256": _model(32, (256, 384, 512), (4, 6, 8), (4, 4, 4)),
    "levit_384": _model(32, (384, 512, 768), (6, 9, 12), (4, 4, 4)),
}
