"""Inception v3, v4 and Inception-ResNet-v2: parallel branches, joined; a module for each of three maps.

Szegedy, Vanhoucke, Ioffe, Shlens & Wojna, "Rethinking the Inception Architecture for Computer Vision", CVPR
2016 (arXiv 1512.00567), section 6 and figures 5 to 7; Szegedy, Ioffe, Vanhoucke & Alemi, "Inception-v4,
Inception-ResNet and the Impact of Residual Connections on Learning", AAAI 2017 (arXiv 1602.07261), figures 3
to 9. Widths and borders follow the released code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn_act, squeeze_excite

NORM = ir.BatchNorm(eps=1e-3)
INIT = "kaiming_normal_fan_in"  # as the released code starts all convolutions
Kernel = int | tuple[int, int]
Module = Callable[[ir.Value], ir.Value]


def conv(
    x: ir.Value,
    out: ir.Operand,
    kernel: Kernel = 1,
    stride: int = 1,
    name: str = "conv",
    **more: Any,
) -> ir.Value:
    """Convolve, normalise, ReLU; strided convolutions see no borders."""
    settings = {"padding": 0 if stride > 1 else "half", "norm": NORM, "init": INIT, **more}
    return conv_bn_act(x, out, kernel, stride, name=name, **settings)


Layer = tuple[ir.Operand, Kernel] | tuple[ir.Operand, Kernel, int]


def branch(x: ir.Value, *layers: Layer, name: str, **more: Any) -> ir.Value:
    """Apply convolutions of (filters, kernel), or (filters, kernel, stride), one after another."""
    with ir.scope(name):
        for number, layer in enumerate(layers, 1):
            out, kernel, stride = (*layer, 1)[:3]
            x = conv(x, out, kernel, stride, name=f"conv{number}", **more)
    return x


def pooled(x: ir.Value, out: ir.Operand, count_padding: bool) -> ir.Value:
    """Average over 3x3, then a 1x1 convolution."""
    x = ir.AvgPool(3, count_padding=count_padding)(x)
    return branch(x, (out, 1), name="pool")


def fork(x: ir.Value, out: int, name: str) -> tuple[ir.Value, ir.Value]:
    """1x3 and 3x1 side by side."""
    with ir.scope(name):
        return conv(x, out, (1, 3), name="row"), conv(x, out, (3, 1), name="column")


def halved(x: ir.Value) -> ir.Value:
    return ir.MaxPool(3, 2, padding=0)(x)


# -- Inception v3 (figures 5 to 7, 10) --------------------------------------------------------------


@ir.block
def inception_a3(x: ir.Value, pool: ir.Operand) -> ir.Value:
    """Figure 5: at 35x35, a 5x5 beside two 3x3."""
    return ir.Concat()(
        branch(x, (64, 1), name="single"),
        branch(x, (48, 1), (64, 5), name="five"),
        branch(x, (64, 1), (96, 3), (96, 3), name="three"),
        pooled(x, pool, count_padding=True),
    )


@ir.block
def reduction_a3(x: ir.Value) -> ir.Value:
    """Figure 10: to 17x17."""
    return ir.Concat()(
        branch(x, (384, 3, 2), name="single"),
        branch(x, (64, 1), (96, 3), (96, 3, 2), name="double"),
        halved(x),
    )


@ir.block
def inception_b3(x: ir.Value, width: ir.Operand) -> ir.Value:
    """Figure 6: at 17x17, 7x7 as 1x7 and 7x1."""
    row, column = (1, 7), (7, 1)
    return ir.Concat()(
        branch(x, (192, 1), name="single"),
        branch(x, (width, 1), (width, row), (192, column), name="seven"),
        branch(
            x,
            *((width, 1), (width, column), (width, row), (width, column), (192, row)),
            name="double",
        ),
        pooled(x, 192, count_padding=True),
    )


@ir.block
def reduction_b3(x: ir.Value) -> ir.Value:
    """To 8x8."""
    return ir.Concat()(
        branch(x, (192, 1), (320, 3, 2), name="three"),
        branch(x, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2), name="seven"),
        halved(x),
    )


@ir.block
def inception_c3(x: ir.Value) -> ir.Value:
    """Figure 7: at 8x8, branches that fork into 1x3 and 3x1."""
    single = branch(x, (320, 1), name="single")
    three = fork(branch(x, (384, 1), name="three"), 384, "three")
    double = fork(branch(x, (448, 1), (384, 3), name="double"), 384, "double")
    return ir.Concat()(single, *three, *double, pooled(x, 192, count_padding=True))


def stem3(x: ir.Value) -> ir.Value:
    """Table 1, the first six rows: 299 -> 35."""
    x = conv(x, 32, 3, 2, name="stem1")
    x = conv(x, 32, 3, padding=0, name="stem2")
    x = halved(conv(x, 64, 3, name="stem3"))
    x = conv(x, 80, name="stem4")
    return halved(conv(x, 192, 3, padding=0, name="stem5"))


# -- Inception v4 (figures 3 to 8) ------------------------------------------------------------------


@ir.block
def stem4(x: ir.Value) -> ir.Value:
    """Figure 3: 299 -> 35, halving by a convolution beside a pool."""
    x = conv(x, 32, 3, 2, name="conv1")
    x = conv(x, 32, 3, padding=0, name="conv2")
    x = conv(x, 64, 3, name="conv3")
    x = ir.Concat()(halved(x), conv(x, 96, 3, 2, name="conv4"))
    short = conv(branch(x, (64, 1), name="short"), 96, 3, padding=0, name="short_last")
    long = branch(x, (64, 1), (64, (1, 7)), (64, (7, 1)), name="long")
    x = ir.Concat()(short, conv(long, 96, 3, padding=0, name="long_last"))
    return ir.Concat()(conv(x, 192, 3, 2, name="conv5"), halved(x))


@ir.block
def inception_a4(x: ir.Value) -> ir.Value:
    """Figure 4, at 35x35."""
    return ir.Concat()(
        branch(x, (96, 1), name="single"),
        branch(x, (64, 1), (96, 3), name="three"),
        branch(x, (64, 1), (96, 3), (96, 3), name="double"),
        pooled(x, 96, count_padding=False),
    )


@ir.block
def reduction_a4(x: ir.Value) -> ir.Value:
    """Figure 7 with k, l, m, n = 192, 224, 256, 384."""
    return ir.Concat()(
        branch(x, (384, 3, 2), name="single"),
        branch(x, (192, 1), (224, 3), (256, 3, 2), name="double"),
        halved(x),
    )


@ir.block
def inception_b4(x: ir.Value) -> ir.Value:
    """Figure 5, at 17x17."""
    row, column = (1, 7), (7, 1)
    return ir.Concat()(
        branch(x, (384, 1), name="single"),
        branch(x, (192, 1), (224, row), (256, column), name="seven"),
        branch(x, (192, 1), (192, column), (224, row), (224, column), (256, row), name="double"),
        pooled(x, 128, count_padding=False),
    )


@ir.block
def reduction_b4(x: ir.Value) -> ir.Value:
    """Figure 8, to 8x8."""
    return ir.Concat()(
        branch(x, (192, 1), (192, 3, 2), name="three"),
        branch(x, (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2), name="seven"),
        halved(x),
    )


@ir.block
def inception_c4(x: ir.Value) -> ir.Value:
    """Figure 6, at 8x8."""
    single = branch(x, (256, 1), name="single")
    three = fork(branch(x, (384, 1), name="three"), 256, "three")
    double = branch(x, (384, 1), (448, (3, 1)), (512, (1, 3)), name="double")
    forked = fork(double, 256, "double")
    return ir.Concat()(single, *three, *forked, pooled(x, 256, count_padding=False))


# -- Inception-ResNet-v2 (figures 10 to 15, and the released code) ----------------------------------


@ir.block
def inception_first(x: ir.Value) -> ir.Value:
    """The module between stem and residual modules."""
    return ir.Concat()(
        branch(x, (96, 1), name="single"),
        branch(x, (48, 1), (64, 5), name="five"),
        branch(x, (64, 1), (96, 3), (96, 3), name="three"),
        pooled(x, 64, count_padding=False),
    )


@ir.block
def residual_module(
    x: ir.Value,
    branches: tuple[tuple[Layer, ...], ...],
    scale: float,
    gated: Module,
    relu: bool = True,
) -> ir.Value:
    """Join branches, fit them by a 1x1 convolution, gate them, scale them down and add."""
    parts = [branch(x, *layers, name=f"branch{i}") for i, layers in enumerate(branches)]
    y = gated(ir.Conv2d(x.dim("C"), init=INIT)(ir.Concat()(*parts), name="fit"))
    y = ir.Add()(ir.Scale(scale)(y), x)
    return ir.Activation("relu")(y) if relu else y


A_R: tuple[tuple[Layer, ...], ...] = (
    ((32, 1),),
    ((32, 1), (32, 3)),
    ((32, 1), (48, 3), (64, 3)),
)
B_R: tuple[tuple[Layer, ...], ...] = (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1))))
C_R: tuple[tuple[Layer, ...], ...] = (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1))))


@ir.block
def reduction_a_r(x: ir.Value) -> ir.Value:
    """Figure 7 with k, l, m, n = 256, 256, 384, 384."""
    return ir.Concat()(
        branch(x, (384, 3, 2), name="single"),
        branch(x, (256, 1), (256, 3), (384, 3, 2), name="double"),
        halved(x),
    )


@ir.block
def reduction_b_r(x: ir.Value) -> ir.Value:
    """Figure 18, to 8x8."""
    return ir.Concat()(
        branch(x, (256, 1), (384, 3, 2), name="three"),
        branch(x, (256, 1), (288, 3, 2), name="narrow"),
        branch(x, (256, 1), (288, 3), (320, 3, 2), name="double"),
        halved(x),
    )


# -- the networks -----------------------------------------------------------------------------------


class Stages:
    """The decisions shared by all modules, and how modules follow each other."""

    def __init__(self) -> None:
        # Hu et al. (2018), section 3: gates of channels after each module, or in its residual branch.
        self.attention = ir.choice("attention", "none", "se")

    def gated(self, x: ir.Value) -> ir.Value:
        gate = ir.switch(
            self.attention, none=lambda x: x, se=lambda x: squeeze_excite(x, x.dim("C") // 16)
        )
        return gate(x, name="attention")

    def apply(self, x: ir.Value, module: Module, name: str) -> ir.Value:
        with ir.scope(name):
            return self.gated(module(x))

    def repeat(self, x: ir.Value, module: Module, name: str, most: int) -> ir.Value:
        with ir.scope(name):
            depth = ir.integer("depth", 1, most)
            return ir.repeat(lambda x: self.gated(module(x)), depth)(x)

    def residual(
        self,
        x: ir.Value,
        branches: tuple[tuple[Layer, ...], ...],
        scale: float,
        name: str,
        most: int,
    ) -> ir.Value:
        with ir.scope(name):
            depth = ir.integer("depth", 1, most)
            return ir.repeat(lambda x: residual_module(x, branches, scale, self.gated), depth)(x)


def v3(x: ir.Value, stages: Stages) -> ir.Value:
    """Table 1 of the 2016 paper."""
    x = stem3(x)
    x = stages.apply(x, lambda x: inception_a3(x, 32), "first")
    x = stages.repeat(x, lambda x: inception_a3(x, 64), "a", 4)
    x = stages.apply(x, reduction_a3, "reduction_a")
    x = stages.apply(x, lambda x: inception_b3(x, 128), "b_first")
    x = stages.repeat(x, lambda x: inception_b3(x, 160), "b", 4)
    x = stages.apply(x, lambda x: inception_b3(x, 192), "b_last")
    x = stages.apply(x, reduction_b3, "reduction_b")
    return stages.repeat(x, inception_c3, "c", 4)


def v4(x: ir.Value, stages: Stages) -> ir.Value:
    """Figure 9 of the 2017 paper."""
    x = stages.repeat(stem4(x), inception_a4, "a", 8)
    x = stages.apply(x, reduction_a4, "reduction_a")
    x = stages.repeat(x, inception_b4, "b", 14)
    x = stages.apply(x, reduction_b4, "reduction_b")
    return stages.repeat(x, inception_c4, "c", 6)


def resnet_v2(x: ir.Value, stages: Stages) -> ir.Value:
    """Figure 15 of the 2017 paper, with the released code's scales."""
    x = inception_first(stem3(x), name="first")
    x = stages.residual(x, A_R, 0.17, "a", 20)
    x = stages.apply(x, reduction_a_r, "reduction_a")
    x = stages.residual(x, B_R, 0.1, "b", 40)
    x = stages.apply(x, reduction_b_r, "reduction_b")
    x = stages.residual(x, C_R, 0.2, "c", 20)
    x = residual_module(x, C_R, 1.0, stages.gated, relu=False, name="last")
    return conv(x, 1536, name="head")


