"""Context Cluster: an image is a set of points, and points of one cluster exchange what they hold.

Ma et al., "Image as Set of Points", ICLR 2023 (arXiv 2303.01494), section 3 and table 7. A point is
a pixel's colour and place. Clusters are found within equal regions of the map, for each head anew.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import TRANSFORMER_INIT, dense, drop_path


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    stem: int = 4,
    widths: tuple[tuple[int, ...], ...] = ((32, 64), (64, 128), (196, 320), (320, 512)),
    deepest: tuple[int, ...] = (4, 4, 12, 4),
    heads: tuple[tuple[int, ...], ...] = ((4, 6), (4, 6), (8, 12), (8, 12)),
    head_widths: tuple[int, ...] = (24, 32),
    regions: tuple[tuple[int, ...], ...] = ((1, 7, 8), (1, 4, 7), (1, 2, 7), (1,)),
    centres: tuple[tuple[int, ...], ...] = ((2, 4), (2,), (2, 7), (2, 4)),
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of context clusters for square images of ``size`` pixels.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        stem: side of the patches that are the first points.
        widths, deepest, heads: for each stage channels to choose from, most blocks, and numbers of
            heads to choose from.
        head_widths: features of one head.
        regions, centres: for each stage into how many parts a side of the map is cut, and how many
            centres lie along a side of a part.
        drop_rate: the last block's rate of stochastic depth; the first block's is 0.
    """
    head_width = ir.choice("head_width", *head_widths, ordered=True)
    depths: list[ir.Operand] = []
    for stage, most in enumerate(deepest, 1):
        with ir.scope(f"stage{stage}"):
            depths.append(ir.integer("depth", 1, most))

    x = ir.image(channels, size)
    x = ir.Concat()(x, ir.Coordinates(size, size)(name="coordinates"))
    for stage, options in enumerate(widths):
        with ir.scope(f"stage{stage + 1}"):
            width = ir.choice("width", *options, ordered=True)
            parts = ir.choice("regions", *regions[stage], ordered=True)
            side = ir.choice("centres", *centres[stage], ordered=True)
            count = ir.choice("heads", *heads[stage], ordered=True)
            ratio = ir.choice("mlp_ratio", 4, 8, ordered=True)
            kernel, stride, padding = (3, 2, 1) if stage else (stem, stem, 0)
            x = ir.Conv2d(width, kernel, stride, padding, init="torch")(x, name="reduce")
            shape = (count, head_width, parts, side)
            before = sum(depths[:stage])  # type: ignore[arg-type]

            def block(
                x: ir.Value,
                i: int,
                shape: tuple[ir.Operand, ...] = shape,
                ratio: ir.Operand = ratio,
                before: ir.Operand = before,
            ) -> ir.Value:
                last = sum(depths) - 1  # type: ignore[arg-type]
                rate = drop_rate and drop_rate * (before + i) / ir.maximum(last, 1)
                return cluster_block(x, shape, ratio, rate)

            x = ir.repeat(block, depths[stage])(x)
    x = ir.Mean()(ir.GroupNorm(1)(x, name="norm"), name="pool")
    return ir.Space(dense(x, classes, "head"), name="context_cluster")


@ir.block
def cluster_block(
    x: ir.Value, shape: tuple[ir.Operand, ...], ratio: ir.Operand, rate: ir.Operand
) -> ir.Value:
    """Exchange within clusters, then transform each point: (C, H, W) -> the same."""
    y = context_cluster(ir.GroupNorm(1)(x, name="norm1"), *shape, name="token_mixer")
    x = ir.Add()(x, drop_path(scaled(y, "layer_scale1"), rate))
    y = mlp(ir.GroupNorm(1)(x, name="norm2"), ratio * x.dim("C"), name="mlp")
    return ir.Add()(x, drop_path(scaled(y, "layer_scale2"), rate))


def scaled(x: ir.Value, name: str) -> ir.Value:
    """LayerScale: a learned factor for each channel of a branch."""
    gamma = ir.Parameter(("C", "H", "W"), (x.dim("C"), 1, 1), ("constant", 1e-5))
    return ir.Multiply()(x, gamma(name=name))


@ir.block
def mlp(x: ir.Value, hidden: ir.Operand) -> ir.Value:
    """Transform each point on its own: (C, H, W) -> the same."""
    y = ir.Rearrange("c h w -> h w D=c")(x)
    y = ir.Activation("gelu")(ir.Linear(hidden, init=TRANSFORMER_INIT)(y, name="fc1"))
    y = ir.Linear(x.dim("C"), init=TRANSFORMER_INIT)(y, name="fc2")
    return ir.Rearrange("h w d -> C=d h w")(y)


@ir.block
def context_cluster(
    x: ir.Value,
    heads: ir.Operand,
    head_width: ir.Operand,
    regions: ir.Operand,
    centres: ir.Operand,
) -> ir.Value:
    """Cluster the points of each region for each head: (C, H, W) -> the same. Section 3.2.

    A centre starts as the average of its share of the region.
    """
    values = ir.Conv2d(heads * head_width, 1, init="torch")(x, name="value")
    points = ir.Conv2d(heads * head_width, 1, init="torch")(x, name="point")
    pool = ir.AdaptiveAvgPool(regions * centres)
    sizes = (("e", heads), ("f", regions), ("g", regions))
    split = ir.Rearrange("(e c) (f h) (g w) -> E=(e f g) L=(h w) D=c", sizes)
    scale = ir.Parameter(("A",), (1,), "ones")(name="scale")
    offset = ir.Parameter(("A",), (1,), "zeros")(name="offset")
    sets = (split(y) for y in (points, values, pool(points), pool(values)))
    y = ir.Cluster()(*sets, scale, offset)
    rows = ("h", x.dim("H") // regions)
    y = ir.Rearrange("(e f g) (h w) d -> C=(e d) H=(f h) W=(g w)", (*sizes, rows))(y, name="join")
    return ir.Conv2d(x.dim("C"), 1, init="torch")(y, name="proj")


def _model(
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    heads: tuple[int, ...],
    head_width: int,
    regions: tuple[int, ...] = (8, 4, 2, 1),
    centres: tuple[int, ...] = (2, 2, 2, 2),
) -> ir.Model:
    point: ir.Point = {"head_width": head_width}
    columns = {"width": widths, "depth": depths, "heads": heads, "mlp_ratio": (8, 8, 4, 4)}
    columns |= {"regions": regions, "centres": centres}
    for name, values in columns.items():
        point |= {f"stage{stage}/{name}": value for stage, value in enumerate(values, 1)}
    settings = {
        "widths": tuple((width,) for width in widths),
        "heads": tuple((count,) for count in heads),
        "head_widths": (head_width,),
        "deepest": depths,
        "regions": ((7, 8), (4, 7), (1, 2), (1,)),
    }
    return ir.Model(point, settings, "Ma et al. (2023), table 7 and the released code")


TINY = ((32, 64, 196, 320), (3, 4, 5, 2), (4, 4, 8, 8), 24)
MODELS: dict[str, ir.Model] = {
    "coc_tiny": _model(*TINY),
    "coc_tiny2": _model(*TINY, regions=(7, 7, 1, 1), centres=(4, 2, 7, 4)),
    "coc_small": _model((64, 128, 320, 512), (2, 2, 6, 2), (4, 4, 8, 8), 32),
    "coc_medium": _model((64, 128, 320, 512), (4, 4, 12, 4), (6, 6, 12, 12), 32),
}
