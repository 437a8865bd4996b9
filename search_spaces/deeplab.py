"""DeepLabv3: dilated convolutions at several rates over a residual network's last map, for each pixel.

Chen, Papandreou, Schroff & Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation" (2017, arXiv
1706.05587), section 3 and figure 5; the layer before the last, and no further classifier, as in torchvision.
"""

from __future__ import annotations

from typing import Any

from nasflow import ir
from nasflow.ir.blocks import conv_bn_act
from search_spaces.resnet import Recipe, trunk

STRIDE = 8
WIDTH = 256


@ir.block
def pyramid(x: ir.Value, rates: tuple[ir.Operand, ...], dropout: float) -> ir.Value:
    """ASPP: a 1x1, a 3x3 at each rate, and the mean of the map, joined (figure 5)."""
    torch = {"init": "torch"}
    parts = [conv_bn_act(x, WIDTH, name="point", **torch)]
    for number, rate in enumerate(rates, 1):
        parts.append(conv_bn_act(x, WIDTH, 3, dilation=rate, name=f"rate{number}", **torch))
    mean = conv_bn_act(ir.Mean(keep=True)(x), WIDTH, name="mean", **torch)
    parts.append(ir.Expand("W", x.dim("W"))(ir.Expand("H", x.dim("H"))(mean)))
    x = conv_bn_act(ir.Concat()(*parts), WIDTH, name="project", **torch)
    return ir.Dropout(dropout)(x)


def space(
    *,
    classes: int = 21,
    size: int = 512,
    channels: int = 3,
    deepest: tuple[int, ...] = (3, 4, 23, 3),
    units: tuple[str, ...] = ("basic", "bottleneck"),
    attentions: tuple[str, ...] = ("none", "se"),
    dropout: float = 0.5,
) -> ir.Space:
    """Return the space: residual networks whose last two stages are dilated, and the head's rates.

    Args:
        classes: number of classes; every pixel gets a score for each.
        size, channels: side, a multiple of 8, and channels of the images.
        deepest, units, attentions: of the residual network.
        dropout: rate before the last two convolutions.
    """
    if size % STRIDE:
        raise ir.SpaceError(f"deeplab: expected a size in multiples of {STRIDE}, got {size}")
    recipe = Recipe(units, ("post",), attentions, (1,), (1,), "batch")
    image = ir.image(channels, size)
    x = trunk(image, recipe, deepest=deepest, dilated=2)
    rates = tuple(
        ir.choice(f"rate{i}", 6 * i, 12 * i, 18 * i, ordered=True, default=12 * i)
        for i in (1, 2, 3)
    )
    x = pyramid(x, rates, dropout)
    x = conv_bn_act(x, WIDTH, 3, name="head", init="torch")
    x = ir.Conv2d(classes, init="torch")(x, name="classifier")
    return ir.Space(ir.Upsample(STRIDE, "bilinear")(x), name="deeplab")


def _model(depths: tuple[int, ...], note: str = "") -> ir.Model:
    point: dict[str, Any] = {"unit": "bottleneck", "order": "post", "attention": "none"}
    point |= {"width": 1, "inner_width": 1, "groups": 1, "rate1": 12, "rate2": 24, "rate3": 36}
    point |= {f"stage{stage}/depth": depth for stage, depth in enumerate(depths, 1)}
    return ir.Model(point, {}, "Chen et al. (2017), figure 5, output stride 8", note=note)


MODELS = {
    "deeplabv3": _model((3, 4, 23, 3), "on ResNet-101; the lecture only cites it"),
    "deeplabv3_resnet50": _model((3, 4, 6, 3)),
}
