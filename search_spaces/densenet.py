"""DenseNet: every layer sees the results of all layers before it in its block.

Huang, Liu, van der Maaten & Weinberger, "Densely Connected Convolutional Networks", CVPR 2017 (arXiv
1608.06993), section 3 and table 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import classifier

BOTTLENECK = 4  # a bottleneck's 1x1 gives 4k feature maps


def norm_relu_conv(
    x: ir.Value, out: ir.Operand, kernel: int, name: str, stride: int = 1
) -> ir.Value:
    x = ir.Activation("relu")(ir.BatchNorm()(x, name=f"{name}_norm"))
    return ir.Conv2d(out, kernel, stride, bias=False)(x, name=name)


@ir.block
def dense_layer(
    x: ir.Value, growth: ir.Operand, bottleneck: ir.Operand, dropout: ir.Operand
) -> ir.Value:
    """H_l: give ``growth`` new feature maps and join them to those there are."""

    def plain(x: ir.Value) -> ir.Value:
        return norm_relu_conv(x, growth, 3, "conv")

    def narrowed(x: ir.Value) -> ir.Value:
        return norm_relu_conv(
            norm_relu_conv(x, BOTTLENECK * growth, 1, "conv1"), growth, 3, "conv2"
        )

    y = ir.when(bottleneck, narrowed, plain)(x, name="layer")
    return ir.Concat()(x, ir.Dropout(dropout)(y))


@ir.block
def transition(x: ir.Value, compression: ir.Operand) -> ir.Value:
    """Narrow to a share of the feature maps and halve the resolution."""
    x = norm_relu_conv(x, ir.floor(x.dim("C") * compression), 1, "conv")
    return ir.AvgPool(2, 2, padding=0)(x)


def imagenet_stem(image: ir.Value, width: ir.Operand) -> ir.Value:
    x = ir.Conv2d(width, 7, 2, bias=False)(image, name="stem_conv")
    x = ir.Activation("relu")(ir.BatchNorm()(x, name="stem_norm"))
    return ir.MaxPool(3, 2)(x)


def cifar_stem(image: ir.Value, width: ir.Operand) -> ir.Value:
    return ir.Conv2d(width, 3, bias=False)(image, name="stem_conv")


SKELETONS = {"imagenet": (imagenet_stem, (6, 12, 64, 48)), "cifar": (cifar_stem, (32, 32, 32))}
"""Each skeleton's stem, and the most layers of each block."""


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    skeleton: str = "imagenet",
    deepest: tuple[int, ...] | None = None,
    growths: tuple[int, ...] = (12, 24, 32, 40, 48),
) -> ir.Space:
    """Return the space of DenseNets.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        skeleton: ``"imagenet"``, four blocks after a stride of 4, or ``"cifar"``, three at full size.
        deepest: most layers of each block.
        growths: feature maps that a layer adds, k in the paper.
    """
    if skeleton not in SKELETONS:
        raise ir.SpaceError(f"densenet: expected skeleton imagenet or cifar, got {skeleton!r}")
    stem, most = SKELETONS[skeleton]
    growth = ir.choice("growth", *growths, ordered=True)
    bottleneck = ir.choice("bottleneck", False, True)
    compression = ir.choice("compression", 0.5, 1.0, ordered=True)
    # The paper drops out after each convolution where it trains without augmentation.
    dropout = ir.choice("dropout", 0.0, 0.2, searched=False)
    width = ir.choice("stem_width", "two_growths", 16, searched=False)

    x = stem(ir.image(channels, size), ir.where(width == 16, 16, 2 * growth))
    blocks = deepest or most
    for number, limit in enumerate(blocks, 1):
        with ir.scope(f"block{number}"):
            depth = ir.integer("depth", 1, limit)
            layers = ir.repeat(
                lambda x: dense_layer(x, growth, bottleneck, dropout), depth, name="layers"
            )
            x = layers(x)
            if number < len(blocks):
                x = transition(x, compression)
    x = ir.Activation("relu")(ir.BatchNorm()(x, name="norm"))
    return ir.Space(classifier(x, classes), name="densenet")


def _model(
    depths: Sequence[int], growth: int, source: str, bc: bool = True, **more: Any
) -> ir.Model:
    point = {"growth": growth, "bottleneck": bc, "compression": 0.5 if bc else 1.0}
    point |= {f"block{number}/depth": depth for number, depth in enumerate(depths, 1)}
    settings = {} if len(depths) == 4 else {"skeleton": "cifar", "classes": 10, "size": 32}
    return ir.Model({**point, **more}, settings, f"Huang et al. (2017), {source}")


MODELS: dict[str, ir.Model] = {
    "densenet121": _model((6, 12, 24, 16), 32, "table 1"),
    "densenet161": _model((6, 12, 36, 24), 48, "released code"),
    "densenet169": _model((6, 12, 32, 32), 32, "table 1"),
    "densenet201": _model((6, 12, 48, 32), 32, "table 1"),
    "densenet264": _model((6, 12, 64, 48), 32, "table 1"),
    # CIFAR: three equal blocks of (L - 4) / 3 layers, or half as many with bottlenecks.
    "densenet_l40_k12_cifar": _model((12,) * 3, 12, "table 2", bc=False, stem_width=16),
    "densenet_l100_k12_cifar": _model((32,) * 3, 12, "table 2", bc=False, stem_width=16),
    "densenet_l100_k24_cifar": _model((32,) * 3, 24, "table 2", bc=False, stem_width=16),
    "densenet_bc_l100_k12_cifar": _model((16,) * 3, 12, "table 2"),
    "densenet_bc_l190_k40_cifar": _model((31,) * 3, 40, "table 2"),
}
