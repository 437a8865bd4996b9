"""EfficientNet: seven stages of inverted bottlenecks, scaled in depth, width and resolution together.

Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019 (arXiv
1905.11946), table 1 (the baseline) and section 3.3 (compound scaling); the rounding of the scaled
sizes and the larger networks' factors follow the authors' released code.
"""

from __future__ import annotations

import functools
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn_act, mbconv

# Filters and stride of each stage (table 1).
STAGES = ((16, 1), (24, 2), (40, 2), (80, 2), (112, 1), (192, 2), (320, 1))
WIDTHS = (1.0, 1.1, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 4.3)
DEPTHS = (1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1, 3.6, 5.3)
SIZES = (224, 240, 260, 300, 380, 456, 528, 600, 672, 800)


def inverted_bottleneck(
    x: ir.Value, out: ir.Operand, expand: ir.Operand, se: ir.Operand, **settings: Any
) -> ir.Value:
    """MBConv; its squeeze-and-excitation has a share of the channels that come in."""
    hidden = x.dim("C") * expand
    return mbconv(x, out, hidden, squeeze=ir.floor(x.dim("C") * se), **settings)


def space(
    *,
    classes: int = 1000,
    size: int | None = None,
    channels: int = 3,
    widths: tuple[float, ...] = WIDTHS,
    depths: tuple[float, ...] = DEPTHS,
    sizes: tuple[int, ...] = SIZES,
    scale: float = 1.0,
    drop_path: float = 0.0,
) -> ir.Space:
    """Return the space of scaled baselines.

    Args:
        classes, channels: number of classes; channels of the images.
        size: side of the images where it is not to be chosen; it replaces ``sizes``.
        widths, depths, sizes: factors of all filters and of all stages' layers, and sides of the
            images in pixels: those of the published networks.
        scale: largest further factor of each, for ``strategy=compound_scaling`` (see :func:`ir.factors`).
        drop_path: rate of stochastic depth at the last layer; it grows with the stage.
    """
    factors = ir.factors(scale)
    width = ir.choice("width", *widths, ordered=True)
    depth = ir.choice("depth", *depths, ordered=True)
    side = ir.choice("resolution", *((size,) if size else sizes), ordered=True)
    dropout = ir.choice("dropout", 0.0, 0.2, 0.3, 0.4, 0.5, searched=False)

    def scaled(filters: int) -> ir.Operand:
        return ir.round_to_8(filters * width * factors.width)

    x = conv_bn_act(
        ir.image(channels, factors.side(side)), scaled(32), 3, 2, activation="silu", name="stem"
    )
    for number, (filters, stride) in enumerate(STAGES, 1):
        with ir.scope(f"stage{number}"):
            layers = ir.ceil(factors.layers(ir.integer("layers", 1, 4) * depth))
            kernel = ir.choice("kernel", 3, 5, ordered=True)
            expand = ir.choice("expand", 1, 3, 6, ordered=True)
            se = ir.choice("se", 0.0, 0.25, ordered=True)
            rate = drop_path * (number - 1) / (len(STAGES) - 1)
            layer = functools.partial(
                inverted_bottleneck, kernel=kernel, expand=expand, se=se, rate=rate
            )
            x = layer(x, scaled(filters), stride=stride, name="first")
            x = ir.repeat(lambda x, layer=layer: layer(x, x.dim("C")), layers - 1)(x)
    x = conv_bn_act(x, scaled(1280), activation="silu", name="head")
    return ir.Space(classifier(x, classes, dropout, init="fan_out_uniform"), name="efficientnet")


LAYERS, KERNELS = (1, 2, 2, 3, 3, 4, 1), (3, 3, 5, 3, 5, 5, 3)
BASELINE: dict[str, Any] = {}
for _number, (_layers, _kernel) in enumerate(zip(LAYERS, KERNELS, strict=True), 1):
    BASELINE |= {f"stage{_number}/layers": _layers, f"stage{_number}/kernel": _kernel}
    BASELINE |= {f"stage{_number}/expand": 1 if _number == 1 else 6, f"stage{_number}/se": 0.25}


BIGNAS = "the larger figure is from BigNAS's table; the paper's own is the smaller"
HIGHER = "counted at the published resolution; the paper prints a few per cent less and does not say how it counts"


def _model(width: float, depth: float, size: int, dropout: float, note: str = "") -> ir.Model:
    scale = {"width": width, "depth": depth, "resolution": size, "dropout": dropout}
    source = "Tan & Le (2019), tables 1 and 2, and released code"
    return ir.Model({**scale, **BASELINE}, {}, source, note=note)


MODELS: dict[str, ir.Model] = {
    "efficientnet_b0": _model(1.0, 1.0, 224, 0.2),
    "efficientnet_b1": _model(1.0, 1.1, 240, 0.2, BIGNAS),
    "efficientnet_b2": _model(1.1, 1.2, 260, 0.3, BIGNAS),
    "efficientnet_b3": _model(1.2, 1.4, 300, 0.3),
    "efficientnet_b4": _model(1.4, 1.8, 380, 0.4, HIGHER),
    "efficientnet_b5": _model(1.6, 2.2, 456, 0.4, HIGHER),
    "efficientnet_b6": _model(1.8, 2.6, 528, 0.5),
    "efficientnet_b7": _model(2.0, 3.1, 600, 0.5, HIGHER),
    "efficientnet_b8": _model(2.2, 3.6, 672, 0.5),
    "efficientnet_l2": _model(4.3, 5.3, 800, 0.5),
}
