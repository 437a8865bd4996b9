"""RevCol: columns side by side, each refining every level of the column before it, reversibly.

Cai et al., "Reversible Column Networks", ICLR 2023 (arXiv 2212.11696), section 3, figure 2 and table 1;
what the text leaves open (norms, fusion, starts of weights) follows the authors' released code.
A level gives x_t = F_t(x_{t-1}, x_{t-m+1}) + gamma x_{t-m} (equation 3): so x_{t-m} can be computed
back from the levels that follow it, and training need not keep the activations of the columns.
"""

from __future__ import annotations

from collections.abc import Sequence

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, convnext_block, dense

LEVELS = 4
EPS = 1e-6


class Recipe:
    """The decisions that every column shares."""

    def __init__(self, deepest: Sequence[int], widths: Sequence[int], drop_path: float) -> None:
        width = ir.choice("width", *widths, ordered=True)
        self.widths = [width * 2**level for level in range(LEVELS)]
        self.kernel = ir.choice("kernel", 3, 5, 7, ordered=True)
        self.depths = []
        for level, most in enumerate(deepest):
            with ir.scope(f"level{level}"):
                self.depths.append(ir.integer("depth", 1, most))
        # RevCol-H's first level also sees the last level of the column before (appendix).
        self.far_up = ir.choice("far_up", False, True, searched=False)
        self.drop_path = drop_path

    def rate(self, level: int, i: int) -> ir.Operand:
        """Stochastic depth: grows from 0 over the blocks of a column."""
        if not self.drop_path:
            return 0.0
        done = sum(self.depths[:level]) + i
        return self.drop_path * done / ir.maximum(sum(self.depths) - 1, 1)


def downsample(x: ir.Value, out: ir.Operand, factor: int, name: str) -> ir.Value:
    """Patches of ``factor`` x ``factor`` pixels become one, normalised."""
    conv = ir.Conv2d(out, factor, factor, padding=0, init=TRANSFORMER_INIT)
    return ir.LayerNorm(EPS, channels_first=True)(conv(x, name=name), name=f"{name}_norm")


@ir.block
def upsample(x: ir.Value, out: ir.Operand, factor: int = 2) -> ir.Value:
    """Map the channels, normalise, and repeat each pixel."""
    y = dense(ir.Rearrange("c h w -> h w D=c")(x), out, "proj")
    y = ir.LayerNorm(EPS)(y, name="norm")
    return ir.Upsample(factor)(ir.Rearrange("h w d -> C=d h w")(y))


@ir.block
def level_of_column(
    below: ir.Value,
    before: ir.Value,
    *above: ir.Value,
    recipe: Recipe,
    level: int,
) -> ir.Value:
    """Fuse the level below and those above in the column before, refine, add the level before."""
    out = recipe.widths[level]
    y = downsample(below, out, 2, "down") if level else below
    parts: list[ir.Value | ir.Gated] = [y, *(upsample(x, out) for x in above[:1])]
    if level == 0 and len(above) > 1:
        far = upsample(above[1], out, 2 ** (LEVELS - 1), name="far_upsample")
        parts.append(ir.Gated(far, recipe.far_up))
    y = ir.Add()(*parts, name="fuse") if len(parts) > 1 else y

    def block(x: ir.Value) -> ir.Value:
        return convnext_block(x, recipe.kernel)

    def dropping(x: ir.Value, i: int) -> ir.Value:
        return convnext_block(x, recipe.kernel, rate=recipe.rate(level, i))

    y = ir.repeat(dropping if recipe.drop_path else block, recipe.depths[level])(y)
    gamma = ir.Parameter(("C", "H", "W"), (out, 1, 1), ("constant", 0.5))(name="gamma")
    return ir.Add()(ir.Multiply()(gamma, before, name="scaled"), y)


@ir.block
def first_column(stem: ir.Value, recipe: Recipe) -> tuple[ir.Value, ...]:
    """A column with none before it: x_{t-m} is zero, yet its gamma is there (released code)."""
    levels: list[ir.Value] = []
    for level, out in enumerate(recipe.widths):
        below = levels[-1] if levels else stem
        zero = ir.Parameter(("C", "H", "W"), (out, 1, 1), trainable=False)(name=f"zero{level}")
        levels.append(
            level_of_column(below, zero, recipe=recipe, level=level, name=f"level{level}")
        )
    return tuple(levels)


@ir.block
def column(stem: ir.Value, *before: ir.Value, recipe: Recipe) -> tuple[ir.Value, ...]:
    """A column: the stem and the four levels of the column before -> four levels."""
    levels: list[ir.Value] = []
    for level in range(LEVELS):
        below = levels[-1] if levels else stem
        above = [before[level + 1]] if level + 1 < LEVELS else []
        above += [before[-1]] if level == 0 else []
        levels.append(
            level_of_column(
                below, before[level], *above, recipe=recipe, level=level, name=f"level{level}"
            )
        )
    return tuple(levels)


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    patch: int = 4,
    widths: tuple[int, ...] = (64, 72, 128, 224, 360),
    deepest: tuple[int, ...] = (3, 3, 8, 3),
    columns: int = 16,
    drop_path: float = 0.0,
) -> ir.Space:
    """Return the space of reversible columns.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        patch: side of the pixels' square that the stem makes one; 1 for tiny images.
        widths: filters of the first level; every level doubles them.
        deepest: most blocks of each level of a column.
        columns: most columns.
        drop_path: rate of stochastic depth at the last block of each column.
    """
    levels = stages(ir.image(channels, size), patch, widths, deepest, columns, drop_path)
    x = ir.LayerNorm(EPS)(ir.Mean()(levels[-1], name="pool"), name="norm")
    return ir.Space(dense(x, classes, "classifier"), name="revcol")


def stages(
    image: ir.Value,
    patch: int,
    widths: tuple[int, ...],
    deepest: tuple[int, ...],
    columns: int,
    drop_path: float,
) -> list[ir.Value]:
    """Return the last column's levels, (C, H, W), finest first; the settings are those of :func:`space`."""
    recipe = Recipe(deepest, widths, drop_path)
    count = ir.integer("columns", 1, columns)
    stem = downsample(image, recipe.widths[0], patch, "stem")
    levels = first_column(stem, recipe)
    further = ir.repeat(
        lambda *before: column(stem, *before, recipe=recipe), count - 1, name="columns"
    )
    return list(further(*levels))


def _model(
    width: int, depths: Sequence[int], columns: int, size: int = 224, far_up: bool = False
) -> ir.Model:
    point = {"width": width, "kernel": 3, "columns": columns, "far_up": far_up}
    point |= {f"level{level}/depth": depth for level, depth in enumerate(depths)}
    return ir.Model(point, {"size": size}, "Cai et al. (2023), table 1 and released code")


TINY, BASE, LARGE = (2, 2, 4, 2), (1, 1, 3, 2), (1, 2, 6, 2)

MODELS: dict[str, ir.Model] = {
    "revcol_t_224": _model(64, TINY, 4),
    "revcol_s_224": _model(64, TINY, 8),
    "revcol_b_224": _model(72, BASE, 16),
    "revcol_b_384": _model(72, BASE, 16, 384),
    "revcol_l_224": _model(128, LARGE, 8),
    "revcol_l_384": _model(128, LARGE, 8, 384),
    "revcol_xl_384": _model(224, LARGE, 8, 384),
    "revcol_h": _model(360, LARGE, 8, 640, far_up=True),
}
