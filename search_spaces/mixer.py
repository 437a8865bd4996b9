"""MLP-Mixer: one MLP mixes each channel over all patches, another mixes each patch's channels.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021
(arXiv 2105.01601), section 2 and table 1.
"""

from __future__ import annotations

from typing import Any

from nasflow import ir
from nasflow.ir.blocks import residual

EPS = 1e-6  # of the layer norms in the released code


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    patches: tuple[int, ...] = (14, 16, 32),
    widths: tuple[int, ...] = (512, 768, 1024, 1280),
    depths: tuple[int, int] = (4, 32),
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of mixers for square images of ``size`` pixels.

    ``token_ratio`` is D_S over the width, ``channel_ratio`` D_C over the width. ``drop_rate`` is the
    last block's rate of stochastic depth; the first block's is 0.
    """
    patch = ir.choice("patch", *patches, ordered=True)
    width = ir.choice("width", *widths, ordered=True)
    token_ratio = ir.choice("token_ratio", 0.25, 0.5, 1, ordered=True)
    channel_ratio = ir.choice("channel_ratio", 2, 3, 4, ordered=True)
    depth = ir.integer("depth", *depths)

    def block(x: ir.Value, i: int, n: ir.Operand) -> ir.Value:
        rate = drop_rate and drop_rate * i / ir.maximum(n - 1, 1)
        return mixer_block(x, ir.floor(token_ratio * width), channel_ratio * width, rate)

    x = ir.image(channels, size)
    x = ir.Conv2d(width, patch, patch, padding=0, init="lecun_normal")(x, name="stem")
    x = ir.Rearrange("c h w -> L=(h w) D=c")(x)
    x = ir.repeat(block, depth)(x)
    x = ir.Mean(("L",))(ir.LayerNorm(EPS)(x, name="norm"), name="pool")
    return ir.Space(ir.Linear(classes, init="zeros")(x, name="head"), name="mixer")


@ir.block
def mixer_block(
    x: ir.Value, tokens: ir.Operand, channels: ir.Operand, rate: ir.Operand
) -> ir.Value:
    """Mix tokens with ``tokens`` hidden features, then channels with ``channels``: (L, D) -> same."""
    y = ir.Rearrange("l d -> C=d D=l")(ir.LayerNorm(EPS)(x, name="norm1"), name="columns")
    y = perceptron(y, tokens, name="mlp_tokens")
    x = residual(x, ir.Rearrange("c d -> L=d D=c")(y, name="rows"), rate)
    y = perceptron(ir.LayerNorm(EPS)(x, name="norm2"), channels, name="mlp_channels")
    return residual(x, y, rate)


@ir.block
def perceptron(x: ir.Value, hidden: ir.Operand) -> ir.Value:
    """Map the last axis through one hidden layer, started as in the released code."""
    start: dict[str, Any] = {"init": "xavier_uniform", "bias_init": ("normal", 1e-6)}
    y = ir.Activation("gelu")(ir.Linear(hidden, **start)(x, name="fc1"), name="act")
    return ir.Linear(x.dim("D"), **start)(y, name="fc2")


def _model(width: int, depth: int, patch: int, note: str = "") -> ir.Model:
    point = {
        "patch": patch,
        "width": width,
        "token_ratio": 0.5,
        "channel_ratio": 4,
        "depth": depth,
    }
    return ir.Model(point, source="Tolstikhin et al. (2021), table 1", note=note)


MODELS: dict[str, ir.Model] = {
    "mixer_s32": _model(512, 8, 32),
    "mixer_s16": _model(512, 8, 16),
    "mixer_b32": _model(768, 12, 32),
    "mixer_b16": _model(
        768,
        12,
        16,
        note="12.6 G MACs in every count; 11.7 is a misprint of 12.7, which adds "
        "what is not a product",
    ),
    "mixer_l32": _model(1024, 24, 32),
    "mixer_l16": _model(
        1024, 24, 16, note="208.2 M with the head of 1000 classes; 207 is the paper's rounding"
    ),
    "mixer_h14": _model(1280, 32, 14),
}
