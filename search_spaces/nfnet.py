"""NFNet: residual networks without norms; scaled filters and factors keep the variance of signals at one.

Brock, De, Smith & Simonyan, "High-Performance Large-Scale Image Recognition Without Normalization", ICML 2021
(arXiv 2102.06171), section 4 and figures 4 to 6; sizes, borders and weights' start as in the released code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import classifier, drop_path, squeeze_excite

ALPHA = 0.2  # share of the variance that a block adds
GAMMA = {"gelu": 1.7015043497085571, "silu": 1.7881293296813965, "relu": 1.7139588594436646}
"""What keeps the variance through a non-linearity (released code)."""
WIDTHS = {"standard": (256, 512, 1536, 1536), "plus": (384, 768, 2048, 2048)}
STEM = (16, 32, 64, 128)


def conv(
    x: ir.Value,
    out: ir.Operand,
    kernel: int = 1,
    stride: int = 1,
    groups: ir.Operand = 1,
    name: str = "conv",
) -> ir.Value:
    """Scaled weight standardisation (section 2), with a bias and a learned gain for each filter."""
    layer = ir.StandardisedConv2d(
        out, kernel, stride, "same", groups=groups, init="lecun_normal", gain=1.0
    )
    return layer(x, name=name)


def activate(x: ir.Value, form: ir.Decision, beta: ir.Operand = 1.0) -> ir.Value:
    """A non-linearity times what restores the variance: the block's input's, if ``beta`` is given."""
    gamma = ir.table(form, GAMMA)
    return ir.Scale(gamma * beta)(ir.Activation(form)(x))


@ir.block
def block(
    x: ir.Value,
    out: ir.Operand,
    inner: ir.Operand,
    groups: ir.Operand,
    form: ir.Decision,
    beta: ir.Operand,
    stride: int = 1,
    first: bool = False,
    rate: ir.Operand = 0.0,
) -> ir.Value:
    """Figures 5 and 6: 1x1, two grouped 3x3, 1x1 and SE; the ``first`` of a stage has a new shortcut."""
    start = activate(x, form, beta)
    shortcut = x
    if first:
        pooled = ir.AvgPool(2, 2, padding=0, ceil=True)(start) if stride > 1 else start
        shortcut = conv(pooled, out, name="project")
    y = activate(conv(start, inner, name="conv1"), form)
    y = activate(conv(y, inner, 3, stride, groups, name="conv2"), form)
    y = activate(conv(y, inner, 3, 1, groups, name="conv3"), form)
    y = conv(y, out, name="conv4")
    y = ir.Scale(2.0)(squeeze_excite(y, out // 2, init="lecun_normal"))
    # SkipInit (De & Smith, 2020): every block starts as its shortcut.
    gain = ir.Parameter(("W",), (1,), "zeros")(name="skip_gain")
    y = ir.Multiply()(drop_path(y, rate), gain)
    return ir.Add()(ir.Scale(ALPHA)(y), shortcut)


def space(
    *,
    classes: int = 1000,
    size: int = 256,
    channels: int = 3,
    deepest: Sequence[int] = (2, 4, 12, 6),
    widths: Mapping[str, Sequence[int]] = WIDTHS,
    group: int = 128,
    drop_path: float = 0.0,
    dropout: float = 0.0,
) -> ir.Space:
    """Return the space of NFNets.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        deepest: most blocks of each stage.
        widths: filters of the stages, by the pattern's name.
        group: filters of a group of the 3x3 convolutions.
        drop_path: rate of stochastic depth at the last block; it grows linearly from 0.
        dropout: rate before the classifier.
    """
    form = ir.choice("activation", *GAMMA)
    pattern = ir.choice("widths", *widths)
    # The released code leaves out the filters that fill no group.
    whole = ir.choice("whole_groups", True, False, searched=False)
    depths = []
    for stage, most in enumerate(deepest, 1):
        with ir.scope(f"stage{stage}"):
            depths.append(ir.integer("depth", 1, most))
    total = sum(depths)

    x = ir.image(channels, size)
    for number, filters in enumerate(STEM, 1):
        x = conv(x, filters, 3, 2 if number in (1, 4) else 1, name=f"stem{number}")
        x = activate(x, form) if number < len(STEM) else x

    done: ir.Operand = 0
    for stage, depth in enumerate(depths):
        out = ir.table(pattern, {key: filters[stage] for key, filters in widths.items()})
        groups = out // 2 // group
        inner = ir.where(whole, group * groups, out // 2)
        sizes = {"out": out, "inner": inner, "groups": groups}

        def one(
            x: ir.Value, i: ir.Operand, since: ir.Operand, done: ir.Operand = done, **more: Any
        ) -> ir.Value:
            """Apply block ``i``, given how many blocks have added to the variance ``since``."""
            rate = drop_path * (done + i) / ir.maximum(total - 1, 1) if drop_path else 0.0
            beta = (1 + ALPHA**2 * since) ** -0.5
            return block(x, form=form, beta=beta, rate=rate, **more)

        def rest(x: ir.Value, i: int, one: Any = one, sizes: Any = sizes) -> ir.Value:
            return one(x, i + 1, i + 1, **sizes, name="block")

        with ir.scope(f"stage{stage + 1}"):
            since = depths[stage - 1] if stage else 0
            stride = 2 if stage else 1
            x = one(x, 0, since, **sizes, stride=stride, first=True, name="first")
            x = ir.repeat(rest, depth - 1)(x)
        done = done + depth
    x = activate(conv(x, 2 * x.dim("C"), name="last"), form)
    return ir.Space(classifier(x, classes, dropout, ("normal", 0.01)), name="nfnet")


SIDES = (256, 320, 352, 416, 512, 544, 576)  # of test images, table 1


def _model(number: int, widths: str = "standard", note: str = "", **more: Any) -> ir.Model:
    depths = tuple(depth * (number + 1) for depth in (1, 2, 6, 3))
    point: dict[str, Any] = {"activation": "gelu", "widths": widths}
    point |= {f"stage{stage}/depth": depth for stage, depth in enumerate(depths, 1)}
    settings = {"size": SIDES[number], "deepest": depths}
    where = "appendix A and released code" if widths == "plus" else "tables 1 and 3"
    return ir.Model({**point, **more}, settings, f"Brock et al. (2021), {where}", note=note)


PLUS = (
    "the paper prints 527M for F4+, which all of its filters have; the released code leaves out those of "
    "stage 1 that fill no group of 128, which gives 525M"
)

MODELS = {
    **{f"nfnet_f{number}": _model(number) for number in range(7)},
    "nfnet_f4_plus": _model(4, "plus", PLUS, whole_groups=False),
    "nfnet_f4_plus_released": _model(4, "plus", PLUS),
}
