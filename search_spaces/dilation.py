"""The context module: dilated convolutions that widen the view without losing resolution.

Yu & Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", ICLR 2016 (arXiv 1511.07122), section 3
and table 1. It takes and gives a map of scores, a channel for each class, and starts as the identity.
"""

from __future__ import annotations

from nasflow import ir

NOISE = 0.01  # of a module whose layers have more channels than the map


def space(
    *, classes: int = 21, size: int = 64, dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
) -> ir.Space:
    """Return the space of context modules.

    Args:
        classes: channels of the map, C in the paper.
        size: side of the map.
        dilations: distances between a layer's taps that search may choose.
    """
    x = ir.image(classes, size)
    for layer in range(1, 8):
        with ir.scope(f"layer{layer}"):
            dilation = ir.choice("dilation", *dilations, ordered=True)
            width = ir.choice("width", 1, 2, 4, 8, 16, 32, ordered=True)  # in multiples of C
            noise = ir.where((x.dim("C") == classes) & (width == 1), 0.0, NOISE)
            convolution = ir.Conv2d(
                classes * width, 3, dilation=dilation, init=("identity", classes, noise)
            )
            x = ir.Activation("relu")(convolution(x, name="conv"))
    noise = ir.where(x.dim("C") == classes, 0.0, NOISE)
    x = ir.Conv2d(classes, init=("identity", classes, noise))(x, name="last")
    return ir.Space(x, name="dilation")


def _model(widths: tuple[int, ...], name: str) -> ir.Model:
    point: dict[str, ir.Scalar] = {}
    for layer, (dilation, width) in enumerate(zip((1, 1, 2, 4, 8, 16, 1), widths, strict=True), 1):
        point |= {f"layer{layer}/dilation": dilation, f"layer{layer}/width": width}
    return ir.Model(point, source=f"Yu & Koltun (2016), table 1, {name}")


MODELS = {
    "dilated_context_module": _model((1,) * 7, "Basic"),
    "dilated_context_module_large": _model((2, 2, 4, 8, 16, 32, 32), "Large"),
}
