"""EfficientNetV2: early stages of plain (fused) convolutions, late ones of inverted bottlenecks.

Tan & Le, "EfficientNetV2: Smaller Models and Faster Training", ICML 2021 (arXiv 2104.00298), section
3.3 and table 4; the larger networks' stages follow the authors' released code, as do the borders
(TensorFlow's) and the norm's constants.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn, conv_bn_act, mbconv, residual

STRIDES = (1, 2, 2, 2, 1, 2, 1)
SAME = "same"
NORM = ir.BatchNorm(eps=1e-3, momentum=0.01)
SILU: dict[str, Any] = {"activation": "silu", "norm": NORM, "padding": SAME}


@ir.block
def fused_mbconv(
    x: ir.Value, out: ir.Operand, hidden: ir.Operand, kernel: ir.Operand, stride: int, rate: float
) -> ir.Value:
    """A full convolution instead of expansion and depthwise one (figure 2); one only if not expanded."""

    def single(x: ir.Value) -> ir.Value:
        return conv_bn_act(x, out, kernel, stride, name="conv", **SILU)

    def double(x: ir.Value) -> ir.Value:
        y = conv_bn_act(x, hidden, kernel, stride, name="expand", **SILU)
        return conv_bn(y, out, name="project", norm=NORM)

    y = ir.when(hidden == x.dim("C"), single, double)(x, name="fused")
    if stride != 1:
        return y
    add = ir.when(x.dim("C") == y.dim("C"), lambda x, y: residual(x, y, rate), lambda x, y: y)
    added: ir.Value = add(x, y, name="residual")
    return added


def layer(
    x: ir.Value,
    out: ir.Operand,
    fused: ir.Decision,
    expand: ir.Operand,
    se: ir.Operand,
    stride: int = 1,
    name: str = "layer",
    **settings: Any,
) -> ir.Value:
    """A fused or an inverted bottleneck; the latter may squeeze to a share of what comes in."""
    settings["stride"] = stride

    def inverted(x: ir.Value) -> ir.Value:
        squeeze = ir.floor(x.dim("C") * se)
        hidden = x.dim("C") * expand
        return mbconv(x, out, hidden, squeeze=squeeze, norm=NORM, padding=SAME, **settings)

    def plain(x: ir.Value) -> ir.Value:
        return fused_mbconv(x, out, x.dim("C") * expand, **settings)

    made: ir.Value = ir.switch(fused, {True: plain, False: inverted})(x, name=name)
    return made


def space(
    *,
    classes: int = 1000,
    size: int = 384,
    channels: int = 3,
    deepest: tuple[int, ...] = (4, 8, 8, 16, 24, 32, 8),
    widest: tuple[int, ...] = (32, 64, 96, 192, 256, 512, 640),
    drop_path: float = 0.0,
) -> ir.Space:
    """Return the space: each stage's kind of layer, expansion, kernel, SE, filters and layers.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        deepest, widest: most layers and filters of each stage; the last stage may be empty.
        drop_path: rate of stochastic depth in the last stage; it grows from 0 over the stages.
    """
    dropout = ir.choice("dropout", 0.0, 0.2, 0.3, 0.4, searched=False)
    x = ir.image(channels, size)
    stem = ir.integer("stem", 8, 32, step=8)
    x = conv_bn_act(x, stem, 3, 2, name="stem", **SILU)
    for number, (stride, most, filters) in enumerate(zip(STRIDES, deepest, widest, strict=True), 1):
        with ir.scope(f"stage{number}"):
            layers = ir.integer("layers", 0 if number == len(STRIDES) else 1, most)
            settings: dict[str, Any] = {
                "fused": ir.choice("fused", True, False),
                "expand": ir.choice("expand", 1, 4, 6, ordered=True),
                "kernel": ir.choice("kernel", 3, 5, ordered=True),
                "se": ir.choice("se", 0.0, 0.25, ordered=True),
                "rate": drop_path * (number - 1) / (len(STRIDES) - 1),
            }
            out = ir.integer("filters", 8, filters, step=8)
            step: Callable[..., ir.Value] = functools.partial(layer, **settings)
            if stride == 1:
                x = ir.repeat(lambda x, step=step, out=out: step(x, out=out), layers)(x)
                continue
            x = layer(x, out, stride=stride, name="first", **settings)
            x = ir.repeat(lambda x, step=step: step(x, out=x.dim("C")), layers - 1)(x)
    x = conv_bn_act(x, 1280, name="head", **SILU)
    return ir.Space(classifier(x, classes, dropout, init="fan_out_uniform"), name="efficientnet_v2")


def _model(
    filters: Sequence[int], layers: Sequence[int], size: int, dropout: float, note: str = ""
) -> ir.Model:
    point: dict[str, object] = {"stem": filters[0], "dropout": dropout}
    for number, (count, depth) in enumerate(zip(filters, layers, strict=True), 1):
        fused = number <= 3
        expand = 1 if number == 1 else 4 if number <= 4 else 6
        if depth:
            point |= {f"stage{number}/fused": fused, f"stage{number}/expand": expand}
            point |= {f"stage{number}/kernel": 3, f"stage{number}/filters": count}
            point |= {} if fused else {f"stage{number}/se": 0.25}
        point[f"stage{number}/layers"] = depth
    return ir.Model(point, {"size": size}, "Tan & Le (2021), table 4 and released code", note=note)


FEWER = "the paper prints 53 G; the released network, with the parameters it prints, has 56 G at 480 pixels"
MODELS: dict[str, ir.Model] = {
    "efficientnetv2_s": _model((24, 48, 64, 128, 160, 256, 8), (2, 4, 4, 6, 9, 15, 0), 384, 0.2),
    "efficientnetv2_m": _model((24, 48, 80, 160, 176, 304, 512), (3, 5, 5, 7, 14, 18, 5), 480, 0.3),
    "efficientnetv2_l": _model(
        (32, 64, 96, 192, 224, 384, 640), (4, 7, 7, 10, 19, 25, 7), 480, 0.4, FEWER
    ),
    "efficientnetv2_xl": _model(
        (32, 64, 96, 192, 256, 512, 640), (4, 8, 8, 16, 24, 32, 8), 512, 0.4
    ),
}
