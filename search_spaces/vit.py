"""ViT: an image cut into patches, read by a transformer encoder through a class token.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021 (arXiv 2010.11929), table 1. DeiT
(Touvron et al., 2021, arXiv 2012.12877) is the same network in smaller sizes; DeiT III (Touvron et
al., 2022, arXiv 2204.07118) scales its branches (LayerScale) and gives no position to the class token.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, attention, dense, mlp, residual

EPS = 1e-6  # of the layer norms in the released models


def space(
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    patches: tuple[int, ...] = (14, 16, 32),
    heads: tuple[int, ...] = (3, 6, 12, 16),
    depths: tuple[int, int] = (6, 32),
    scale: float = 1.0,
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of vision transformers for square images of ``size`` pixels.

    The width is heads x head_width. ``drop_rate`` is the last block's rate; the first block's is 0.
    ``scale`` is the largest factor of depth, head width and images' side for
    ``strategy=compound_scaling``.
    """
    factors = ir.factors(scale)
    patch = ir.choice("patch", *patches, ordered=True)
    head_count = ir.choice("heads", *heads, ordered=True)
    each = ir.choice("head_width", 64, 80, searched=False, default=64)
    head_width = ir.round_to_8(each * factors.width)
    ratio = ir.choice("mlp_ratio", 2, 3, 4, ordered=True)
    depth = factors.layers(ir.integer("depth", *depths))
    layer_scale = ir.choice("layer_scale", False, True, searched=False, default=False)
    class_position = ir.choice("class_position", True, False, searched=False, default=True)
    width = head_count * head_width

    def encoder_block(x: ir.Value, i: int, n: ir.Operand) -> ir.Value:
        rate = drop_rate and drop_rate * i / ir.maximum(n - 1, 1)
        y = attention(ir.LayerNorm(EPS)(x, name="norm1"), head_count, head_width, name="attn")
        x = residual(x, scaled(y, layer_scale, "ls1"), rate)
        y = mlp(ir.LayerNorm(EPS)(x, name="norm2"), ratio * width)
        return residual(x, scaled(y, layer_scale, "ls2"), rate)

    x = ir.image(channels, factors.side(size, patch))
    x = ir.Conv2d(width, patch, patch, padding=0, init="torch")(x, name="patch_embed")
    x = ir.Rearrange("c h w -> L=(h w) D=c")(x)
    x = ir.when(class_position, embed_all, embed_patches)(x, name="embed")
    x = ir.repeat(encoder_block, depth)(x)
    x = ir.LayerNorm(EPS)(ir.Slice("L", 0, drop=True)(x, name="class_token"), name="norm")
    return ir.Space(dense(x, classes, "head"), name="vit")


def scaled(x: ir.Value, layer_scale: ir.Operand, name: str) -> ir.Value:
    """LayerScale: a learned factor for each channel of a branch."""
    start = ("constant", 1e-6)

    def scale(x: ir.Value) -> ir.Value:
        return ir.Multiply()(x, ir.Parameter(("D",), (x.dim("D"),), start)(name="gamma"))

    return ir.when(layer_scale, scale, lambda x: x)(x, name=name)


@ir.block
def embed_all(x: ir.Value) -> ir.Value:
    """Put the class token first, then add a position to every token."""
    x = ir.Concat("L")(class_token(x), x)
    return ir.Add()(x, position_table(x))


@ir.block
def embed_patches(x: ir.Value) -> ir.Value:
    """Add a position to every patch, then put the class token first."""
    x = ir.Add()(x, position_table(x))
    return ir.Concat("L")(class_token(x), x)


def class_token(x: ir.Value) -> ir.Value:
    return ir.Parameter(("L", "D"), (1, x.dim("D")), ("normal", 1e-6))(name="cls_token")


def position_table(x: ir.Value) -> ir.Value:
    shape = (x.dim("L"), x.dim("D"))
    table = ir.Parameter(("L", "D"), shape, TRANSFORMER_INIT, shrink=("interpolate", "prefix"))
    return table(name="pos_embed")


def _model(
    heads: int,
    depth: int,
    size: int = 224,
    patch: int = 16,
    head_width: int = 64,
    iii: bool = False,
) -> ir.Model:
    point = {
        "patch": patch,
        "heads": heads,
        "head_width": head_width,
        "mlp_ratio": 4,
        "depth": depth,
    }
    source = "Dosovitskiy et al. (2021), table 1"
    if iii:
        point.update(layer_scale=True, class_position=False)
        source = "Touvron et al. (2022), DeiT III, table 1"
    elif heads < 12:
        source = "Touvron et al. (2021), DeiT, table 1"
    return ir.Model(point, {"size": size}, source)


MODELS: dict[str, ir.Model] = {
    "deit_ti": _model(heads=3, depth=12),
    "deit_s": _model(heads=6, depth=12),
    "deit_b": _model(heads=12, depth=12),
    "vit_s16": _model(heads=6, depth=12, iii=True),
    "vit_b16_224": _model(heads=12, depth=12),
    "vit_b16_384": _model(heads=12, depth=12, size=384),
    "vit_l16_224": _model(heads=16, depth=24, iii=True),
    "vit_l16_384": _model(heads=16, depth=24, size=384, iii=True),
    "vit_h14_224": _model(heads=16, depth=32, patch=14, head_width=80, iii=True),
}
