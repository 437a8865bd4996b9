"""MobileNetV3: inverted residuals with squeeze-and-excitation and hard swish, found by search.

Howard et al., "Searching for MobileNetV3", ICCV 2019 (arXiv 1905.02244), tables 1 and 2, section 5.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from nasflow import ir
from nasflow.ir.blocks import conv_bn_act, mbconv

SQUEEZE = 0.25  # share of the expanded channels in squeeze-and-excitation


@dataclass(frozen=True)
class Stage:
    """What a published stage is: the space opens its kernel, expansions, SE, non-linearity, depth."""

    filters: int
    stride: int
    kernel: int
    expand: tuple[float, ...]  # of each layer
    se: bool
    activation: str


LARGE = (
    Stage(16, 1, 3, (1,), False, "relu"),
    Stage(24, 2, 3, (4, 3), False, "relu"),
    Stage(40, 2, 5, (3, 3, 3), True, "relu"),
    Stage(80, 2, 3, (6, 2.5, 2.3, 2.3), False, "hard_swish"),
    Stage(112, 1, 3, (6, 6), True, "hard_swish"),
    Stage(160, 2, 5, (6, 6, 6), True, "hard_swish"),
)
SMALL = (
    Stage(16, 2, 3, (1,), True, "relu"),
    Stage(24, 2, 3, (4.5, 3.67), False, "relu"),
    Stage(40, 2, 5, (4, 6, 6), True, "hard_swish"),
    Stage(48, 1, 5, (3, 3), True, "hard_swish"),
    Stage(96, 2, 5, (6, 6, 6), True, "hard_swish"),
)
SKELETONS = {"large": (LARGE, 960, 1280), "small": (SMALL, 576, 1024)}
"""Stages, filters of the last convolution, features of the last hidden layer."""
EXPANSIONS = (1, 2.3, 2.5, 3, 3.67, 4, 4.5, 6)


def layer(
    x: ir.Value,
    i: int,
    *,
    out: ir.Operand,
    kernel: ir.Operand,
    stride: int,
    se: ir.Decision,
    form: ir.Operand,
) -> ir.Value:
    """Layer ``i`` of a stage; each has an expansion of its own."""
    hidden = ir.round_to_8(x.dim("C") * ir.choice("expand", *EXPANSIONS, ordered=True))
    squeeze = ir.where(se, ir.round_to_8(hidden * SQUEEZE), 0)
    step = stride if i == 0 else 1
    return mbconv(x, out, hidden, kernel, step, squeeze, form, "relu", gate="hard_sigmoid")


def space(
    *,
    classes: int = 1000,
    size: int | None = None,
    channels: int = 3,
    skeleton: str = "large",
    widths: tuple[float, ...] = (0.35, 0.5, 0.75, 1.0, 1.25),
    sizes: tuple[int, ...] = (128, 160, 192, 224),
    deepest: int = 4,
) -> ir.Space:
    """Return the space: multipliers, and each stage's kernel, expansions, SE, non-linearity, depth.

    Args:
        classes, channels: number of classes; channels of the images.
        size: side of the images where it is not to be chosen; it replaces ``sizes``.
        skeleton: ``"large"`` or ``"small"``.
        widths, sizes: multipliers of all filters; sides of the images.
        deepest: most layers of a stage.
    """
    if skeleton not in SKELETONS:
        raise ir.SpaceError(f"mobilenet_v3: expected skeleton large or small, got {skeleton!r}")
    stages, last, features = SKELETONS[skeleton]
    width = ir.choice("width", *widths, ordered=True)
    side = ir.choice("resolution", *((size,) if size else sizes), ordered=True)
    dropout = ir.choice("dropout", 0.0, 0.2, searched=False)
    stem = ir.where(width < 0.75, 16, ir.round_to_8(16 * width))  # as in the released code
    x = conv_bn_act(ir.image(channels, side), stem, 3, 2, activation="hard_swish", name="stem")
    for number, stage in enumerate(stages, 1):
        out = ir.round_to_8(stage.filters * width)
        with ir.scope(f"stage{number}"):
            kernel = ir.choice("kernel", 3, 5, 7, ordered=True)
            se = ir.choice("se", False, True)
            form = ir.choice("activation", "relu", "hard_swish")

            body = functools.partial(
                layer, out=out, kernel=kernel, stride=stage.stride, se=se, form=form
            )
            x = ir.repeat(body, ir.integer("layers", 1, deepest), name="layers")(x)
    x = conv_bn_act(x, ir.round_to_8(last * width), activation="hard_swish", name="last")
    x = ir.Linear(features, init="fan_out_uniform")(ir.Mean()(x, name="pool"), name="hidden")
    x = ir.Dropout(dropout)(ir.Activation("hard_swish")(x))
    logits = ir.Linear(classes, init="fan_out_uniform")(x, name="classifier")
    return ir.Space(logits, name="mobilenet_v3")


def _model(skeleton: str, width: float, note: str = "") -> ir.Model:
    point: dict[str, object] = {"width": width, "resolution": 224}
    for number, stage in enumerate(SKELETONS[skeleton][0], 1):
        scope = f"stage{number}"
        point |= {f"{scope}/kernel": stage.kernel, f"{scope}/se": stage.se}
        point |= {f"{scope}/activation": stage.activation, f"{scope}/layers": len(stage.expand)}
        point |= {f"{scope}/layers/{i}/expand": value for i, value in enumerate(stage.expand)}
    settings = {} if skeleton == "large" else {"skeleton": skeleton}
    return ir.Model(point, settings, "Howard et al. (2019), tables 1 and 2", note=note)


BIGNAS = "8.1M and 350M are from BigNAS's table; the paper prints 7.5M and 356M"
MODELS: dict[str, ir.Model] = {
    "mobilenetv3_large_075": _model("large", 0.75),
    "mobilenetv3_large_100": _model("large", 1.0),
    "mobilenetv3_large_125": _model("large", 1.25, BIGNAS),
    "mobilenetv3_small_100": _model("small", 1.0),
}
