"""ViT: an image cut into patches, read by a transformer encoder through a class token.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021 (arXiv 2010.11929), table 1. DeiT
(Touvron et al., 2021, arXiv 2012.12877) is the same network in smaller sizes; DeiT III (Touvron et
al., 2022, arXiv 2204.07118) scales its branches (LayerScale) and gives no position to the class token.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, attention, dense, heads_of, mlp, residual

HEADS = (3, 6, 12, 16)
KEEP_RATES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
EPS = 1e-6  # of the layer norms in the released models


def space(
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    patches: tuple[int, ...] = (14, 16, 32),
    heads: tuple[int, ...] = HEADS,
    depths: tuple[int, int] = (6, 32),
    scale: float = 1.0,
    drop_rate: float = 0.0,
    search_tokens: bool = False,
) -> ir.Space:
    """Return the space of vision transformers for square images of ``size`` pixels.

    The width is heads x head_width. ``drop_rate`` is the last block's rate; the first block's is 0.
    ``scale`` is the largest factor of depth, head width and images' side for
    ``strategy=compound_scaling``. Any point may take fewer tokens: ``keep_rate`` (EViT) at the end of each
    quarter of the blocks but the last, or ``sampled`` (ATS), the most tokens from the first quarter
    on; ``search_tokens`` lets a search choose the keep rate. ``skipless`` is a block without skip connections.
    """
    factors = ir.factors(scale)
    patch = ir.choice("patch", *patches, ordered=True)
    head_count = ir.choice("heads", *heads, ordered=True)
    each = ir.choice("head_width", 64, 80, searched=False, default=64)
    head_width = ir.round_to_8(each * factors.width)
    ratio = ir.choice("mlp_ratio", 2, 3, 4, ordered=True)
    depth = factors.layers(ir.integer("depth", *depths))
    layer_scale = ir.choice("layer_scale", False, True, searched=False, default=False)
    keep_rate = ir.choice("keep_rate", *KEEP_RATES, searched=search_tokens, default=1.0)
    sampled = ir.integer("sampled", 0, 200, searched=False, default=0)
    skipless = ir.integer("skipless", -1, depths[1] - 1, searched=False, default=-1)
    class_position = ir.choice("class_position", True, False, searched=False, default=True)
    width = head_count * head_width

    shape = (head_count, head_width, ratio * width, layer_scale)

    def rate(i: ir.Operand) -> ir.Operand:
        return drop_rate and drop_rate * i / ir.maximum(depth - 1, 1)

    def block(x: ir.Value, i: int) -> ir.Value:
        reduces = [i == share * depth // 4 for share in (1, 2, 3)]
        skips = skipless != i
        run = ir.when(
            (keep_rate == 1) | ~(reduces[0] | reduces[1] | reduces[2]),
            lambda x: encoder_block(x, *shape, rate(i), skips),
            lambda x: reducing_block(x, *shape, rate(i), skips, keep_rate),
        )
        return run(x, name="block")

    def sampling(x: ir.Value) -> ir.Value:
        first = depth // 4
        x = ir.repeat(lambda x, i: encoder_block(x, *shape, rate(i)), first)(x)
        x, mask = sampling_block(x, None, *shape, rate(first), sampled)
        run = ir.repeat(
            lambda x, mask, i: sampling_block(x, mask, *shape, rate(first + 1 + i), sampled),
            depth - first - 1,
            name="sampling_blocks",
        )
        return run(x, mask)[0]

    x = ir.image(channels, factors.side(size, patch))
    x = ir.Conv2d(width, patch, patch, padding=0, init="torch")(x, name="patch_embed")
    x = ir.Rearrange("c h w -> L=(h w) D=c")(x)
    x = ir.when(class_position, embed_all, embed_patches)(x, name="embed")
    x = ir.when(sampled == 0, ir.repeat(block, depth), sampling)(x, name="blocks")
    x = ir.LayerNorm(EPS)(ir.Slice("L", 0, drop=True)(x, name="class_token"), name="norm")
    return ir.Space(dense(x, classes, "head"), name="vit")


@ir.block
def encoder_block(
    x: ir.Value,
    heads: ir.Operand,
    head_width: ir.Operand,
    hidden: ir.Operand,
    layer_scale: ir.Operand,
    rate: ir.Operand,
    skips: ir.Operand = True,
) -> ir.Value:
    y = attention(ir.LayerNorm(EPS)(x, name="norm1"), heads, head_width, name="attn")
    x = added(x, scaled(y, layer_scale, "ls1"), rate, skips, "1")
    y = mlp(ir.LayerNorm(EPS)(x, name="norm2"), hidden)
    return added(x, scaled(y, layer_scale, "ls2"), rate, skips, "2")


@ir.block
def reducing_block(
    x: ir.Value,
    heads: ir.Operand,
    head_width: ir.Operand,
    hidden: ir.Operand,
    layer_scale: ir.Operand,
    rate: ir.Operand,
    skips: ir.Operand,
    keep_rate: ir.Operand,
) -> ir.Value:
    """Transform tokens, and keep the share that the class token looks at most (EViT)."""
    y = ir.LayerNorm(EPS)(x, name="norm1")
    y, looks = weighing_attention(y, heads, head_width, name="attn")
    x = added(x, scaled(y, layer_scale, "ls1"), rate, skips, "1")
    x = ir.KeepTokens(ir.ceil(keep_rate * (x.dim("L") - 1)))(x, looks)
    y = mlp(ir.LayerNorm(EPS)(x, name="norm2"), hidden)
    return added(x, scaled(y, layer_scale, "ls2"), rate, skips, "2")


@ir.block
def sampling_block(
    x: ir.Value,
    mask: ir.Value | None,
    heads: ir.Operand,
    head_width: ir.Operand,
    hidden: ir.Operand,
    layer_scale: ir.Operand,
    rate: ir.Operand,
    sampled: ir.Operand,
) -> tuple[ir.Value, ir.Value]:
    """Transform the tokens that matter, ``sampled`` at most, and say which count (ATS)."""
    y = ir.LayerNorm(EPS)(x, name="norm1")
    y, ids, mask = sampling_attention(y, mask, heads, head_width, sampled, name="attn")
    x = residual(ir.TakeTokens()(x, ids), scaled(y, layer_scale, "ls1"), rate)
    y = mlp(ir.LayerNorm(EPS)(x, name="norm2"), hidden)
    return residual(x, scaled(y, layer_scale, "ls2"), rate), mask


def added(
    x: ir.Value, branch: ir.Value, rate: ir.Operand, skips: ir.Operand, name: str
) -> ir.Value:
    """Add a branch to what it started from, or go on with the branch alone."""
    add = ir.when(skips, lambda x, y: residual(x, y, rate), lambda x, y: y)
    return add(x, branch, name=f"skip{name}")


@ir.block
def weighing_attention(
    x: ir.Value, heads: ir.Operand, head_width: ir.Operand
) -> tuple[ir.Value, ir.Value]:
    """Attend, and say how much the class token looks at each other token, on average over heads."""
    maps, v = attention_maps(x, heads, head_width)
    looks = ir.Slice("N", 1)(ir.Slice("L", 0, drop=True)(maps, name="class_token"), name="others")
    seen = ir.Rearrange("h l d -> l D=(h d)")(ir.Matmul()(maps, v, name="seen"), name="merge")
    return dense(seen, x.dim("D"), "proj"), ir.Mean(("H",))(looks, name="looks")


@ir.block
def sampling_attention(
    x: ir.Value,
    mask: ir.Value | None,
    heads: ir.Operand,
    head_width: ir.Operand,
    sampled: ir.Operand,
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Let sampled tokens attend to all that the mask leaves; return also which, and their mask."""
    maps, v = attention_maps(x, heads, head_width, mask)
    told = (maps, v) if mask is None else (maps, v, mask)
    ids, kept = ir.SampleTokens(ir.minimum(sampled, x.dim("L") - 1))(*told)
    seen = ir.Matmul()(ir.TakeTokens()(maps, ids), v, name="seen")
    seen = ir.Rearrange("h l d -> l D=(h d)")(seen, name="merge")
    return dense(seen, x.dim("D"), "proj"), ids, kept


