"""Blocks that several families share: plain functions over operations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from nasflow import ir
from nasflow.ir.expression import Expression, Operand
from nasflow.ir.trace import Value, block, shared

__all__ = [
    "attention",
    "cbam",
    "classifier",
    "conv_bn",
    "conv_bn_act",
    "convnext_block",
    "dense",
    "depthwise_bn_act",
    "drop_path",
    "heads_of",
    "mbconv",
    "mlp",
    "residual",
    "squeeze_excite",
]

TRANSFORMER_INIT: Final = ("trunc_normal", 0.02)
"""How vision transformers start linear maps, with biases at zero (Touvron et al., 2021)."""


def residual(x: Value, branch: Value, rate: Operand = 0.0) -> Value:
    """Add a branch to what it started from, dropping it at random in training at ``rate``."""
    value: Value = ir.Add()(x, drop_path(branch, rate))
    return value


def drop_path(x: Value, rate: Operand) -> Value:
    """Drop a branch at random in training; nothing is recorded where ``rate`` is plainly 0."""
    if not isinstance(rate, Expression) and not rate:
        return x
    value: Value = ir.DropPath(rate)(x)
    return value


def dense(x: Value, out: Operand, name: str, bias: Operand = True, factors: Operand = ()) -> Value:
    """Map the last axis linearly, started as vision transformers are."""
    linear = ir.Linear(out, bias=bias, init=TRANSFORMER_INIT, factors=factors)
    value: Value = linear(x, name=name)
    return value


@block
def mlp(x: Value, hidden: Operand, activation: Operand = "gelu") -> Value:
    """Transform each token on its own: (..., D) -> the same. Vaswani et al. (2017), section 3.3."""
    inner = ir.Activation(activation)(dense(x, hidden, "fc1"), name="act")
    return dense(inner, x.dim("D"), "fc2")


def heads_of(
    x: Value, heads: Operand, width: Operand, bias: Operand = True, axes: str = ""
) -> tuple[Value, Value, Value]:
    """Map tokens to queries, keys and values of each head: (L, D) -> three (H, L, width).

    ``axes="w"`` is for (W, L, D), tokens in windows or frames.
    """
    qkv = dense(x, 3 * heads * width, "qkv", bias, (3, heads, width))  # type: ignore[operator]  # numbers
    pattern = f"{axes} l (p h d) -> p {axes} h l d".strip()
    split = ir.Rearrange(pattern, (("p", 3), ("h", heads)))(qkv, name="heads")
    q, k, v = ir.Unbind("P", 3)(split)
    return q, k, v


@block
def attention(
    x: Value, heads: Operand, width: Operand, bias: Value | None = None, axes: str = ""
) -> Value:
    """Let tokens attend to each other in ``heads`` of ``width`` features: (L, D) -> the same.

    ``axes="w"`` is for (W, L, D): tokens in windows or frames, attended within each. ``bias`` is
    added before the softmax. Vaswani et al. (2017), section 3.2.2.
    """
    q, k, v = heads_of(x, heads, width, axes=axes)
    seen = ir.Attention()(q, k, v, *(() if bias is None else (bias,)))
    merged = ir.Rearrange(f"{axes} h l d -> {axes} l D=(h d)".strip())(seen, name="merge")
    return dense(merged, x.dim("D"), "proj")


# -- convolutional networks ---------------------------------------------------------------------


def conv_bn(
    x: Value,
    out: Operand,
    kernel: Operand = 1,
    stride: Operand = 1,
    groups: Operand = 1,
    name: str = "conv",
    norm: ir.BatchNorm | None = None,
    **attributes: Operand,
) -> Value:
    """Convolve without bias, then normalise: (C, H, W) -> (out, H', W')."""
    convolution = ir.Conv2d(out, kernel, stride, groups=groups, bias=False, **attributes)
    value: Value = (norm or ir.BatchNorm())(convolution(x, name=name), name=f"{name}_norm")
    return value


def conv_bn_act(x: Value, *args: Any, activation: Operand = "relu", **attributes: Any) -> Value:
    """Convolve, normalise, and apply a non-linearity; arguments as :func:`conv_bn`."""
    value: Value = ir.Activation(activation)(conv_bn(x, *args, **attributes))
    return value


@block
def squeeze_excite(
    x: Value,
    hidden: Operand,
    activation: Operand = "relu",
    gate: Operand = "sigmoid",
    init: Operand = "kaiming_normal_fan_out",
) -> Value:
    """Scale each channel by a gate computed from the means of all. Hu et al. (2018), section 3."""
    y = ir.Mean(keep=True)(x, name="squeeze")
    y = ir.Activation(activation)(ir.Conv2d(hidden, init=init)(y, name="reduce"))
    y = ir.Activation(gate)(ir.Conv2d(x.dim("C"), init=init)(y, name="expand"))
    value: Value = ir.Multiply()(x, y)
    return value


@block
def cbam(x: Value, hidden: Operand) -> Value:
    """Scale channels, then places, each by a gate from means and maxima. Woo et al. (2018), section 3.

    The norm of the spatial gate is that of the released code.
    """

    def mlp(y: Value) -> Value:
        y = ir.Activation("relu")(ir.Linear(hidden)(y, name="reduce"))
        result: Value = ir.Linear(x.dim("C"))(y, name="expand")
        return result

    mlp = shared(mlp)
    channels = ir.Add()(mlp(ir.Mean()(x)), mlp(ir.Max(("H", "W"))(x)))
    gate = ir.Rearrange("c -> C=c H=() W=()")(ir.Activation("sigmoid")(channels))
    x = ir.Multiply()(x, gate, name="channels")
    places = ir.Concat()(ir.Max("C", keep=True)(x), ir.Mean(("C",), keep=True)(x))
    places = conv_bn(places, 1, 7, name="place", norm=ir.BatchNorm(momentum=0.01))
    value: Value = ir.Multiply()(x, ir.Activation("sigmoid")(places), name="places")
    return value


def classifier(x: Value, classes: int, dropout: Operand = 0.0, init: Operand = "torch") -> Value:
    """Average over all places and map to a score for each class: (C, H, W) -> (classes,)."""
    x = ir.Mean()(x, name="pool")
    if isinstance(dropout, Expression) or dropout:
        x = ir.Dropout(dropout)(x)
    value: Value = ir.Linear(classes, init=init)(x, name="classifier")
    return value


def depthwise_bn_act(x: Value, kernel: Operand = 3, stride: int = 1, **settings: Any) -> Value:
    """Convolve each channel on its own, normalise, apply a non-linearity: (C, H, W) -> (C, H', W').

    Starts as in MobileNet's and EfficientNet's released code: variance 2 over the fan out of one group.
    """
    channels = x.dim("C")
    init = ("normal", 2**0.5 / kernel)  # type: ignore[operator]
    return conv_bn_act(x, channels, kernel, stride, channels, "depthwise", init=init, **settings)


@block
def mbconv(
    x: Value,
    out: Operand,
    hidden: Operand,
    kernel: Operand = 3,
    stride: int = 1,
    squeeze: Operand = 0,
    activation: Operand = "silu",
    squeeze_activation: Operand = "silu",
    gate: Operand = "sigmoid",
    rate: Operand = 0.0,
    norm: ir.BatchNorm | None = None,
    padding: Operand = "half",
    always: bool = False,
    shrink: str = "centre",
) -> Value:
    """Expand to ``hidden`` channels, convolve each, squeeze and excite, project, add ``x`` if it fits.

    Sandler et al. (2018), figure 4; Howard et al. (2019), figure 4. ``squeeze`` is the hidden width of
    squeeze-and-excitation, 0 for none; no expansion where ``x`` has ``hidden`` channels already.
    ``always`` adds a shortcut that is fitted where ``x`` does not fit, and starts the block as that
    shortcut alone (Yu et al. 2020, section 3.1). ``shrink`` is of the kernel, see :class:`ir.Conv2d`.
    """
    settings: dict[str, Any] = {"norm": norm, "activation": activation}

    def expand(x: Value) -> Value:
        return conv_bn_act(x, hidden, name="expand", **settings)

    def weigh(y: Value) -> Value:
        return squeeze_excite(y, squeeze, squeeze_activation, gate)

    y = ir.when(x.dim("C") != hidden, expand, lambda x: x)(x, name="widen")
    y = depthwise_bn_act(y, kernel, stride, padding=padding, shrink=shrink, **settings)
    y = ir.when(squeeze != 0, weigh, lambda y: y)(y, name="squeeze")
    if always:
        last = replace(norm or ir.BatchNorm(), init="zeros")
        y = conv_bn(y, out, name="project", norm=last)
        return residual(fitted(x, out, stride), y, rate)
    y = conv_bn(y, out, name="project", norm=norm)
    if stride != 1:
        return y
    add = ir.when(x.dim("C") == y.dim("C"), lambda x, y: residual(x, y, rate), lambda x, y: y)
    value: Value = add(x, y, name="residual")
    return value


def fitted(x: Value, out: Operand, stride: int) -> Value:
    """Average 2 x 2 pixels where the block strides, and map to ``out`` channels where they differ."""
    if stride != 1:
        x = ir.AvgPool(stride, stride, x.dim("H") % stride, count_padding=True)(x, name="shrink")
    fit = ir.when(
        x.dim("C") != out, lambda x: ir.Conv2d(out, bias=False)(x, name="fit"), lambda x: x
    )
    value: Value = fit(x, name="shortcut")
    return value


@block
def convnext_block(
    x: Value,
    kernel: Operand = 7,
    expand: Operand = 4,
    rate: Operand = 0.0,
    scale: Operand = 1e-6,
) -> Value:
    """Convolve each channel, then transform each place; (C, H, W) -> the same.

    Liu et al. (2022), "A ConvNet for the 2020s", figure 4. ``scale`` starts LayerScale.
    """
    channels = x.dim("C")
    depthwise = ir.Conv2d(channels, kernel, groups=channels, init=TRANSFORMER_INIT)
    y = ir.Rearrange("c h w -> h w D=c")(depthwise(x, name="depthwise"))
    y = mlp(ir.LayerNorm(1e-6)(y, name="norm"), expand * channels)
    gamma = ir.Parameter(("D",), (channels,), ("constant", scale))(name="gamma")
    y = ir.Rearrange("h w d -> C=d h w")(ir.Multiply()(y, gamma, name="scaled"))
    return residual(x, y, rate)
