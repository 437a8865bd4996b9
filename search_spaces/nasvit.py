"""NASViT: convolution stages, then stages of attention with talking heads and switchable scales.

Gong et al., "NASViT: Neural Architecture Search for Efficient Vision Transformers with Gradient
Conflict aware Supernet Training", ICLR 2022, section 3 and the released supernet: AttentiveNAS's
stages, in which all layers but the first of the last four are transformer blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, conv_bn_act, residual
from search_spaces._mobile import (
    Stage,
    chosen,
    efficient_head,
    inverted_residual,
    mobile_stage,
    opened,
    point,
)

ANY = (4, 5, 6)
STAGES = (
    Stage((16, 24), (1, 2), (3, 5), (1,), 1, False),
    Stage((24, 32), (3, 4, 5), (3, 5), ANY, 2, False),
    Stage((32, 40), (3, 4, 5, 6), (3,), ANY, 2, True),
)
ATTENTION_STAGES = (
    Stage((64, 72), (3, 4, 5, 6), (3,), ANY, 2, False),
    Stage((112, 120, 128), (3, 4, 5, 6, 7, 8, 9), (3,), ANY, 2, True),
    Stage((160, 168, 176, 184), (3, 4, 5, 6, 7, 8), (3,), (6,), 1, True),
    Stage((208, 216, 224), (3, 4, 5, 6), (3,), (6,), 2, True),
)
HEAD_WIDTH, VALUES = 8, 4  # features of a head's keys; of its values over those
SCALES = 8  # the released supernet keeps scales for the number of pixels modulo this


def space(
    *,
    classes: int = 1000,
    size: int | None = None,
    channels: int = 3,
    sizes: tuple[int, ...] = (192, 224, 256, 288),
    stems: tuple[int, ...] = (16, 24),
    features: tuple[int, ...] = (1792, 1984),
    stages: Sequence[Stage] = STAGES,
    attention_stages: Sequence[Stage] = ATTENTION_STAGES,
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space: resolution, width of stem and features, and four choices for each stage.

    Args:
        classes, channels: number of classes; channels of the images.
        size: side of the images where it is not to be chosen; it replaces ``sizes``.
        sizes, stems, features: sides of the images; widths of the first and the last layer.
        stages, attention_stages: for each stage its widths, depths, kernels, expansions, stride,
            and whether it squeezes and excites. Widths of attention are multiples of 8.
        drop_rate: of the branches of transformer blocks, in training.
    """
    side = ir.choice("resolution", *((size,) if size else sizes), ordered=True)
    stem = chosen("stem", stems)
    x = conv_bn_act(ir.image(channels, side), stem, 3, 2, activation="silu", name="stem")
    for number, stage in enumerate(stages, 1):
        with ir.scope(f"stage{number}"):
            x = mobile_stage(x, Stage(*stage))
    for number, stage in enumerate(attention_stages, len(stages) + 1):
        with ir.scope(f"stage{number}"):
            x = attention_stage(x, Stage(*stage), drop_rate)
    x = efficient_head(x, 6 * x.dim("C"), chosen("features", features), "silu", 0.0)
    return ir.Space(ir.Linear(classes)(x, name="classifier"), name="nasvit")


def attention_stage(x: ir.Value, stage: Stage, drop_rate: float) -> ir.Value:
    """Stride with an inverted residual, then apply transformer blocks; ``depth`` counts all."""
    depth = chosen("depth", stage.depths)
    x = inverted_residual(x, stage, stage.stride, **opened(stage))

    def block(x: ir.Value) -> ir.Value:
        return transformer_block(x, depth, stage.depths, drop_rate)

    value: ir.Value = ir.repeat(block, depth - 1, name="blocks")(x)
    return value


@ir.block
def transformer_block(
    x: ir.Value, depth: ir.Operand, depths: Sequence[int], drop_rate: float
) -> ir.Value:
    """Attend, then transform each pixel twice: (C, H, W) -> the same.

    A norm is over all channels and pixels of a sample; the two transformations share a scale.
    """
    y = attention(ir.GroupNorm()(x, name="norm1"))
    x = residual(x, scaled(y, switched(x, depth, depths, "attention_scale")), drop_rate)
    scale = switched(x, depth, depths, "mlp_scale")
    for number in (3, 2):  # in the order of the released code, whose second norm comes last
        y = mlp(ir.GroupNorm()(x, name=f"norm{number}"), name=f"mlp{number - 1}")
        x = residual(x, scaled(y, scale), drop_rate)
    return x


def switched(x: ir.Value, depth: ir.Operand, depths: Sequence[int], name: str) -> ir.Value:
    """Return a scale for each channel, kept once for each depth and number of pixels.

    The latter goes by the released code: modulo 8, of which a square has only 0, 1 and 4.
    """
    keys = [SCALES * option + rest for option in depths for rest in (0, 1, 4)]
    index = SCALES * depth + x.dim("H") ** 2 % SCALES
    which = ir.table(index, {key: i for i, key in enumerate(keys)})
    shape, start = (x.dim("C"), 1, 1), ("constant", 1e-4)
    scale = ir.Parameter(("C", "H", "W"), shape, start, copy=(which, len(keys)))
    value: ir.Value = scale(name=name)
    return value


