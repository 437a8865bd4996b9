"""MobileNet: convolutions taken apart into one for each channel and one for each place.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
2017 (arXiv 1704.04861), table 1 and section 3.3 (width and resolution multipliers).
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn_act, depthwise_bn_act

# Filters, stride and layers of each stage (table 1).
STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 2, 6), (1024, 2, 2))


@ir.block
def separable(
    x: ir.Value, out: ir.Operand, kernel: ir.Operand, stride: int, activation: ir.Operand
) -> ir.Value:
    """A depthwise and a pointwise convolution, each with norm and non-linearity (figure 3, right)."""
    x = depthwise_bn_act(x, kernel, stride, activation=activation)
    return conv_bn_act(x, out, activation=activation, name="pointwise")


def space(
    *,
    classes: int = 1000,
    size: int | None = None,
    channels: int = 3,
    widths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0),
    sizes: tuple[int, ...] = (128, 160, 192, 224),
) -> ir.Space:
    """Return the space: width and resolution multipliers, layers and kernel of each stage.

    ``size``, where given, is the images' side instead of a choice among ``sizes``.
    """
    width = ir.choice("width", *widths, ordered=True)
    side = ir.choice("resolution", *((size,) if size else sizes), ordered=True)
    form = ir.choice("activation", "relu6", "relu", searched=False)
    x = ir.image(channels, side)
    x = conv_bn_act(x, ir.round_to_8(32 * width), 3, 2, activation=form, name="stem")
    for number, (filters, stride, most) in enumerate(STAGES, 1):
        out = ir.round_to_8(filters * width)
        with ir.scope(f"stage{number}"):
            kernel = ir.choice("kernel", 3, 5, ordered=True)
            layers = ir.integer("layers", 1, most)
            x = separable(x, out, kernel, stride, form, name="first")
            rest = ir.repeat(
                lambda x, out=out, kernel=kernel: separable(x, out, kernel, 1, form), layers - 1
            )
            x = rest(x)
    return ir.Space(classifier(x, classes, init="fan_out_uniform"), name="mobilenet_v1")


def _model(width: float) -> ir.Model:
    point: dict[str, object] = {"width": width, "resolution": 224}
    for number, (_, _, layers) in enumerate(STAGES, 1):
        point |= {f"stage{number}/kernel": 3, f"stage{number}/layers": layers}
    return ir.Model(point, source="Howard et al. (2017), tables 1 and 6")


MODELS: dict[str, ir.Model] = {
    "mobilenetv1_025": _model(0.25),
    "mobilenetv1_050": _model(0.5),
    "mobilenetv1_075": _model(0.75),
    "mobilenetv1_100": _model(1.0),
}
