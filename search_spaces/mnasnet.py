"""MnasNet: seven blocks around MobileNetV2's skeleton, each with a layer of its own (factorised hierarchical).

Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019 (arXiv
1807.11626), section 4.1 and figures 4 and 7. The paper prints neither how filters are rounded nor how a
skip pools: its networks' 112 and 192 filters are 1.25 times MobileNetV2's, rounded down to multiples of
16; a pooled skip is a 3x3 average here. Norms are those of the implementations in PyTorch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import (
    classifier,
    conv_bn,
    conv_bn_act,
    depthwise_bn_act,
    squeeze_excite,
)
from nasflow.ir.expression import make_divisible

# Filters, stride and layers of MobileNetV2's stages (Sandler et al., 2018, table 2).
SKELETON = ((16, 1, 1), (24, 2, 2), (32, 2, 3), (64, 2, 4), (96, 1, 3), (160, 2, 3), (320, 1, 1))
EXPANSIONS = {"conv": 1, "separable": 1, "mbconv3": 3, "mbconv6": 6}
SKIPS = ("none", "identity", "pool")
SCALES = (0.75, 1.0, 1.25)
HEAD = 1280


def scaled(filters: int, scale: float) -> int:
    """Filters of a block: a multiple of 8, and from 96 on one of 16 that is not larger."""
    exact = filters * scale
    return int(exact // 16) * 16 if exact >= 96 else make_divisible(exact)


@ir.block
def convolution(
    x: ir.Value, out: ir.Operand, kernel: ir.Operand, stride: int, squeeze: ir.Operand
) -> ir.Value:
    """A full convolution, squeezed and excited."""
    return weighed(conv_bn_act(x, out, kernel, stride), squeeze)


@ir.block
def bottleneck(
    x: ir.Value,
    out: ir.Operand,
    kernel: ir.Operand,
    stride: int,
    squeeze: ir.Operand,
    hidden: ir.Operand,
) -> ir.Value:
    """An inverted bottleneck (figure 7, b), or a separable convolution where nothing expands (c)."""

    def expand(x: ir.Value) -> ir.Value:
        return conv_bn_act(x, hidden, name="expand")

    y = ir.when(x.dim("C") != hidden, expand, lambda x: x)(x, name="widen")
    y = depthwise_bn_act(y, kernel, stride)
    return conv_bn(weighed(y, squeeze), out, name="project")


def weighed(y: ir.Value, hidden: ir.Operand) -> ir.Value:
    """Squeeze and excite with ``hidden`` features; 0 is none."""
    weigh = ir.when(hidden != 0, lambda y: squeeze_excite(y, hidden), lambda y: y)
    value: ir.Value = weigh(y, name="squeeze")
    return value


def layer(
    x: ir.Value,
    out: ir.Operand,
    op: ir.Decision,
    kernel: ir.Operand,
    se: ir.Operand,
    skip: ir.Decision,
    stride: int,
    name: str = "layer",
) -> ir.Value:
    """One layer of a block, with its skip wherever shapes allow one."""
    squeeze = ir.floor(x.dim("C") * se)  # a share of the channels that come in
    hidden = x.dim("C") * ir.table(op, EXPANSIONS)
    y = ir.when(
        op == "conv",
        lambda x: convolution(x, out, kernel, stride, squeeze),
        lambda x: bottleneck(x, out, kernel, stride, squeeze, hidden),
    )(x, name=name)
    fits = x.dim("C") == y.dim("C")

    def identity(y: ir.Value, x: ir.Value) -> ir.Value:
        if stride != 1:
            return y
        added: ir.Value = ir.when(fits, lambda y, x: ir.Add()(y, x), lambda y, x: y)(
            y, x, name="add"
        )
        return added

    def pool(y: ir.Value, x: ir.Value) -> ir.Value:
        def add(y: ir.Value, x: ir.Value) -> ir.Value:
            pooled = ir.AvgPool(3, stride)(x, name="pool")
            added: ir.Value = ir.Add()(y, pooled)
            return added

        pooled: ir.Value = ir.when(fits, add, lambda y, x: y)(y, x, name="add")
        return pooled

    skips: dict[Any, Any] = {"none": lambda y, x: y, "identity": identity, "pool": pool}
    value: ir.Value = ir.switch(skip, skips)(y, x, name=f"{name}_skip")
    return value


def space(
    *,
    classes: int = 1000,
    size: int | None = None,
    channels: int = 3,
    widths: tuple[float, ...] = (0.35, 0.45, 0.5, 0.75, 1.0, 1.3, 1.4),
    sizes: tuple[int, ...] = (96, 128, 160, 192, 224),
    scales: Sequence[float] = SCALES,
) -> ir.Space:
    """Return the space: each block's operation, kernel, SE, skip, filters and layers; two multipliers.

    Args:
        classes, channels: number of classes; channels of the images.
        size: side of the images where it is not to be chosen; it replaces ``sizes``.
        widths, sizes: multipliers of all filters but the head's; sides of the images. The paper
            searches at 1 and 224 and scales what it found; so does a search unless told otherwise.
        scales: each block's filters as shares of MobileNetV2's.
    """
    width = ir.choice("width", *widths, ordered=True)
    side = ir.choice("resolution", *((size,) if size else sizes), ordered=True)
    stem = ir.choice("stem", 32, 16, searched=False)
    dropout = ir.choice("dropout", 0.0, 0.2, searched=False)
    x = conv_bn_act(ir.image(channels, side), ir.round_to_8(stem * width), 3, 2, name="stem")
    for number, (filters, stride, layers) in enumerate(SKELETON, 1):
        with ir.scope(f"block{number}"):
            counts = {scale: scaled(filters, scale) for scale in scales}
            out = ir.table(ir.choice("filters", *scales, ordered=True), counts)
            body = functools.partial(
                layer,
                out=ir.round_to_8(out * width),
                op=ir.choice("op", *EXPANSIONS),
                kernel=ir.choice("kernel", 3, 5, ordered=True),
                se=ir.choice("se", 0.0, 0.25, ordered=True),
                skip=ir.choice("skip", *SKIPS),
            )
            count = ir.integer("layers", max(layers - 1, 1), layers + 1)
            x = body(x, stride=stride, name="first")
            x = ir.repeat(lambda x, body=body: body(x, stride=1), count - 1)(x)
    x = conv_bn_act(x, HEAD, name="head")
    return ir.Space(classifier(x, classes, dropout, init="fan_out_uniform"), name="mnasnet")


def _model(
    ops: str,
    kernels: str,
    squeezed: str,
    filters: Sequence[float],
    layers: str,
    source: str,
    *,
    skips: str = "niiiiin",
    stem: int = 32,
    width: float = 1.0,
    **marks: Any,
) -> ir.Model:
    """Describe a network by a character or number for each of its seven blocks."""
    names = {"c": "conv", "s": "separable", "3": "mbconv3", "6": "mbconv6"}
    forms = {"n": "none", "i": "identity", "p": "pool"}
    point: dict[str, Any] = {"width": width, "resolution": 224, "stem": stem}
    for i, scale in enumerate(filters):
        block = f"block{i + 1}"
        point |= {f"{block}/op": names[ops[i]], f"{block}/kernel": int(kernels[i])}
        point |= {f"{block}/se": 0.25 * (squeezed[i] == "1"), f"{block}/skip": forms[skips[i]]}
        point |= {f"{block}/filters": scale, f"{block}/layers": int(layers[i])}
    return ir.Model(point, {}, source, **marks)


A1 = ("s636666", "3353353", "0010110", (1.0, 1.0, 1.25, 1.25, 1.25, 1.0, 1.0), "1234231")
A2 = ("s636366", "3553333", "0010110", (1.0, 1.0, 1.25, 1.25, 1.25, 1.25, 1.0), "1234241")
A3 = ("s636666", "3353353", "0010110", (1.0, 1.0, 1.25, 1.25, 1.0, 1.25, 1.0), "1235441")
B1 = ("s336666", "3355353", "0000000", (1.0, 1.0, 1.25, 1.25, 1.0, 1.25, 1.0), "1333241")
SMALL = ("s366666", "3335353", "0001110", (1.0, 1.0, 1.0, 1.0, 0.75, 1.25, 1.0), "1124331")
SEARCHED = "the paper's MnasNet-search2 (2.0M, 68M): the only one of its 22 ms networks in the released code"
COUNTED = "the paper prints 312M, the lecture's table 315M; this is the released network, as timm counts it"
ROUNDING = "the paper prints 63M; the released rounding of filters gives this"
UNPUBLISHED = (
    "settings are neither in the paper nor in released code: a point near A1 that meets the printed "
    "parameters and MACs"
)
PAPER = "Tan et al. (2019), {} and released code"

WIDTHS = {"035": 0.35, "050": 0.5, "075": 0.75, "130": 1.3, "140": 1.4}

MODELS: dict[str, ir.Model] = {
    "mnasnet_a1": _model(*A1, PAPER.format("figure 7"), note=COUNTED),
    "mnasnet_a2": _model(*A2, "Tan et al. (2019), table 1", reconstructed=True, note=UNPUBLISHED),
    "mnasnet_a3": _model(*A3, "Tan et al. (2019), table 1", reconstructed=True, note=UNPUBLISHED),
    "mnasnet_b1": _model(*B1, PAPER.format("table 2")),
    "mnasnet_small": _model(
        *SMALL, PAPER.format("table 4"), skips="iiiiiii", stem=16, width=0.45, note=SEARCHED
    ),
}
for _name, _width in WIDTHS.items():
    _note = ROUNDING if _name == "035" else ""
    MODELS[f"mnasnet_a1_{_name}"] = _model(
        *A1, PAPER.format("section 6.2"), width=_width, note=_note
    )
    MODELS[f"mnasnet_b1_{_name}"] = _model(*B1, PAPER.format("section 6.2"), width=_width)
