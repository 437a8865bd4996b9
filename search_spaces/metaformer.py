"""MetaFormer: a transformer's frame with any token mixer in it; PoolFormer only averages neighbours.

Yu et al., "MetaFormer Is Actually What You Need for Vision", CVPR 2022 (arXiv 2111.11418): section 3,
table 1 (PoolFormer) and the table of ablations, every row of which is a point here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, dense, drop_path, heads_of

HEAD_WIDTH: Final = 32
POOLS: Final = {f"pool{side}": side for side in (3, 5, 7, 9)}
MIXERS: Final = ("identity", "random", "depthwise", *POOLS, "attention", "spatial_fc")


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    stem: tuple[int, int, int] = (7, 4, 2),
    widths: Sequence[Sequence[int]] = ((64, 96), (128, 192), (320, 384), (512, 768)),
    deepest: Sequence[int] = (8, 8, 24, 8),
    layer_scale: float = 1e-5,
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of MetaFormers for square images of ``size`` pixels.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        stem: kernel, stride and padding of the first convolution.
        widths: for each stage the channels to choose from.
        deepest: for each stage the most blocks.
        layer_scale: what the scales of the branches start at.
        drop_rate: the last block's rate of stochastic depth; the first block's is 0.
    """
    norm = ir.choice("norm", "modified", "layer", "batch", "none")
    skip = ir.choice("residual", True, False)
    channel_mlp = ir.choice("channel_mlp", "gelu", "relu", "silu", "none")  # its activation
    depths: list[ir.Operand] = []
    for stage, most in enumerate(deepest, 1):
        with ir.scope(f"stage{stage}"):
            depths.append(ir.integer("depth", 1, most))

    x = ir.image(channels, size)
    for stage, options in enumerate(widths):
        with ir.scope(f"stage{stage + 1}"):
            width = ir.choice("width", *options, ordered=True)
            mixer = ir.choice("mixer", *MIXERS)
            position = ir.choice("position", False, True, searched=False, default=False)
            kernel, stride, padding = (3, 2, 1) if stage else stem
            x = ir.Conv2d(width, kernel, stride, padding, init="torch")(x, name="patch_embed")
            x = ir.when(position, embedded, lambda x: x)(x, name="position")
            before = sum(depths[:stage])  # type: ignore[arg-type]

            def block(
                x: ir.Value, i: int, mixer: ir.Operand = mixer, before: ir.Operand = before
            ) -> ir.Value:
                last = sum(depths) - 1  # type: ignore[arg-type]
                rate = drop_rate and drop_rate * (before + i) / ir.maximum(last, 1)
                return metaformer_block(x, mixer, norm, skip, channel_mlp, layer_scale, rate)

            x = ir.repeat(block, depths[stage], name="blocks")(x)
    # A network whose blocks have no norm still has the last one.
    x = ir.Mean()(normed(x, norm, "norm", none=NORMS["modified"]), name="pool")
    return ir.Space(dense(x, classes, "head"), name="metaformer")


@ir.block
def metaformer_block(
    x: ir.Value,
    mixer: ir.Operand,
    norm: ir.Operand,
    skip: ir.Operand,
    channel_mlp: ir.Operand,
    scale: float,
    rate: ir.Operand,
) -> ir.Value:
    """Mix tokens, then transform each: (C, H, W) -> the same; equations 2 and 3."""

    def join(x: ir.Value, y: ir.Value, name: str) -> ir.Value:
        y = drop_path(ir.Multiply()(y, gamma(y, scale, f"layer_scale{name}")), rate)
        return ir.when(skip, lambda x, y: ir.Add()(x, y), lambda x, y: y)(x, y, name=f"skip{name}")

    def transform(x: ir.Value) -> ir.Value:
        return join(x, mlp(normed(x, norm, "norm2"), channel_mlp), "2")

    pools = {name: pooling(side) for name, side in POOLS.items()}
    mix = ir.switch(
        mixer,
        identity=lambda x: x,
        random=random_mixing,
        depthwise=depthwise,
        attention=self_attention,
        spatial_fc=spatial_fc,
        **pools,
    )
    x = join(x, mix(normed(x, norm, "norm1"), name="token_mixer"), "1")
    return ir.when(channel_mlp != "none", transform, lambda x: x)(x, name="channel_mlp")


NORMS: Final[dict[str, Callable[[ir.Value], ir.Value]]] = {
    "modified": lambda x: ir.GroupNorm(1)(x),  # statistics over tokens and channels
    "layer": lambda x: ir.LayerNorm(channels_first=True)(x),
    "batch": lambda x: ir.BatchNorm()(x),
    "none": lambda x: x,
}


def normed(
    x: ir.Value, norm: ir.Operand, name: str, **instead: Callable[[ir.Value], ir.Value]
) -> ir.Value:
    return ir.switch(norm, **(NORMS | instead))(x, name=name)


def gamma(x: ir.Value, start: float, name: str) -> ir.Value:
    shape = (x.dim("C"), 1, 1)
    return ir.Parameter(("C", "H", "W"), shape, ("constant", start))(name=name)


def embedded(x: ir.Value) -> ir.Value:
    """Add a position to each token."""
    shape = (x.dim("C"), x.dim("H"), x.dim("W"))
    shrink = ("prefix", "interpolate", "interpolate")
    return ir.Add()(x, ir.Parameter(("C", "H", "W"), shape, shrink=shrink)(name="pos_embed"))


@ir.block
def mlp(x: ir.Value, activation: ir.Operand) -> ir.Value:
    """Transform each place through four times the channels."""
    y = ir.Conv2d(4 * x.dim("C"), 1, init=TRANSFORMER_INIT)(x, name="fc1")
    y = ir.Activation(activation)(y, name="act")
    return ir.Conv2d(x.dim("C"), 1, init=TRANSFORMER_INIT)(y, name="fc2")


