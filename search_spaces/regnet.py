"""RegNet: bottlenecks of four stages whose widths and depths a quantised line gives.

Radosavovic et al., "Designing Network Design Spaces", CVPR 2020 (arXiv 2003.13678). The space is the
paper's AnyNetX-C (section 3.2: each stage's depth and width; one bottleneck ratio and one group width
for all) with squeeze-and-excitation as a choice; a RegNet is a point of it, from equations 2 to 4.
"""

from __future__ import annotations

import math

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn, conv_bn_act, squeeze_excite

STAGES, STEM = 4, 32


@ir.block
def x_block(
    x: ir.Value,
    out: ir.Operand,
    ratio: ir.Operand,
    group: ir.Operand,
    se: ir.Operand,
    stride: int,
) -> ir.Value:
    """1x1, grouped 3x3, 1x1; Y blocks squeeze to a quarter of the channels that come in (figure 5)."""
    inner = ir.nearest_integer(out / ratio)
    y = conv_bn_act(x, inner, name="conv1")
    y = conv_bn_act(y, inner, 3, stride, inner // ir.minimum(group, inner), name="conv2")

    def squeeze(y: ir.Value, x: ir.Value) -> ir.Value:
        return squeeze_excite(y, ir.nearest_integer(x.dim("C") * 0.25))

    y = ir.when(se, squeeze, lambda y, x: y)(y, x, name="squeeze")
    y = conv_bn(y, out, name="conv3")
    changes = (x.dim("C") != out) if stride == 1 else True
    fit = ir.when(changes, lambda x: conv_bn(x, out, 1, stride, name="project"), lambda x: x)
    return ir.Activation("relu")(ir.Add()(y, fit(x, name="shortcut")))


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    deepest: int = 17,
    widest: int = 4096,
) -> ir.Space:
    """Return the space.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        deepest, widest: most blocks and most filters of a stage.
    """
    ratio = ir.choice("bottleneck", 1, 2, 4, ordered=True)
    group = ir.integer("group_width", 8, min(336, widest), step=8)
    se = ir.choice("se", False, True)
    x = conv_bn_act(ir.image(channels, size), STEM, 3, 2, name="stem")
    for stage in range(1, STAGES + 1):
        with ir.scope(f"stage{stage}"):
            depth = ir.integer("depth", 1, deepest)
            width = ir.integer("width", 8, widest, step=8)
            # Widths become whole groups.
            inner = ir.round_to(width / ratio, ir.minimum(group, width // ratio), 0)
            out = inner * ratio
            x = x_block(x, out, ratio, group, se, 2, name="first")
            rest = ir.repeat(lambda x, out=out: x_block(x, out, ratio, group, se, 1), depth - 1)
            x = rest(x)
    return ir.Space(classifier(x, classes, init=("normal", 0.01)), name="regnet")


def widths(initial: int, slope: float, ratio: float, depth: int, group: int) -> list[int]:
    """Return each block's width: a line, rounded to powers of ``ratio`` (equations 2 to 4).

    Then to multiples of 8 and to whole groups, halves to the even one, as in the authors' code.
    """
    line = [initial + slope * j for j in range(depth)]
    steps = [round(math.log(width / initial) / math.log(ratio)) for width in line]
    rounded = [round(initial * ratio**step / 8) * 8 for step in steps]
    return [round(width / min(group, width)) * min(group, width) for width in rounded]


def _model(initial: int, slope: float, ratio: float, group: int, depth: int, se: bool) -> ir.Model:
    blocks = widths(initial, slope, ratio, depth, group)
    point: dict[str, object] = {"bottleneck": 1, "group_width": group, "se": se}
    for stage, width in enumerate(sorted(set(blocks)), 1):
        point |= {f"stage{stage}/depth": blocks.count(width), f"stage{stage}/width": width}
    return ir.Model(point, source="Radosavovic et al. (2020), appendix D and released code")


MODELS: dict[str, ir.Model] = {
    "regnetx_400mf": _model(24, 24.48, 2.54, 16, 22, se=False),
    "regnetx_1_6gf": _model(80, 34.01, 2.25, 24, 18, se=False),
    "regnety_400mf": _model(48, 27.89, 2.09, 8, 16, se=True),
    "regnety_1_6gf": _model(48, 20.71, 2.65, 24, 27, se=True),
    "regnety_4gf": _model(96, 31.41, 2.24, 64, 22, se=True),
    "regnety_8gf": _model(192, 76.82, 2.19, 56, 17, se=True),
    "regnety_16gf": _model(200, 106.23, 2.48, 112, 18, se=True),
    "regnety_32gf": _model(232, 115.89, 2.53, 232, 20, se=True),
}