VERSIONS = {"v3": v3, "v4": v4, "resnet_v2": resnet_v2}


def space(
    *,
    classes: int = 1000,
    size: int = 299,
    channels: int = 3,
    version: str = "v3",
    dropout: float = 0.0,
) -> ir.Space:
    """Return the space of Inception networks.

    Args:
        classes, size, channels: number of classes; side, from 75, and channels of the images.
        version: ``"v3"``, ``"v4"`` or ``"resnet_v2"``: the modules.
        dropout: rate before the classifier.
    """
    if version not in VERSIONS:
        raise ir.SpaceError(f"inception: expected v3, v4 or resnet_v2, got {version!r}")
    x = VERSIONS[version](ir.image(channels, size), Stages())
    return ir.Space(classifier(x, classes, dropout), name="inception")


def _model(
    version: str, a: int, b: int, c: int, source: str, note: str = "", attention: str = "none"
) -> ir.Model:
    point = {"attention": attention, "a/depth": a, "b/depth": b, "c/depth": c}
    # SENet's own Inception-ResNet-v2 is not public: the gates' places are assumed.
    return ir.Model(point, {"version": version}, source, attention == "se", note)


SENETS = (
    "13.2B at 299 pixels is the released network; SENet's table prints 11.75B and 11.76B for a "
    "reimplementation that is not public: the step between them, 0.01B, is ours too"
)

MODELS = {
    "inception_v3": _model("v3", 2, 2, 2, "Szegedy et al. (2016), table 1 and released code"),
    "inception_v4": _model(
        "v4",
        *(4, 7, 3),
        "Szegedy et al. (2017), figure 9",
        note="tables print 48M and 13B; the network of the paper's figures has 42.7M and 12.25B",
    ),
    "inception_resnet_v2": _model(
        "resnet_v2", 10, 20, 9, "Szegedy et al. (2017), figure 15 and released code", SENETS
    ),
    "se_inception_resnet_v2": _model(
        "resnet_v2", 10, 20, 9, "Hu et al. (2018), table 2", SENETS, "se"
    ),
}
