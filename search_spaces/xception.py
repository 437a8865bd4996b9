"""Xception: residual blocks of depthwise separable convolutions.

Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017 (arXiv 1610.02357), figure
5; borders as in timm's port.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn, conv_bn_act


def separable(x: ir.Value, out: ir.Operand, name: str) -> ir.Value:
    """A 3x3 convolution of each channel, then a 1x1 convolution, then a norm."""
    depthwise = ir.Conv2d(x.dim("C"), 3, groups=x.dim("C"), bias=False)
    return conv_bn(depthwise(x, name=f"{name}_depthwise"), out, name=name)


@ir.block
def block(x: ir.Value, widths: tuple[ir.Operand, ...], stride: int, relu: bool = True) -> ir.Value:
    """Separable convolutions of ``widths``, a ReLU before each, beside a shortcut.

    With ``stride`` 2 a pool ends the branch and a strided 1x1 convolution is the shortcut.
    """
    shortcut = conv_bn(x, widths[-1], 1, stride, name="shortcut") if stride > 1 else x
    for number, width in enumerate(widths, 1):
        x = ir.Activation("relu")(x) if relu or number > 1 else x
        x = separable(x, width, f"conv{number}")
    return ir.Add()(ir.MaxPool(3, 2)(x) if stride > 1 else x, shortcut)


def space(
    *,
    classes: int = 1000,
    size: int = 299,
    channels: int = 3,
    deepest: int = 16,
    dropout: float = 0.0,
) -> ir.Space:
    """Return the space of Xceptions.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        deepest: most blocks of the middle flow.
        dropout: rate before the classifier.
    """
    factor = ir.choice("width", 0.5, 0.75, 1.0, ordered=True)

    def wide(filters: int) -> ir.Operand:
        return ir.nearest_integer(filters * factor)

    # Entry flow
    image = ir.image(channels, size)
    x = conv_bn_act(image, wide(32), 3, 2, padding=0, name="stem1")
    x = conv_bn_act(x, wide(64), 3, padding=0, name="stem2")
    x = block(x, (wide(128), wide(128)), 2, relu=False, name="entry1")
    x = block(x, (wide(256), wide(256)), 2, name="entry2")
    x = block(x, (wide(728), wide(728)), 2, name="entry3")
    # Middle flow
    depth = ir.integer("depth", 1, deepest)
    x = ir.repeat(lambda x: block(x, (wide(728),) * 3, 1), depth, name="middle")(x)
    # Exit flow
    x = block(x, (wide(728), wide(1024)), 2, name="exit")
    for number, filters in ((1, 1536), (2, 2048)):
        x = ir.Activation("relu")(separable(x, wide(filters), f"exit_conv{number}"))
    return ir.Space(classifier(x, classes, dropout), name="xception")


MODELS = {"xception": ir.Model({"width": 1.0, "depth": 8}, {}, "Chollet (2017), figure 5, table 3")}