def attention_maps(
    x: ir.Value, heads: ir.Operand, head_width: ir.Operand, mask: ir.Value | None = None
) -> tuple[ir.Value, ir.Value]:
    """Return how much each token looks at each, and the values they see, for each head."""
    q, k, v = heads_of(x, heads, head_width)
    scores = ir.Scale(head_width**-0.5)(ir.Matmul(transpose=True)(q, k, name="scores"))
    if mask is not None:
        scores = ir.Add()(scores, ir.Rearrange("s -> H=() L=() S=s")(mask, name="mask"))
    return ir.Softmax("N")(scores, name="maps"), v


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
    settings = {"size": size} | ({} if heads in HEADS else {"heads": (heads,)})
    source = "Dosovitskiy et al. (2021), table 1"
    if iii:
        point.update(layer_scale=True, class_position=False)
        source = "Touvron et al. (2022), DeiT III, table 1 and released models"
    elif heads < 12:
        source = "Touvron et al. (2021), DeiT, table 1"
    return ir.Model(point, settings, source)


MODELS: dict[str, ir.Model] = {
    "deit_ti": _model(heads=3, depth=12),
    "deit_s": _model(heads=6, depth=12),
    "deit_b": _model(heads=12, depth=12),
    "evit_deit_s": ir.Model(
        {**_model(heads=6, depth=12).point, "keep_rate": 0.7},
        {},
        "Liang et al. (2022), EViT, table 1: keep rate 0.7",
    ),
    "ats_deit_s": ir.Model(
        {**_model(heads=6, depth=12).point, "sampled": 108},
        {},
        "Fayyaz et al. (2022), ATS",
        reconstructed=True,
        note="how many tokens are drawn at most is not printed; 108 bounds the MACs at a third less than "
        "DeiT-S, and what an image needs is less than the bound",
    ),
    "vit_no_skip_block7": ir.Model(
        {**_model(heads=12, depth=12).point, "skipless": 7},
        {},
        "Raghu et al. (2021), section 4.2: no skip connections in block 7",
    ),
    "vit_s16": _model(heads=6, depth=12, iii=True),
    "deit3_s16_384": _model(heads=6, depth=12, size=384, iii=True),
    "deit3_m16_224": _model(heads=8, depth=12, iii=True),
    "deit3_b16_224": _model(heads=12, depth=12, iii=True),
    "deit3_b16_384": _model(heads=12, depth=12, size=384, iii=True),
    "vit_b16_224": _model(heads=12, depth=12),
    "vit_b16_384": _model(heads=12, depth=12, size=384),
    "vit_l16_224": _model(heads=16, depth=24, iii=True),
    "vit_l16_384": _model(heads=16, depth=24, size=384, iii=True),
    "vit_h14_224": _model(heads=16, depth=32, patch=14, head_width=80, iii=True),
}
