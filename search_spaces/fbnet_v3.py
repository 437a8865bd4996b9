"""FBNetV3: stages of inverted bottlenecks whose first layer is chosen apart from the others.

Dai et al., "FBNetV3: Joint Architecture-Recipe Search using Predictor Pretraining", CVPR 2021 (arXiv
2006.02049), section 4 (the space); the networks are those of the released code
(facebookresearch/mobile-vision), whose channels are multiples of 8, some of whose strided layers have a
border one pixel narrower than half the kernel, and whose stem has a bias. timm's have neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import conv_bn, conv_bn_act, depthwise_bn_act, residual, squeeze_excite

FEATURES = 1984  # of the last hidden layer
EXPANSION = 6  # of the last convolution
SE = 0.25  # share of the channels that come in
FORM = "hard_swish"


@dataclass(frozen=True)
class Stage:
    """What is fixed of a stage, and the ranges of what is not: filters (in steps of 8) and layers."""

    stride: int
    filters: tuple[int, int]
    layers: tuple[int, int]
    first: tuple[int, ...] = (4, 5, 6, 7)  # expansions of the first layer
    rest: tuple[int, ...] = (2, 3, 4, 5)  # of the others
    se: bool = False


STAGES = (
    Stage(1, (16, 24), (1, 4), (1,), (1,)),
    Stage(2, (24, 40), (4, 7)),
    Stage(2, (24, 56), (4, 7), se=True),
    Stage(2, (56, 104), (4, 8)),
    Stage(1, (96, 160), (6, 10), se=True),
    Stage(2, (176, 264), (5, 9), se=True),
    Stage(1, (176, 288), (1, 2), (5, 6), (6,), se=True),
)


@ir.block
def bottleneck(
    x: ir.Value,
    out: ir.Operand,
    kernel: ir.Operand,
    expand: ir.Operand,
    stride: int,
    se: bool,
    padding: ir.Operand = "half",
) -> ir.Value:
    """An inverted bottleneck; where ``x`` is added, the network starts with that alone."""
    channels = x.dim("C")
    hidden = channels * expand

    def widen(x: ir.Value) -> ir.Value:
        return conv_bn_act(x, hidden, activation=FORM, name="expand")

    y = ir.when(channels != hidden, widen, lambda x: x)(x, name="widen")
    y = depthwise_bn_act(y, kernel, stride, padding=padding, activation=FORM)
    if se:
        y = squeeze_excite(y, ir.round_to(channels * SE, 8, 0.95), FORM, "hard_sigmoid")
    if stride != 1:
        return conv_bn(y, out, name="project")
    norm = ir.BatchNorm(init=ir.where(channels == out, "zeros", "ones"))
    y = conv_bn(y, out, name="project", norm=norm)
    value: ir.Value = ir.when(channels == out, residual, lambda x, y: y)(x, y, name="residual")
    return value


def one_of(name: str, options: Sequence[int]) -> ir.Operand:
    return ir.choice(name, *options, ordered=True) if len(options) > 1 else options[0]


def space(
    *,
    classes: int = 1000,
    size: int | None = None,
    channels: int = 3,
    sizes: tuple[int, ...] = tuple(range(224, 273, 8)),
    stages: Sequence[Stage] = STAGES,
) -> ir.Space:
    """Return the space: resolution, stem, and each stage's kernels, expansions, filters and layers.

    ``size``, where given, is the images' side instead of a choice among ``sizes``.
    """
    side = ir.choice("resolution", *((size,) if size else sizes), ordered=True)
    dropout = ir.choice("dropout", 0.0, 0.2, searched=False)
    bias = ir.choice("stem_bias", True, False, searched=False)
    x = ir.Conv2d(ir.integer("stem", 16, 32, 8), 3, 2, bias=bias)(
        ir.image(channels, side), name="stem"
    )
    x = ir.Activation(FORM)(ir.BatchNorm()(x, name="stem_norm"))
    for number, stage in enumerate(stages, 1):
        with ir.scope(f"stage{number}"):
            x = _stage(x, stage)
    x = conv_bn_act(x, x.dim("C") * EXPANSION, activation=FORM, name="head")
    x = ir.Linear(FEATURES, bias=False, init="fan_out_uniform")(
        ir.Mean()(x, name="pool"), name="hidden"
    )
    x = ir.Dropout(dropout)(ir.Activation(FORM)(x))
    logits = ir.Linear(classes, init="fan_out_uniform")(x, name="classifier")
    return ir.Space(logits, name="fbnet_v3")


def _stage(x: ir.Value, stage: Stage) -> ir.Value:
    out = ir.integer("filters", *stage.filters, 8)
    layers = ir.integer("layers", *stage.layers)
    kernel = ir.choice("first_kernel", 3, 5, ordered=True)
    padding: ir.Operand = "half"
    if stage.stride > 1:
        narrow = ir.choice("narrow", False, True, searched=False)
        padding = ir.where(narrow, kernel // 2 - 1, kernel // 2)
    expand = one_of("first_expand", stage.first)
    x = bottleneck(x, out, kernel, expand, stage.stride, stage.se, padding, name="first")
    kernel, expand = ir.choice("kernel", 3, 5, ordered=True), one_of("expand", stage.rest)
    rest = ir.repeat(lambda x: bottleneck(x, out, kernel, expand, 1, stage.se), layers - 1)
    value: ir.Value = rest(x)
    return value


def _model(
    size: int,
    stem: int,
    filters: Sequence[int],
    layers: str,
    kernels: tuple[str, str],
    first: str,
    rest: str,
    narrow: Sequence[int] = (),
    timm: bool = False,
    note: str = "",
) -> ir.Model:
    """Describe a network by a number or digit for each stage; kernels are of first layers and others."""
    point: dict[str, Any] = {"resolution": size, "stem": stem, "stem_bias": not timm}
    for i, stage in enumerate(STAGES):
        name = f"stage{i + 1}"
        point |= {f"{name}/filters": filters[i], f"{name}/layers": int(layers[i])}
        point[f"{name}/first_kernel"] = int(kernels[0][i])
        if layers[i] != "1":
            point[f"{name}/kernel"] = int(kernels[1][i])
        if len(stage.first) > 1:
            point[f"{name}/first_expand"] = int(first[i])
        if len(stage.rest) > 1:
            point[f"{name}/expand"] = int(rest[i])
        if stage.stride > 1:
            point[f"{name}/narrow"] = i + 1 in narrow
    if timm:
        return ir.Model(point, {"sizes": (size,)}, "Dai et al. (2021), as in timm", note=AS_TIMM)
    return ir.Model(point, {"sizes": (size,)}, "Dai et al. (2021), released code", note=note)


FILTERS = {
    "a": (16, 24, 40, 72, 120, 184, 224),
    "c": (16, 24, 48, 88, 120, 216, 216),
    "d": (16, 24, 40, 72, 128, 208, 240),
    "e": (16, 24, 48, 80, 128, 216, 240),
    "f": (24, 32, 56, 88, 144, 248, 272),
    "g": (24, 40, 56, 104, 160, 264, 288),
}
A = (16, FILTERS["a"], "2455661", ("3555335", "3553553"), "1455566", "1233346")
ROUNDED = (
    "the paper's 357M is of channels that are no multiples of 8; released is the rounded network"
)
AS_TIMM = (
    "timm's network: half the kernel as border everywhere, no bias in the stem, smaller images"
)
MODELS: dict[str, ir.Model] = {
    "fbnetv3_a": _model(224, *A, narrow=(4, 6), note=ROUNDED),
    "fbnetv3_b": _model(224, *A, timm=True),
    "fbnetv3_c": _model(
        248, 16, FILTERS["c"], "2555661", ("3555355", "3353553"), "1554456", "1323356", (4, 6)
    ),
    "fbnetv3_d": _model(
        224, 24, FILTERS["d"], "2655761", ("3353335", "3333553"), "1545566", "1233356", timm=True
    ),
    "fbnetv3_e": _model(
        264, 24, FILTERS["e"], "3555861", ("3555335", "3553553"), "1445566", "1233356", (4,)
    ),
    "fbnetv3_f": _model(
        272, 24, FILTERS["f"], "3555971", ("3555335", "3553553"), "1445566", "1233356", (6,)
    ),
    "fbnetv3_g": _model(
        240, 32, FILTERS["g"], "3555972", ("3555335", "3553555"), "1445566", "1233356", timm=True
    ),
}
