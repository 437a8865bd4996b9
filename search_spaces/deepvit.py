"""DeepViT: in deep blocks of a vision transformer the heads' attention maps are mixed, so that they differ.

Zhou et al., "DeepViT: Towards Deeper Vision Transformer", 2021 (arXiv 2103.11886), section 4.2 and
table 6; the settings are those of the released code.
"""

from __future__ import annotations

from typing import Any

from nasflow import ir
from nasflow.ir.blocks import (
    TRANSFORMER_INIT,
    attention,
    conv_bn_act,
    dense,
    heads_of,
    mlp,
    residual,
)

EPS = 1e-6


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    patch: int = 16,
    heads: tuple[int, ...] = (12,),
    head_widths: tuple[int, ...] = (32, 33, 35),
    depths: tuple[int, int] = (16, 32),
    plain_depths: tuple[int, int] = (0, 20),
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of DeepViTs for square images of ``size`` pixels.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        patch: side of the patches, of even length.
        heads, head_widths: to choose from; the width is their product.
        depths: fewest and most blocks.
        plain_depths: fewest and most blocks, from the first, with ordinary attention.
        drop_rate: of the last block; the first block's is 0.
    """
    count = ir.choice("heads", *heads, ordered=True)
    head_width = ir.choice("head_width", *head_widths, ordered=True)
    ratio = ir.choice("mlp_ratio", 3, 4, ordered=True)
    plain = ir.integer("plain_depth", *plain_depths)
    stem = ir.choice("stem", "convolutions", "patches")
    damping = ir.choice("damping", 0.5, 1.0, searched=False, default=0.5)  # of what a norm is given
    mixed_scale = ir.choice("mixed_scale", True, False, searched=False, default=True)
    width = count * head_width

    def block(x: ir.Value, i: int, n: ir.Operand) -> ir.Value:
        rate = drop_rate and drop_rate * i / ir.maximum(n - 1, 1)
        scale = ir.where(mixed_scale, head_width**-0.5, 1.0)
        attend = ir.when(
            plain > i,
            lambda x: attention(x, count, head_width),
            lambda x: re_attention(x, count, head_width, scale),
        )
        y = attend(ir.LayerNorm(EPS)(ir.Scale(damping)(x), name="norm1"), name="attn")
        x = residual(x, ir.Scale(1 / damping)(y), rate)
        y = mlp(ir.LayerNorm(EPS)(ir.Scale(damping)(x), name="norm2"), ratio * width)
        return residual(x, ir.Scale(1 / damping)(y), rate)

    cut = ir.switch(
        stem,
        convolutions=lambda x: convolutions(x, width, patch),
        patches=lambda x: ir.Conv2d(width, patch, patch, padding=0, init="torch")(x, name="proj"),
    )
    x = ir.Rearrange("c h w -> L=(h w) D=c")(cut(ir.image(channels, size), name="stem"))
    token = ir.Parameter(("L", "D"), (1, width), TRANSFORMER_INIT)(name="cls_token")
    x = ir.Concat("L")(token, x)
    shrink = ("interpolate", "prefix")
    table = ir.Parameter(("L", "D"), (x.dim("L"), width), TRANSFORMER_INIT, shrink)
    x = ir.Add()(x, table(name="pos_embed"))
    x = ir.repeat(block, ir.integer("depth", *depths))(x)
    x = ir.LayerNorm(EPS)(ir.Slice("L", 0, drop=True)(x, name="class_token"), name="norm")
    return ir.Space(dense(x, classes, "head"), name="deepvit")


def convolutions(x: ir.Value, width: ir.Operand, patch: int) -> ir.Value:
    """Cut patches out of what two convolutions see: (C, H, W) -> (width, H', W')."""
    x = conv_bn_act(x, 64, 7, 2, name="conv1", init="torch")
    x = conv_bn_act(x, 64, 3, name="conv2", init="torch")
    return ir.Conv2d(width, patch // 2, patch // 2, padding=0, init="torch")(x, name="proj")


@ir.block
def re_attention(
    x: ir.Value, heads: ir.Operand, head_width: ir.Operand, scale: ir.Operand
) -> ir.Value:
    """Attend by maps that are mixed across heads and normalised: (L, D) -> the same. Equation 3."""
    q, k, v = heads_of(x, heads, head_width)
    scores = ir.Scale(head_width**-0.5)(ir.Matmul(transpose=True)(q, k, name="scores"))
    maps = ir.Rearrange("h l s -> C=h H=l W=s")(ir.Softmax("N")(scores), name="maps")
    maps = ir.BatchNorm()(ir.Conv2d(heads, init="torch")(maps, name="mix"), name="mix_norm")
    maps = ir.Rearrange("c h w -> H=c L=h S=w")(ir.Scale(scale)(maps, name="mix_scale"))
    seen = ir.Rearrange("h l d -> l D=(h d)")(ir.Matmul()(maps, v, name="seen"), name="merge")
    return dense(seen, x.dim("D"), "proj")


def _model(head_width: int, depth: int, plain: int, **settings: Any) -> ir.Model:
    point: ir.Point = {"heads": 12, "head_width": head_width, "mlp_ratio": 3, "depth": depth}
    point.update({"plain_depth": plain, "stem": "convolutions", **settings})
    return ir.Model(point, {}, "Zhou et al. (2021), table 6 and the released code")


ABLATION: dict[str, Any] = {"stem": "patches", "damping": 1.0, "mixed_scale": False}
MODELS: dict[str, ir.Model] = {
    "deepvit_s": _model(33, depth=16, plain=11),
    "deepvit_l": _model(35, depth=32, plain=20),
    "deepvit_16b": _model(32, depth=16, plain=0, **ABLATION),
    "deepvit_24b": _model(32, depth=24, plain=0, **ABLATION),
    "deepvit_32b": _model(32, depth=32, plain=0, **ABLATION),
}
