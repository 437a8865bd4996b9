"""NAS: convolutions in a row, each of its own size, each reading any of those before it.

Zoph & Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017 (arXiv 1611.01578),
sections 3.3 and 4.1; figure 7 draws the network found without strides and pooling.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

from nasflow import ir
from nasflow.ir.blocks import conv_bn_act


@ir.block
def connected(
    x: ir.Value, layers: int, filters: ir.Operand, kernel: tuple[ir.Operand, ir.Operand]
) -> ir.Value:
    """Convolve ``layers`` times; each convolution reads what came in and all before it."""
    read = [x]
    for layer in range(layers):
        joined = ir.Concat()(*read) if layer else x
        read.append(conv_bn_act(joined, filters, kernel, name=f"conv{layer + 1}"))
    return read[-1]


def space(
    *,
    classes: int = 10,
    size: int = 32,
    channels: int = 3,
    blocks: int = 15,
    layers: int = 1,
    filters: Sequence[int] = (24, 36, 48, 64),
    kernels: Sequence[int] = (1, 3, 5, 7),
    pools: Sequence[int] = (),
    more_filters: int = 0,
) -> ir.Space:
    """Return the space: kernel height and width, filters and inputs of each block.

    What no block reads is joined for the classifier, and a block that reads none reads the image.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        blocks: predictions of the controller.
        layers: convolutions that one prediction makes, fully connected.
        filters, kernels: to choose from.
        pools: blocks before which all there is is halved by max pooling, counted from 1.
        more_filters: added to each layer of what was found.
    """
    made: list[ir.Value] = []
    used: list[list[ir.Operand]] = []
    image = ir.image(channels, size)
    for block in range(1, blocks + 1):
        if block in pools:
            image, *made = (ir.MaxPool(2, 2)(x) for x in (image, *made))
        with ir.scope(f"block{block}"):
            kernel = tuple(ir.choice(name, *kernels, ordered=True) for name in ("height", "width"))
            count = ir.choice("filters", *filters, ordered=True) + more_filters
            reads = [ir.choice(f"read{i + 1}", False, True) for i in range(len(made))]
            x = joined(made, reads, image) if made else image
            for users, read in zip(used, reads, strict=True):
                users.append(read)
            made.append(connected(x, layers, count, kernel, name="convolutions"))
            used.append([])
    ends = [ir.Gated(x, ~either(users)) for x, users in zip(made[:-1], used, strict=False)]
    x = ir.Mean()(ir.Concat()(*ends, made[-1], name="ends"))
    return ir.Space(ir.Linear(classes)(x, name="classifier"), name="nas")


def joined(made: Sequence[ir.Value], reads: Sequence[ir.Operand], image: ir.Value) -> ir.Value:
    """Join what a block reads."""
    read = [ir.Gated(x, when) for x, when in zip(made, reads, strict=True)]
    return ir.Concat()(ir.Gated(image, ~either(reads)), *read, name="read")


def either(conditions: Sequence[ir.Operand]) -> ir.Operand:
    return functools.reduce(operator.or_, conditions)


# -- published networks -------------------------------------------------------------------------------

Layers = Sequence[tuple[int, int, int, Sequence[int]]]
"""Height, width and filters of each, and which it reads, counted from 1."""

FIGURE_7: Layers = (
    (3, 3, 36, ()),
    (3, 3, 48, (1,)),
    (3, 3, 36, (1, 2)),
    (5, 5, 36, (1, 2, 3)),
    (3, 7, 48, (3, 4)),
    (7, 7, 48, (2, 3, 4, 5)),
    (7, 7, 48, (2, 3, 4, 5, 6)),
    (7, 3, 36, (1, 6, 7)),
    (7, 1, 36, (1, 5, 6, 8)),
    (7, 7, 36, (1, 3, 4, 5, 6, 7, 8, 9)),
    (5, 7, 36, (1, 2, 5, 6, 7, 8, 9, 10)),
    (7, 7, 48, (1, 2, 3, 4, 6, 11)),
    (7, 5, 48, (1, 3, 6, 7, 8, 9, 10, 11, 12)),
    (7, 5, 48, (3, 7, 12, 13)),
    (7, 5, 48, (6, 7, 11, 12, 13, 14)),
)


# Table 1 prints parameters only: 7.1M, and 37.4M with 40 more filters a layer. A weight's count is a
# product of two widths, so both hold only where layers have 31 filters on average.
FOUND_V3: Layers = (
    (3, 3, 24, ()),
    (3, 3, 36, (1,)),
    (5, 3, 36, (2,)),
    (3, 5, 24, (2, 3)),
    (7, 3, 24, (1, 2, 4)),
    (7, 7, 24, (1, 2, 4, 5)),
    (3, 7, 24, (2, 4, 5, 6)),
    (7, 3, 36, (1, 2, 3, 5, 6, 7)),
    (5, 7, 36, (1, 2, 3, 4, 5, 7, 8)),
    (7, 7, 36, (2, 3, 7, 8, 9)),
    (7, 7, 36, (2, 3, 4, 5, 6, 7, 8, 9, 10)),
    (7, 7, 24, (1, 2, 3, 4, 6, 7, 8, 9, 11)),
    (3, 7, 36, (1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)),
)


def _point(layers: Layers) -> ir.Point:
    point: ir.Point = {}
    for number, (height, width, filters, reads) in enumerate(layers, 1):
        scope = f"block{number}"
        point |= {f"{scope}/height": height, f"{scope}/width": width, f"{scope}/filters": filters}
        point |= {f"{scope}/read{i}": i in reads for i in range(1, number)}
    return point


V3 = {"blocks": 13, "layers": 3, "filters": (6, 12, 24, 36), "pools": (5, 9)}
SOURCE = "Zoph & Le (2017)"
NOTE = (
    "thirteen predictions of three fully connected layers, pooled before layers 13 and 25 (section 4.1), "
    "are all that the text fixes; kernels, filters and inputs were found by search and meet the printed "
    "parameters of both rows"
)

MODELS = {
    "nas_v1_cifar": ir.Model(_point(FIGURE_7), {}, f"{SOURCE}, figure 7"),
    "nas_v3_cifar": ir.Model(_point(FOUND_V3), V3, f"{SOURCE}, table 1", True, NOTE),
    "nas_v3_more_filters_cifar": ir.Model(
        _point(FOUND_V3), {**V3, "more_filters": 40}, f"{SOURCE}, table 1", True, NOTE
    ),
}
