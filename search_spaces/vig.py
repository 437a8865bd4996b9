"""ViG: an image as a graph of patches whose edges are drawn anew in every block.

Han et al., "Vision GNN: An Image is Worth Graph of Nodes", NeurIPS 2022 (arXiv 2206.00272), section
3 and table 1 (isotropic). Stem, groups of the graph convolution, dilation and head follow the
released code (huawei-noah/Efficient-AI-Backbones, vig_pytorch).
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import residual

GROUPS = 4  # of the graph convolution's update
HEAD = 1024


def space(
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    halvings: int = 4,
    widths: tuple[int, ...] = (192, 320, 640),
    depths: tuple[int, int] = (4, 16),
    neighbours: tuple[int, ...] = (3, 6, 9, 12, 15),
    dropout: float = 0.0,
    drop_rate: float = 0.0,
) -> ir.Space:
    """Return the space of isotropic vision GNNs for square images of ``size`` pixels.

    The stem halves the image up to four times, so that a patch has 2^halvings pixels a side.
    The first block links each patch to ``k`` neighbours, the last to 2k; every fourth block the
    dilation grows by one, as far as there are patches. ``drop_rate`` is the last block's rate.
    """
    width = ir.choice("width", *widths, ordered=True)
    k = ir.choice("neighbours", *neighbours, ordered=True)
    ratio = ir.choice("mlp_ratio", 2, 4, ordered=True)
    depth = ir.integer("depth", *depths)

    x = stem(ir.image(channels, size), width, halvings)
    shape = (width, x.dim("H"), x.dim("W"))
    shrink = ("prefix", "interpolate", "interpolate")
    positions = ir.Parameter(("C", "H", "W"), shape, "zeros", shrink)(name="pos_embed")
    x = ir.Add()(x, positions)
    patches = x.dim("H") * x.dim("W")

    def block(x: ir.Value, i: int, n: ir.Operand) -> ir.Value:
        last = ir.maximum(n - 1, 1)
        count = ir.minimum(k + k * i // last, patches)
        dilation = ir.maximum(1, ir.minimum(i // 4 + 1, patches // (2 * k)))
        rate = drop_rate and drop_rate * i / last
        x = residual(x, grapher(x, count, dilation), rate)
        return residual(x, feed_forward(x, ratio), rate)

    x = ir.repeat(block, depth)(x)
    x = ir.Activation("gelu")(conv_norm(ir.Mean(keep=True)(x), HEAD, name="prediction"))
    x = ir.Conv2d(classes, init=START)(ir.Dropout(dropout)(x) if dropout else x, name="head")
    return ir.Space(ir.Flatten()(x), name="vig")


START = "kaiming_normal_fan_in"


def conv_norm(
    x: ir.Value, out: ir.Operand, kernel: int = 1, stride: int = 1, groups: int = 1, name: str = ""
) -> ir.Value:
    with ir.scope(name):
        x = ir.Conv2d(out, kernel, stride, groups=groups, init=START)(x, name="conv")
        return ir.BatchNorm()(x, name="norm")


@ir.block
def stem(x: ir.Value, width: ir.Operand, halvings: int) -> ir.Value:
    """Turn the image into patches by overlapping convolutions, most of stride 2."""
    for i, part in enumerate((8, 4, 2, 1)):
        stride = 2 if i < halvings else 1
        x = ir.Activation("gelu")(conv_norm(x, width // part, 3, stride, name=f"stage{i + 1}"))
    return conv_norm(x, width, 3, name="stage5")


@ir.block
def grapher(x: ir.Value, k: ir.Operand, dilation: ir.Operand) -> ir.Value:
    """Max-relative graph convolution between two linear maps (section 3.2)."""
    width, height = x.dim("C"), x.dim("H")
    nodes = ir.Rearrange("c h w -> L=(h w) D=c")(conv_norm(x, width, name="fc1"))
    edges = ir.NearestNeighbours(k, dilation)(nodes)
    # The largest difference to a neighbour is the difference to the largest neighbour.
    relative = ir.Subtract()(ir.Max("K")(ir.Gather()(nodes, edges)), nodes)
    both = ir.Concat("D")(nodes, relative)
    # Each channel stands next to its aggregate, so that both are in one group of the update.
    pattern = "(h w) (p c) -> C=(c p) h w"
    both = ir.Rearrange(pattern, (("h", height), ("p", 2)))(both, name="update_input")
    update = conv_norm(both, 2 * width, groups=GROUPS, name="update")
    return conv_norm(ir.Activation("gelu")(update), width, name="fc2")


@ir.block
def feed_forward(x: ir.Value, ratio: ir.Operand) -> ir.Value:
    width = x.dim("C")
    hidden = ir.Activation("gelu")(conv_norm(x, ratio * width, name="fc1"))
    return conv_norm(hidden, width, name="fc2")


def _model(width: int, depth: int) -> ir.Model:
    point = {"width": width, "neighbours": 9, "mlp_ratio": 4, "depth": depth}
    return ir.Model(point, {}, "Han et al. (2022), table 1")


MODELS: dict[str, ir.Model] = {
    "vig_ti": _model(width=192, depth=12),
    "vig_s": _model(width=320, depth=16),
    "vig_b": _model(width=640, depth=16),
}
