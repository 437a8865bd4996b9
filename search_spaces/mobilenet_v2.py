"""MobileNetV2: inverted residuals, narrow between blocks and wide inside them.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018 (arXiv
1801.04381), table 2 and section 4 (multipliers); the head keeps its width where the multiplier is
below 1.
"""

from __future__ import annotations

import functools
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn_act, mbconv

# Filters, stride and layers of each stage (table 2).
STAGES = ((16, 1, 1), (24, 2, 2), (32, 2, 3), (64, 2, 4), (96, 1, 3), (160, 2, 3), (320, 1, 1))


def inverted_residual(
    x: ir.Value, out: ir.Operand, expand: ir.Operand, **settings: Any
) -> ir.Value:
    return mbconv(x, out, x.dim("C") * expand, activation="relu6", **settings)


def space(
    *,
    classes: int = 1000,
    size: int | None = None,
    channels: int = 3,
    widths: tuple[float, ...] = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    sizes: tuple[int, ...] = (96, 128, 160, 192, 224),
    deepest: int = 4,
    drop_path: float = 0.0,
) -> ir.Space:
    """Return the space: width and resolution multipliers; expansion, kernel, layers of each stage.

    ``size``, where given, is the images' side instead of a choice among ``sizes``. ``drop_path`` is
    the rate of stochastic depth in the last stage; it grows from 0 over the stages.
    """
    width = ir.choice("width", *widths, ordered=True)
    side = ir.choice("resolution", *((size,) if size else sizes), ordered=True)
    dropout = ir.choice("dropout", 0.0, 0.2, searched=False)
    x = ir.image(channels, side)
    x = conv_bn_act(x, ir.round_to_8(32 * width), 3, 2, activation="relu6", name="stem")
    for number, (filters, stride, _) in enumerate(STAGES, 1):
        with ir.scope(f"stage{number}"):
            layer = functools.partial(
                inverted_residual,
                expand=ir.choice("expand", 1, 3, 6, ordered=True),
                kernel=ir.choice("kernel", 3, 5, 7, ordered=True),
                rate=drop_path * (number - 1) / (len(STAGES) - 1),
            )
            layers = ir.integer("layers", 1, deepest)
            x = layer(x, ir.round_to_8(filters * width), stride=stride, name="first")
            x = ir.repeat(lambda x, layer=layer: layer(x, x.dim("C")), layers - 1)(x)
    head = ir.maximum(1280, ir.round_to_8(1280 * width))
    x = conv_bn_act(x, head, activation="relu6", name="head")
    return ir.Space(classifier(x, classes, dropout, init="fan_out_uniform"), name="mobilenet_v2")


def _model(width: float) -> ir.Model:
    point: dict[str, object] = {"width": width, "resolution": 224}
    for number, (_, _, layers) in enumerate(STAGES, 1):
        point |= {f"stage{number}/expand": 1 if number == 1 else 6, f"stage{number}/kernel": 3}
        point[f"stage{number}/layers"] = layers
    return ir.Model(point, source="Sandler et al. (2018), table 2 and section 6.1")


MODELS: dict[str, ir.Model] = {
    "mobilenetv2_050": _model(0.5),
    "mobilenetv2_075": _model(0.75),
    "mobilenetv2_100": _model(1.0),
    "mobilenetv2_130": _model(1.3),
    "mobilenetv2_140": _model(1.4),
}