# -- token mixers: (C, H, W) -> the same ----------------------------------------------------------


def pooling(side: int) -> Callable[[ir.Value], ir.Value]:
    """Average ``side`` x ``side`` neighbours; the token itself is in the residual: equation 4."""
    return lambda x: ir.Subtract()(ir.AvgPool(side)(x), x)


def depthwise(x: ir.Value) -> ir.Value:
    channels = x.dim("C")
    return ir.Conv2d(channels, 3, groups=channels, bias=False, init="torch")(x, name="depthwise")


@ir.block
def random_mixing(x: ir.Value) -> ir.Value:
    """Mix all tokens by a random matrix that is never trained; each row sums to 1."""
    places = x.dim("H") * x.dim("W")
    logits = ir.Parameter(("L", "S"), (places, places), ("uniform", 0.5), trainable=False)
    matrix = ir.Softmax("S")(logits(name="random_matrix"))
    y = ir.Matmul()(matrix, ir.Rearrange("c h w -> L=(h w) D=c")(x, name="tokens"))
    return ir.Rearrange("(h w) d -> C=d h w", (("h", x.dim("H")),))(y, name="map")


@ir.block
def spatial_fc(x: ir.Value) -> ir.Value:
    """Map the tokens of each channel linearly."""
    y = ir.Rearrange("c h w -> C=c D=(h w)")(x, name="columns")
    y = dense(y, x.dim("H") * x.dim("W"), "fc", bias=False)
    return ir.Rearrange("c (h w) -> c h w", (("h", x.dim("H")),))(y, name="map")


@ir.block
def self_attention(x: ir.Value) -> ir.Value:
    """Let all tokens attend to each other; queries, keys and values without bias."""
    width = x.dim("C")
    heads = width // HEAD_WIDTH
    y = ir.Rearrange("c h w -> L=(h w) D=c")(x, name="tokens")
    seen = ir.Attention()(*heads_of(y, heads, HEAD_WIDTH, bias=False))
    y = ir.Rearrange("h l d -> l D=(h d)")(seen, name="merge")
    y = dense(y, width, "proj")
    return ir.Rearrange("(h w) d -> C=d h w", (("h", x.dim("H")),))(y, name="map")


# -- published networks ---------------------------------------------------------------------------

SMALL, MEDIUM = (64, 128, 320, 512), (96, 192, 384, 768)
POOL: Final = ("pool3",) * 4


def _point(
    unit: int = 2,
    widths: Sequence[int] = SMALL,
    mixers: Sequence[str] = POOL,
    position: int = 0,
) -> dict[str, object]:
    """Return a network of 6 ``unit`` blocks; ``position`` is the stage that begins with positions."""
    point: dict[str, object] = {"norm": "modified", "residual": True, "channel_mlp": "gelu"}
    depths = (unit, unit, 3 * unit, unit)
    for stage, (width, depth, mixer) in enumerate(zip(widths, depths, mixers, strict=True), 1):
        settings = {"depth": depth, "width": width, "mixer": mixer, "position": stage == position}
        point |= {f"stage{stage}/{name}": value for name, value in settings.items()}
    return point


def _poolformer(unit: int, widths: Sequence[int] = SMALL) -> ir.Model:
    settings = {"layer_scale": 1e-5 if unit <= 4 else 1e-6}  # section 4.1
    return ir.Model(_point(unit, widths), settings, "Yu et al. (2022), table 1")


def _ablation(*mixers: str, position: int = 0, note: str = "", **changes: object) -> ir.Model:
    each = mixers * 4 if len(mixers) == 1 else mixers or POOL
    point = _point(mixers=each, position=position) | changes
    return ir.Model(point, source="Yu et al. (2022), table of ablations", note=note)


MODELS: dict[str, ir.Model] = {
    "poolformer_s12": _poolformer(2),
    "poolformer_s24": _poolformer(4),
    "poolformer_s36": _poolformer(6),
    "poolformer_m36": _poolformer(6, MEDIUM),
    "poolformer_m48": _poolformer(8, MEDIUM),
    "metaformer_s12_identity": _ablation("identity"),
    "metaformer_s12_randmatrix": _ablation(
        "random", note="21.1 M frozen entries of the matrices are not counted as parameters"
    ),
    "metaformer_s12_dwconv": _ablation("depthwise"),
    "metaformer_s12_pool5": _ablation("pool5"),
    "metaformer_s12_pool7": _ablation("pool7"),
    "metaformer_s12_pool9": _ablation("pool9"),
    "metaformer_s12_layernorm": _ablation(norm="layer"),
    "metaformer_s12_batchnorm": _ablation(norm="batch"),
    "metaformer_s12_nonorm": _ablation(norm="none", note="the last norm stays"),
    "metaformer_s12_relu": _ablation(channel_mlp="relu"),
    "metaformer_s12_silu": _ablation(channel_mlp="silu"),
    "metaformer_s12_noresidual": _ablation(residual=False),
    "metaformer_s12_nomlp": _ablation(
        channel_mlp="none",
        note="the released code keeps the second LayerScale, 3,328 parameters, where no MLP is left to scale",
    ),
    "metaformer_s12_ppp_attn": _ablation(*POOL[:3], "attention", position=4, norm="layer"),
    "metaformer_s12_pp_attn_attn": _ablation(
        *POOL[:2], "attention", "attention", position=3, norm="layer"
    ),
    "metaformer_s12_ppp_spatialfc": _ablation(*POOL[:3], "spatial_fc"),
    "metaformer_s12_pp_spatialfc_spatialfc": _ablation(*POOL[:2], "spatial_fc", "spatial_fc"),
}
