"""Shake-Shake: residual networks of two branches, mixed at random in training.

Gastaldi, "Shake-Shake regularization", 2017 (arXiv 1705.07485), section 2.1: a network of 26 layers
"2 x 32d" has two branches and 32 filters in its first stage; every branch is ReLU, 3x3, norm, ReLU,
3x3, norm, and a shortcut that changes shape joins two 1x1 paths, the second a pixel apart.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn

STEM, STAGES = 16, 3


def relu(x: ir.Value) -> ir.Value:
    return ir.Activation("relu")(x)


@ir.block
def branch(x: ir.Value, filters: ir.Operand, stride: int) -> ir.Value:
    y = conv_bn(relu(x), filters, 3, stride, name="conv1")
    return conv_bn(relu(y), filters, 3, name="conv2")


@ir.block
def skip(x: ir.Value, filters: ir.Operand, stride: int) -> ir.Value:
    """Two paths of half the filters each; where strided, the second sees the pixels between."""
    x = relu(x)
    even, odd = (ir.Subsample(2)(x), ir.Subsample(2, offset=1)(x)) if stride > 1 else (x, x)
    first = ir.Conv2d(filters // 2, bias=False)(even, name="even")
    second = ir.Conv2d(filters - filters // 2, bias=False)(odd, name="odd")
    return ir.BatchNorm()(ir.Concat()(first, second), name="norm")


@ir.block
def unit(x: ir.Value, filters: ir.Operand, mix: ir.Decision, stride: int = 1) -> ir.Value:
    """Add two branches, shaken or in equal shares, to the shortcut."""
    a = branch(x, filters, stride, name="branch1")
    b = branch(x, filters, stride, name="branch2")
    branches = {"shake": lambda a, b: ir.Shake()(a, b), "even": lambda a, b: ir.Add()(a, b)}
    mixed = ir.switch(mix, {option: branches[str(option)] for option in mix.options})(a, b)
    changes = True if stride > 1 else x.dim("C") != filters
    fitted = ir.when(changes, lambda x: skip(x, filters, stride), lambda x: x)(x, name="shortcut")
    return ir.Add()(mixed, fitted)


def space(
    *,
    classes: int = 10,
    size: int = 32,
    channels: int = 3,
    widths: tuple[int, ...] = (16, 32, 64, 96),
    deepest: int = 4,
) -> ir.Space:
    """Return the space: filters of the first stage, units of each stage, how branches are mixed."""
    width = ir.choice("width", *widths, ordered=True)
    mix = ir.choice("mix", "shake", "even")
    x = conv_bn(ir.image(channels, size), STEM, 3, name="stem")
    for stage in range(1, STAGES + 1):
        filters = width * 2 ** (stage - 1)
        with ir.scope(f"stage{stage}"):
            x = unit(x, filters, mix, 1 if stage == 1 else 2, name="first")
            depth = ir.integer("depth", 1, deepest)
            x = ir.repeat(lambda x, filters=filters: unit(x, filters, mix), depth - 1)(x)
    return ir.Space(classifier(relu(x), classes), name="shakeshake")


def _model(width: int) -> ir.Model:
    point: dict[str, object] = {"width": width, "mix": "shake"}
    point |= {f"stage{stage}/depth": 4 for stage in range(1, STAGES + 1)}
    return ir.Model(point, source="Gastaldi (2017), table 1")


MODELS: dict[str, ir.Model] = {
    "shakeshake_26_2x32d_cifar": _model(32),
    "shakeshake_26_2x64d_cifar": _model(64),
    "shakeshake_26_2x96d_cifar": _model(96),
}
