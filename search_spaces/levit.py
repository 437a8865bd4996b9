"""LeViT: attention between the pixels of ever smaller maps, with batch norms and biases by distance.

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
"""A linear map of tokens and its norm: takes a value, its width, and how it starts."""


def normed(
    x: ir.Value,
    out: ir.Operand,
    *,
    name: str,
    start: str = "ones",
    heads: ir.Operand = None,
    folded: bool = False,
) -> ir.Value:
    """Map tokens linearly and normalise; folded, the map has a bias instead."""
    parts = () if heads is None else (heads, out // heads)
    y = ir.Linear(out, bias=folded, factors=parts)(x, name=name)
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
    linear = functools.partial(normed, folded=folded)
    distilled = ir.choice("distilled", True, False, searched=False)
    x, side = ir.image(channels, size), size
    for stage, options in enumerate(widths):
        with ir.scope(f"stage{stage + 1}"):
            width = ir.choice("width", *options, ordered=True)
            count = ir.choice("heads", *heads[stage], ordered=True)
            depth = ir.integer("depth", *depths[stage])
            if stage == 0:
                x, side = stem_of(x, width, stem, folded), -(-size // 2**stem)
            else:
                x = shrinking_attention(x, side, width, key_width, linear)
                x, side = residual(x, mlp(x, linear, name="shrink_mlp"), drop_rate), -(-side // 2)

            def block(x: ir.Value, count: ir.Operand = count, side: int = side) -> ir.Value:
                x = residual(
                    x, attention(x, side, count, key_width, linear, name="attn"), drop_rate
                )
                return residual(x, mlp(x, linear), drop_rate)

            x = ir.repeat(block, depth)(x)
    x = ir.Mean(("L",))(x, name="pool")

    def head(x: ir.Value, name: str) -> ir.Value:
        if not folded:
            x = ir.BatchNorm()(x, name=f"{name}_norm")
        return ir.Linear(classes, init=TRANSFORMER_INIT)(x, name=name)

    def both(x: ir.Value) -> ir.Value:
        """Average the classes' head and the one that learned from a teacher."""
        return ir.Scale(0.5)(ir.Add()(head(x, "head"), head(x, "teacher")))

    x = ir.when(distilled, both, lambda x: head(x, "head"))(x, name="heads")
    return ir.Space(x, name="levit")


def stem_of(x: ir.Value, width: ir.Operand, count: int, folded: bool) -> ir.Value:
    """Halve the map ``count`` times, the channels growing to ``width``; its pixels are the tokens."""
    for i in range(count):
        name = f"stem{i + 1}"
        x = ir.Conv2d(width // 2 ** (count - 1 - i), 3, 2, bias=folded, init="torch")(x, name=name)
        if not folded:
            x = ir.BatchNorm()(x, name=f"{name}_norm")
        if i < count - 1:
            x = ir.Activation("hard_swish")(x)
    return ir.Rearrange("c y x -> L=(y x) D=c")(x, name="tokens")


@ir.block
def mlp(x: ir.Value, linear: Normed) -> ir.Value:
    """Transform each token on its own: (L, D) -> the same."""
    width = x.dim("D")
    x = ir.Activation("hard_swish")(linear(x, MLP_RATIO * width, name="fc1"))
    return linear(x, width, name="fc2", start="zeros")


@ir.block
def attention(x: ir.Value, side: int, heads: ir.Operand, width: int, linear: Normed) -> ir.Value:
    """Let the pixels of a map attend to each other, biased by their distance: (L, D) -> the same."""
    values = ATTENTION_RATIO * width
    qkv = linear(x, heads * (2 * width + values), name="qkv", heads=heads)
    q, k, v = ir.Split((width, width, values), "D")(split(qkv, heads))
    seen = ir.Attention()(q, k, v, bias(heads, side))
    return merged(seen, x.dim("D"), linear)


@ir.block
def shrinking_attention(
    x: ir.Value, side: int, out: ir.Operand, width: int, linear: Normed
) -> ir.Value:
    """Attend from every second pixel of both axes to all: (L, D) -> (L / 4, out)."""
    values = SHRINKING_RATIO * width
    heads = x.dim("D") // width
    kv = linear(x, heads * (width + values), name="kv", heads=heads)
    k, v = ir.Split((width, values), "D")(split(kv, heads))
    pixels = ir.Rearrange("(y x) d -> H=y W=x d", (("y", side),))(x, name="map")
    asking = ir.Rearrange("y x d -> L=(y x) d")(ir.Subsample(2)(pixels), name="asking")
    q = split(linear(asking, heads * width, name="q", heads=heads), heads)
    return merged(ir.Attention()(q, k, v, bias(heads, side, 2)), out, linear)


def split(x: ir.Value, heads: ir.Operand) -> ir.Value:
    """Tell the heads apart: (L, D) -> (H, L, D / H)."""
    value: ir.Value = ir.Rearrange("l (h d) -> h l d", (("h", heads),))(x, name="split")
    return value


def bias(heads: ir.Operand, side: int, stride: int = 1) -> ir.Value:
    """Look up a bias for each head and each pair of pixels, by their distance along both axes."""
    table = ir.Parameter(("H", "P"), (heads, side**2), "zeros", ("prefix", "interpolate"))
    value: ir.Value = ir.Lookup()(
        ir.PairDistances(side, stride)(), table(name="attention_biases"), name="bias"
    )
    return value


def merged(x: ir.Value, out: ir.Operand, linear: Normed) -> ir.Value:
    """Join the heads of all tokens, and project."""
    x = ir.Rearrange("h l d -> l D=(h d)")(x, name="merge")
    return linear(ir.Activation("hard_swish")(x), out, name="proj", start="zeros")


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