def scaled(x: ir.Value, scale: ir.Value) -> ir.Value:
    """Scale each channel; a narrow child's by less."""
    value: ir.Value = ir.Multiply()(ir.Scale(SCALES / x.dim("C"))(x), scale)
    return value


def linear(x: ir.Value, out: ir.Operand, name: str, heads: ir.Operand = None) -> ir.Value:
    """Map each pixel: (C, H, W) -> (out, H, W)."""
    parts = () if heads is None else (heads, out // heads)
    value: ir.Value = ir.Conv2d(out, init="torch", factors=parts)(x, name=name)
    return value


@ir.block
def mlp(x: ir.Value) -> ir.Value:
    """Transform each pixel on its own: (C, H, W) -> the same."""
    width = x.dim("C")
    return linear(ir.Activation("silu")(linear(x, width, "fc1")), width, "fc2")


@ir.block
def attention(x: ir.Value) -> ir.Value:
    """Let all pixels attend to each other, in heads of 8 that talk: (C, H, W) -> the same.

    Values are four times as wide and mixed with their neighbours first; heads are mixed before and
    after the softmax (Shazeer et al., 2020, "Talking-heads attention").
    """
    width, side = x.dim("C"), x.dim("H")
    heads = width // HEAD_WIDTH
    split = ir.Rearrange("(h d) y x -> h L=(y x) d", (("h", heads),))
    q = split(ir.Scale(HEAD_WIDTH**-0.5)(linear(x, width, "q", heads)), name="queries")
    k = split(linear(x, width, "k", heads), name="keys")
    values = VALUES * width
    v = linear(x, values, "v", heads)
    v = ir.Conv2d(values, 3, groups=values, bias=False, init="torch")(v, name="v_conv")
    v = split(v, name="values")
    scores = ir.Add()(ir.Matmul(transpose=True)(q, k), position_bias(heads, side))
    scores = talk(ir.Softmax("N")(talk(scores, heads, "talk")), heads, "talk_again")
    y = ir.Matmul()(scores, v)
    y = ir.Rearrange("h (y x) d -> C=(h d) H=y W=x", (("y", side),))(y, name="merge")
    return linear(ir.Activation("silu")(y), width, "proj")


def talk(scores: ir.Value, heads: ir.Operand, name: str) -> ir.Value:
    """Mix the heads: (H, L, N) -> the same."""
    y = ir.Rearrange("h l n -> l n D=h")(scores)
    y = ir.Rearrange("l n d -> H=d l n")(ir.Linear(heads)(y, name=name))
    value: ir.Value = y
    return value


def position_bias(heads: ir.Operand, side: ir.Operand) -> ir.Value:
    """Look up a bias for each head and each pair of pixels; smaller maps use the table's centre."""
    reach = 2 * side - 1
    shrink = ("centre", "centre", "prefix")
    table = ir.Parameter(("Y", "X", "H"), (reach, reach, heads), TRANSFORMER_INIT, shrink)
    rows = ir.Rearrange("y x h -> H=h P=(y x)")(table(name="position_table"))
    value: ir.Value = ir.Lookup()(ir.RelativePositions(side)(), rows, name="bias")
    return value


SMALLEST = point(
    192,
    (16, 16, 24, 32, 64, 112, 160, 208, 1792),
    (1, 3, 3, 3, 3, 3, 3),
    (3, 3, 3, 3, 3, 3, 3),
    (1, 4, 4, 4, 4, 6, 6),
    (*STAGES, *ATTENTION_STAGES),
)
BIGGEST = point(
    288,
    (24, 24, 32, 40, 72, 128, 184, 224, 1984),
    (2, 5, 6, 6, 9, 8, 6),
    (5, 5, 3, 3, 3, 3, 3),
    (1, 6, 6, 6, 6, 6, 6),
    (*STAGES, *ATTENTION_STAGES),
)


def _model(resolution: int, **changes: int) -> ir.Model:
    """Return a child that is the smallest one but for some decisions, such as ``stage5_depth``."""
    found = {**SMALLEST, "resolution": resolution}
    for name, value in changes.items():
        found[name.replace("_", "/")] = value
    note = (
        "the released code does not hold this child's settings: of the points with the printed MACs, "
        "one with the fewest decisions that differ from the smallest network of its resolution"
    )
    return ir.Model(found, {}, "Gong et al. (2022), table 2", True, note)


MODELS: dict[str, ir.Model] = {
    "nasvit_a0": _model(192, stage4_depth=4, features=1984),
    "nasvit_a1": _model(224, stage5_depth=6),
    "nasvit_a2": _model(256, stage4_depth=4, stage6_width=168),
    "nasvit_a3": _model(288, stage1_kernel=5, stage3_expand=6),
    "nasvit_a4": _model(288, stage2_expand=5, stage4_expand=6, stage5_depth=6),
    "nasvit_a5": _model(288, stage2_expand=6, stage3_expand=5, stage6_depth=8),
    "nasvit_smallest": ir.Model(SMALLEST, {}, "Gong et al. (2022), released code"),
    "nasvit_supernet": ir.Model(BIGGEST, {}, "Gong et al. (2022), table 2 and released code"),
}
