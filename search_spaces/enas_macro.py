"""ENAS's macro space: a chain of layers, each with an operation and any skip connections from before.

Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018 (arXiv 1802.03268),
section 2.3; what the text leaves open follows the authors' released code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nasflow import ir
from search_spaces.enas import HE, STYLES, reduction

STYLE = STYLES["enas"]


def _separable(x: ir.Value, kernel: int) -> ir.Value:
    channels = x.dim("C")
    depthwise = ir.Conv2d(channels, kernel, groups=channels, bias=False, init=HE)
    x = depthwise(ir.Activation("relu")(x), name="depthwise")
    return STYLE.norm(ir.Conv2d(channels, bias=False, init=HE)(x, name="pointwise"))


OPERATIONS: dict[str, Callable[[ir.Value], ir.Value]] = {
    "conv_3x3": lambda x: STYLE.conv(x, x.dim("C"), 3, 1),
    "sep_conv_3x3": lambda x: _separable(x, 3),
    "conv_5x5": lambda x: STYLE.conv(x, x.dim("C"), 5, 1),
    "sep_conv_5x5": lambda x: _separable(x, 5),
    "avg_pool_3x3": lambda x: ir.AvgPool(3)(x),
    "max_pool_3x3": lambda x: ir.MaxPool(3)(x),
}


def space(
    *,
    classes: int = 10,
    size: int = 32,
    channels: int = 3,
    layers: int = 24,
    filters: int = 96,
    operations: Sequence[str] = tuple(OPERATIONS),
) -> ir.Space:
    """Return the space: for each layer an operation, and a skip connection or none from each before the last.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        layers: in three equal parts; after the first two all there is is halved.
        filters: of the first part, doubled at each halving.
        operations: to choose from.
    """
    if layers % 3 or layers < 3:
        raise ir.SpaceError(f"enas_macro: expected layers in three equal parts, got {layers}")
    x = ir.Conv2d(filters, 3, bias=False, init=HE)(ir.image(channels, size), name="stem")
    made = [STYLE.norm(x, "stem_norm")]
    for layer in range(layers):
        with ir.scope(f"layer{layer}"):
            op = ir.choice("op", *operations)
            skips = [ir.choice(f"skip{i}", False, True) for i in range(layer)]
            y = STYLE.conv(made[-1], filters, name="narrow")
            y = ir.switch(op, {name: OPERATIONS[name] for name in operations})(y, name="operation")
            if skips:
                read = [ir.Gated(x, when) for x, when in zip(made[:-1], skips, strict=True)]
                y = STYLE.conv(ir.Concat()(*read, y, name="read"), filters, name="join")
        made.append(y)
        if layer + 1 in (layers // 3, 2 * layers // 3):
            filters *= 2
            made = [
                reduction(x, filters, STYLE, name=f"reduce{layer}_{i}") for i, x in enumerate(made)
            ]
    return ir.Space(
        ir.Linear(classes, bias=False, init=HE)(ir.Mean()(made[-1]), name="classifier"),
        name="enas_macro",
    )


RELEASED = """
0
3 0
0 1 0
2 0 0 1
2 0 0 0 0
3 1 1 0 1 0
2 0 0 0 0 0 1
2 0 1 1 0 1 1 1
1 0 1 1 1 0 1 0 1
0 0 0 0 0 0 0 0 0 0
2 0 0 0 0 0 1 0 0 0 0
0 1 0 0 1 1 0 0 0 0 1 1
2 0 1 0 0 0 0 0 1 0 1 1 0
1 0 0 1 0 0 0 1 1 1 0 1 0 1
0 1 1 0 1 0 1 0 0 0 0 0 1 0 0
2 0 0 1 0 0 0 0 0 0 0 1 0 1 0 1
2 0 1 0 0 0 1 0 0 1 1 1 1 0 0 1 0
2 0 0 0 0 1 0 1 0 1 0 0 1 0 1 0 0 1
3 0 1 1 0 1 0 0 0 0 0 1 0 1 0 1 0 0 0
3 0 1 1 0 0 0 0 0 0 0 0 0 1 1 0 0 0 0 1
0 1 0 0 1 0 1 1 0 0 0 1 0 0 0 0 0 1 1 0 0
3 0 1 0 1 1 0 0 1 0 1 1 0 1 1 0 1 0 0 1 0 0
0 1 0 1 0 1 0 0 0 0 0 0 0 0 1 0 1 0 0 1 0 0 0
0 1 1 0 0 0 1 1 1 0 1 0 0 0 1 0 1 0 0 1 1 0 0 0
"""
"""Of each layer the operation, then whether it reads each result before the last."""

DENSE = ("conv_3x3", "conv_3x3", "conv_5x5", "conv_5x5")


def _point(text: str, names: Sequence[str]) -> ir.Point:
    point: ir.Point = {}
    for layer, line in enumerate(text.split("\n")[1:-1]):
        op, *skips = map(int, line.split())
        point[f"layer{layer}/op"] = names[op]
        point |= {f"layer{layer}/skip{i}": bool(skip) for i, skip in enumerate(skips)}
    return point


MODELS = {
    "enas_macro": ir.Model(
        _point(RELEASED, DENSE),
        {},
        "Pham et al. (2018), table 1 (macro, more channels) and released code",
        note="the released code trains its separable convolutions as ordinary ones, which gives what is "
        "counted here; the paper prints 38.0M for a macro network of more channels (as remembered: no public "
        "copy of its table was found)",
    ),
}
