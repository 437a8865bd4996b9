"""RepLKNet: depthwise convolutions of up to 31x31, trained beside a small kernel that is merged into them.

Ding, Zhang, Han & Ding, "Scaling Up Your Kernels to 31x31: Revisiting Large Kernel Design in CNNs", CVPR
2022 (arXiv 2203.06717), section 4.1 and figure 2; norms and weights' start as in the released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn, conv_bn_act, residual

INIT = "torch"
KERNELS = (3, 5, 7, 9, 13, 19, 25, 27, 29, 31)


def depthwise(x: ir.Value, kernel: ir.Operand, name: str) -> ir.Value:
    return conv_bn(x, x.dim("C"), kernel, groups=x.dim("C"), name=name, init=INIT)


def large_kernel(x: ir.Value, kernel: ir.Operand, small: ir.Operand, form: ir.Decision) -> ir.Value:
    """Large and small kernel side by side, or one that computes their sum: see :func:`merge`."""

    def training(x: ir.Value) -> ir.Value:
        large = depthwise(x, kernel, "large")
        return ir.Add()(large, ir.Gated(depthwise(x, small, "small"), small != 0))

    def merged(x: ir.Value) -> ir.Value:
        channels = x.dim("C")
        return ir.Conv2d(channels, kernel, groups=channels, init=INIT)(x, name="large")

    return ir.switch(form, training=training, merged=merged)(x, name="kernel")


@ir.block
def replk_block(
    x: ir.Value,
    kernel: ir.Operand,
    small: ir.Operand,
    ratio: ir.Operand,
    form: ir.Decision,
    rate: ir.Operand = 0.0,
) -> ir.Value:
    """Norm, 1x1, depthwise large kernel, 1x1 (figure 2, RepLK block)."""
    channels = x.dim("C")
    y = ir.BatchNorm()(x, name="norm")
    y = conv_bn_act(y, ir.nearest_integer(channels * ratio), name="pointwise1", init=INIT)
    y = ir.Activation("relu")(large_kernel(y, kernel, small, form))
    return residual(x, conv_bn(y, channels, name="pointwise2", init=INIT), rate)


@ir.block
def conv_ffn(x: ir.Value, expand: ir.Operand, rate: ir.Operand = 0.0) -> ir.Value:
    """Norm, then two 1x1 with a GELU between (figure 2, ConvFFN)."""
    channels = x.dim("C")
    y = ir.BatchNorm()(x, name="norm")
    y = conv_bn_act(y, channels * expand, name="pointwise1", activation="gelu", init=INIT)
    return residual(x, conv_bn(y, channels, name="pointwise2", init=INIT), rate)


def stem(x: ir.Value, width: ir.Operand) -> ir.Value:
    """Section 4.1: to a quarter of the resolution by convolutions of 3x3, depthwise 3x3 and 1x1."""
    x = conv_bn_act(x, width, 3, 2, name="stem1", init=INIT)
    x = conv_bn_act(x, width, 3, groups=width, name="stem2", init=INIT)
    x = conv_bn_act(x, width, name="stem3", init=INIT)
    return conv_bn_act(x, width, 3, 2, groups=width, name="stem4", init=INIT)


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    widths: tuple[int, ...] = (64, 128, 192, 256),
    kernels: tuple[int, ...] = KERNELS,
    deepest: tuple[int, ...] = (2, 2, 18, 2),
    drop_path: float = 0.0,
) -> ir.Space:
    """Return the space of RepLKNets.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        widths: filters of the first stage; every stage doubles them.
        kernels: sides of the large kernels.
        deepest: most pairs of a RepLK block and a ConvFFN in each stage.
        drop_path: rate of stochastic depth in the last stage; it grows from 0 over the stages.
    """
    x = stages(ir.image(channels, size), widths, kernels, deepest, drop_path)[-1]
    return ir.Space(classifier(ir.BatchNorm()(x, name="norm"), classes), name="replknet")


def stages(
    image: ir.Value,
    widths: tuple[int, ...],
    kernels: tuple[int, ...],
    deepest: tuple[int, ...],
    drop_path: float,
) -> list[ir.Value]:
    """Return the map of each stage, (C, H, W), finest first; the settings are those of :func:`space`."""
    width = ir.choice("width", *widths, ordered=True)
    small = ir.choice("small_kernel", 0, 3, 5, ordered=True)  # 0: none
    ratio = ir.choice("depthwise_ratio", 1, 1.5, ordered=True)
    expand = ir.choice("expand", 2, 4, ordered=True)
    form = ir.choice("form", "training", "merged", searched=False)
    x = stem(image, width)
    maps = []
    for stage, most in enumerate(deepest):
        with ir.scope(f"stage{stage + 1}"):
            if stage:
                out = width * 2**stage
                x = conv_bn_act(x, out, name="transition1", init=INIT)
                x = conv_bn_act(x, out, 3, 2, groups=out, name="transition2", init=INIT)
            kernel = ir.choice("kernel", *kernels, ordered=True)
            depth = ir.integer("depth", 1, most)
            rate = drop_path * stage / max(len(deepest) - 1, 1)

            def pair(x: ir.Value, kernel: ir.Decision = kernel, rate: float = rate) -> ir.Value:
                return conv_ffn(replk_block(x, kernel, small, ratio, form, rate), expand, rate)

            x = ir.repeat(pair, depth)(x)
            maps.append(x)
    return maps


# -- re-parameterisation ----------------------------------------------------------------------------


def merge(weights: Mapping[str, Any], eps: float = 1e-5) -> dict[str, Any]:
    """Return weights of the merged form with which it computes what the training form does in eval mode.

    Section 3, guideline 3: a norm after a convolution is a factor and a shift for each channel, and a small
    kernel is a large one with zeros around. Takes and returns a state dict of tensors.
    """
    mark = ".kernel_training."
    merged = {name: value for name, value in weights.items() if mark not in name}
    for place in [name.split(mark)[0] for name in weights if name.endswith(f"{mark}large.weight")]:
        kernel, bias = _folded(weights, f"{place}{mark}large", eps)
        if f"{place}{mark}small.weight" in weights:
            small, shift = _folded(weights, f"{place}{mark}small", eps)
            border = (kernel.shape[-1] - small.shape[-1]) // 2
            inner = slice(border, border + small.shape[-1])
            kernel[..., inner, inner] += small
            bias = bias + shift
        merged[f"{place}.kernel_merged.weight"] = kernel
        merged[f"{place}.kernel_merged.bias"] = bias
    return merged


def _folded(weights: Mapping[str, Any], name: str, eps: float) -> tuple[Any, Any]:
    """Return kernel and bias of a convolution with its norm folded in."""
    norm = {key: weights[f"{name}_norm.{key}"] for key in ("weight", "bias", "running_mean")}
    factor = norm["weight"] / (weights[f"{name}_norm.running_var"] + eps).sqrt()
    kernel = weights[f"{name}.weight"] * factor[:, None, None, None]
    return kernel, norm["bias"] - norm["running_mean"] * factor


# -- published networks -----------------------------------------------------------------------------


CUT = "the paper's 79M and 15.3G are cut off, not rounded"


def _model(
    width: int, size: int, form: str = "merged", source: str = "table 4", note: str = ""
) -> ir.Model:
    point: dict[str, Any] = {"width": width, "depthwise_ratio": 1, "expand": 4}
    point |= {"small_kernel": 5} if form == "training" else {}
    for stage, (kernel, depth) in enumerate(zip((31, 29, 27, 13), (2, 2, 18, 2), strict=True), 1):
        point |= {f"stage{stage}/kernel": kernel, f"stage{stage}/depth": depth}
    where = f"Ding et al. (2022), {source}"
    return ir.Model({**point, "form": form}, {"size": size}, where, note=note)


MODELS = {
    "replknet_31b_224": _model(128, 224, note=CUT),
    "replknet_31b_384": _model(128, 384, note=CUT),
    "replknet_31l_384": _model(192, 384),
    "replknet_31b_224_training": _model(128, 224, "training", "section 4.1"),
    "replknet_31l_384_training": _model(192, 384, "training", "section 4.1"),
}
