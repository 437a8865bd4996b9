"""TimeSformer: a vision transformer over video that attends through time and space in turn.

Bertasius, Wang & Torresani, "Is Space-Time Attention All You Need for Video Understanding?", ICML 2021
(arXiv 2102.05095), section 3; biases, initialisation and the class token's part in the time step
follow the released code (facebookresearch/TimeSformer).
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, attention, dense, drop_path, mlp, residual

EPS = 1e-6
HEAD_WIDTH = 64


def space(
    classes: int = 400,
    frames: int = 8,
    size: int = 224,
    channels: int = 3,
    patches: tuple[int, ...] = (16, 32),
    heads: tuple[int, ...] = (6, 12),
    depths: tuple[int, int] = (6, 12),
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of video transformers for ``frames`` square frames of ``size`` pixels.

    ``attention`` is divided (time, then space: T) or joint (all tokens at once: ST of figure 2).
    The width is 64 x heads. ``drop_rate`` is the last block's rate; the first block's is 0.
    """
    patch = ir.choice("patch", *patches, ordered=True)
    head_count = ir.choice("heads", *heads, ordered=True)
    ratio = ir.choice("mlp_ratio", 2, 3, 4, ordered=True)
    kind = ir.choice("attention", "divided", "joint")
    depth = ir.integer("depth", *depths)
    width = HEAD_WIDTH * head_count

    x = ir.video(channels, frames, size)
    kernel = (1, patch, patch)
    x = ir.Conv3d(width, kernel, kernel, padding=0, init="torch")(x, name="patch_embed")
    x = ir.Rearrange("c t h w -> t L=(h w) D=c")(x)
    x = embed(x, frames)

    def encoder_block(x: ir.Value, i: int, n: ir.Operand) -> ir.Value:
        rate = drop_rate and drop_rate * i / ir.maximum(n - 1, 1)

        def divided(x: ir.Value) -> ir.Value:
            return divided_attention(x, head_count, frames, rate)

        def joint(x: ir.Value) -> ir.Value:
            y = attention(ir.LayerNorm(EPS)(x, name="norm1"), head_count, HEAD_WIDTH, name="attn")
            return residual(x, y, rate)

        x = ir.switch(kind, divided=divided, joint=joint)(x)
        return residual(x, mlp(ir.LayerNorm(EPS)(x, name="norm2"), ratio * width), rate)

    x = ir.repeat(encoder_block, depth)(x)
    x = ir.LayerNorm(EPS)(ir.Slice("L", 0, drop=True)(x, name="class_token"), name="norm")
    return ir.Space(dense(x, classes, "head"), name="timesformer")


def embed(x: ir.Value, frames: ir.Operand) -> ir.Value:
    """Add positions in space and time to patches (T, L, D); give (1 + T L, D), class token first."""
    width = x.dim("D")

    def table(name: str, *shape: ir.Operand) -> ir.Value:
        init = "zeros" if name == "time_embed" else TRANSFORMER_INIT
        rule = ("prefix" if name == "cls_token" else "interpolate", *["prefix"] * (len(shape) - 1))
        return ir.Parameter(("T", "L", "D")[-len(shape) :], shape, init, rule)(name=name)

    token = table("cls_token", 1, width)
    positions = table("pos_embed", x.dim("L") + 1, width)
    first, rest = ir.Slice("L", 0, 1)(positions), ir.Slice("L", 1)(positions)
    x = ir.Add()(x, rest, table("time_embed", frames, 1, width))
    x = ir.Rearrange("t l d -> L=(t l) d")(x)
    return ir.Concat("L")(ir.Add()(token, first), x)


@ir.block
def divided_attention(
    x: ir.Value, heads: ir.Operand, frames: ir.Operand, rate: ir.Operand
) -> ir.Value:
    """Attend over time at each place, then over space in each frame (section 3, equation 9).

    The class token takes part in space only: with every frame, and its results are averaged.
    """
    token, patches = ir.Slice("L", 0, 1)(x), ir.Slice("L", 1)(x)
    in_time = (("t", frames),)

    y = ir.Rearrange("(t s) d -> S=s L=t d", in_time)(patches)
    y = ir.LayerNorm(EPS)(y, name="temporal_norm1")
    y = attention(y, heads, HEAD_WIDTH, axes="s", name="temporal_attn")
    y = ir.Linear(x.dim("D"), init="zeros")(drop_path(y, rate), name="temporal_fc")
    patches = ir.Add()(patches, ir.Rearrange("s l d -> L=(l s) d")(y))

    tokens = ir.Expand("T", frames)(ir.Rearrange("l d -> T=() l d")(token))
    y = ir.Concat("L")(tokens, ir.Rearrange("(t s) d -> t L=s d", in_time)(patches))
    y = attention(ir.LayerNorm(EPS)(y, name="norm1"), heads, HEAD_WIDTH, axes="t", name="attn")
    y = drop_path(y, rate)
    token = ir.Add()(token, ir.Mean(("T",))(ir.Slice("L", 0, 1)(y)))
    patches = ir.Add()(patches, ir.Rearrange("t s d -> L=(t s) d")(ir.Slice("L", 1)(y)))
    return ir.Concat("L")(token, patches)


def _model(frames: int, size: int = 224) -> ir.Model:
    point = {"patch": 16, "heads": 12, "mlp_ratio": 4, "attention": "divided", "depth": 12}
    note = "MACs of one view; the papers' tables print three"
    return ir.Model(
        point, {"frames": frames, "size": size}, "Bertasius et al. (2021), table 3", note=note
    )


MODELS: dict[str, ir.Model] = {
    "timesformer": _model(frames=8),
    "timesformer_hr": _model(frames=16, size=448),
    "timesformer_l": _model(frames=96),
}
