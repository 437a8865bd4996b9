"""Stages of inverted residuals whose width, depth, kernel and expansion are open.

Yu et al., "BigNAS", ECCV 2020 (arXiv 2003.11142), section 3.1 and its table of the search space; Wang
et al., "AttentiveNAS", CVPR 2021 (arXiv 2011.09011), table 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from nasflow import ir
from nasflow.ir.blocks import conv_bn_act, mbconv


class Stage(NamedTuple):
    """What may be chosen of a stage, and what is fixed: its stride and squeeze-and-excitation."""

    widths: Sequence[int]
    depths: Sequence[int]
    kernels: Sequence[int]
    expands: Sequence[int]
    stride: int
    se: bool


def chosen(name: str, options: Sequence[int]) -> ir.Operand:
    """Return a decision among ``options``; where there is one option, that."""
    return ir.choice(name, *options, ordered=True) if len(options) > 1 else options[0]


def inverted_residual(
    x: ir.Value,
    stage: Stage,
    stride: int,
    width: ir.Operand,
    kernel: ir.Operand,
    expand: ir.Operand,
    narrow: bool = False,
) -> ir.Value:
    """One layer of a stage. Every layer has a shortcut, fitted where it must be.

    Squeeze-and-excitation has a quarter of the expanded channels, as in MobileNetV3; with ``narrow``
    a quarter of those that come in, as in EfficientNet.
    """
    channels = x.dim("C")
    hidden = ir.round_to_8(channels * expand)
    squeeze: ir.Operand = 0
    settings: dict[str, Any] = {"squeeze_activation": "silu", "gate": "sigmoid"}
    if stage.se:
        squeeze = channels // 4 if narrow else ir.round_to_8(hidden // 4)
    if not narrow:
        settings = {"squeeze_activation": "relu", "gate": "hard_sigmoid"}
    return mbconv(x, width, hidden, kernel, stride, squeeze, always=True, **settings)


def opened(stage: Stage) -> dict[str, Any]:
    """Declare the width, kernel and expansion of a stage's layers."""
    return {
        "width": chosen("width", stage.widths),
        "kernel": chosen("kernel", stage.kernels),
        "expand": chosen("expand", stage.expands),
    }


def mobile_stage(x: ir.Value, stage: Stage, narrow: bool = False) -> ir.Value:
    """Apply a stage, its first layer striding; one width, kernel and expansion serve all layers."""
    settings = opened(stage)

    def layer(x: ir.Value, i: int) -> ir.Value:
        stride = stage.stride if i == 0 else 1
        return inverted_residual(x, stage, stride, **settings, narrow=narrow)

    value: ir.Value = ir.repeat(layer, chosen("depth", stage.depths), name="layers")(x)
    return value


def efficient_head(
    x: ir.Value, expanded: ir.Operand, features: ir.Operand, activation: str, dropout: ir.Operand
) -> ir.Value:
    """Widen the map, average it, and mix what is left: (C, H, W) -> (features,).

    Howard et al. (2019), section 5.1: the last layers work on a vector, not on a map.
    """
    x = ir.Mean()(conv_bn_act(x, expanded, activation=activation, name="last"), name="pool")
    x = ir.Linear(features, bias=False, init="kaiming_normal_fan_out")(x, name="mix")
    value: ir.Value = ir.Dropout(dropout)(ir.Activation(activation)(x))
    return value


def point(
    resolution: int,
    widths: Sequence[int],
    depths: Sequence[int],
    kernels: Sequence[int],
    expands: Sequence[int],
    stages: Sequence[Stage],
) -> dict[str, int]:
    """Return a point: widths are those of the stem, the stages and the features."""
    stem, *inner, features = widths
    found = {"resolution": resolution, "stem": stem, "features": features}
    columns = zip(stages, inner, depths, kernels, expands, strict=True)
    for number, (stage, width, depth, kernel, expand) in enumerate(columns, 1):
        values = {"width": width, "depth": depth, "kernel": kernel, "expand": expand}
        open_ = (stage.widths, stage.depths, stage.kernels, stage.expands)
        for (name, value), options in zip(values.items(), open_, strict=True):
            if len(options) > 1:
                found[f"stage{number}/{name}"] = value
    return found
