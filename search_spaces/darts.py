"""DARTS: a cell's nodes each add two operations on earlier nodes; all of them are the result.

Liu, Simonyan & Yang, "DARTS: Differentiable Architecture Search", ICLR 2019 (arXiv 1806.09055), sections 2.1
and 3.1; borders and stems follow the authors' released code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nasflow import ir

Branch = Callable[[ir.Value], ir.Value]


def _relu(x: ir.Value) -> ir.Value:
    return ir.Activation("relu")(x)


@ir.block
def conv(x: ir.Value, out: ir.Operand) -> ir.Value:
    """ReLU, 1x1 convolution, norm."""
    x = ir.Conv2d(out, bias=False, init="torch")(_relu(x), name="conv")
    return ir.BatchNorm()(x, name="norm")


@ir.block
def factorised_reduction(x: ir.Value, out: ir.Operand) -> ir.Value:
    """Halve the resolution by two 1x1 paths, the second shifted by a pixel; half the filters each."""
    x = _relu(x)
    even = ir.Conv2d(out // 2, 1, 2, bias=False, init="torch")(x, name="even")
    shifted = ir.Subsample(2, offset=1)(x)
    odd = ir.Conv2d(out - out // 2, bias=False, init="torch")(shifted, name="odd")
    return ir.BatchNorm()(ir.Concat()(even, odd), name="norm")


@ir.block
def depthwise_separable(
    x: ir.Value, kernel: int, stride: ir.Operand = 1, dilation: int = 1
) -> ir.Value:
    """ReLU, a convolution of each channel, a 1x1 convolution, norm."""
    channels = x.dim("C")
    depthwise = ir.Conv2d(
        channels, kernel, stride, "half", dilation, channels, bias=False, init="torch"
    )
    x = depthwise(_relu(x), name="depthwise")
    x = ir.Conv2d(channels, bias=False, init="torch")(x, name="pointwise")
    return ir.BatchNorm()(x, name="norm")


def sep_conv(x: ir.Value, kernel: int, stride: ir.Operand) -> ir.Value:
    """Separable convolutions are applied twice, the stride in the first."""
    x = depthwise_separable(x, kernel, stride, name="part1")
    return depthwise_separable(x, kernel, name="part2")


def skip_connect(x: ir.Value, stride: ir.Operand) -> ir.Value:
    def reduce(x: ir.Value) -> ir.Value:
        return factorised_reduction(x, x.dim("C"))

    return ir.when(stride != 1, reduce, lambda x: x)(x, name="skip")


def operations(stride: ir.Operand) -> dict[str, Branch]:
    """Return the operations of section 3.1; "none" is there during search only."""
    return {
        "max_pool_3x3": lambda x: ir.MaxPool(3, stride)(x),
        "avg_pool_3x3": lambda x: ir.AvgPool(3, stride)(x),
        "skip_connect": lambda x: skip_connect(x, stride),
        "sep_conv_3x3": lambda x: sep_conv(x, 3, stride),
        "sep_conv_5x5": lambda x: sep_conv(x, 5, stride),
        "dil_conv_3x3": lambda x: depthwise_separable(x, 3, stride, 2),
        "dil_conv_5x5": lambda x: depthwise_separable(x, 5, stride, 2),
    }


OPERATIONS = tuple(operations(1))


class Recipe:
    """The decisions of one kind of cell: for each node two predecessors and an operation on each.

    States are numbered 0 for the cell before the last, 1 for the last, then the nodes.
    """

    def __init__(self, kind: str, nodes: int) -> None:
        self.nodes: list[list[tuple[ir.Decision, ir.Decision]]] = []
        for node in range(nodes):
            with ir.scope(kind, f"node{node}"):
                self.nodes.append(
                    [
                        (ir.choice(f"input{i}", *range(2 + node)), ir.choice(f"op{i}", *OPERATIONS))
                        for i in (0, 1)
                    ]
                )


@ir.block
def cell(
    before: ir.Value,
    last: ir.Value,
    recipe: Recipe,
    filters: ir.Operand,
    stride: int = 1,
    drop_path: float = 0.0,
) -> ir.Value:
    """A cell: its two predecessors -> the nodes, joined."""
    fit = ir.when(
        before.dim("H") != last.dim("H"),
        lambda x: factorised_reduction(x, filters),
        lambda x: conv(x, filters),
    )
    states = [fit(before, name="before"), conv(last, filters, name="last")]
    for node, edges in enumerate(recipe.nodes):
        pair = []
        for side, (index, op) in enumerate(edges):
            # Stride applies to the cell's inputs only, never to its nodes.
            step = ir.where(index < 2, stride, 1) if stride > 1 else 1
            name = f"node{node}_{side}"
            y = ir.switch(op, operations(step))(ir.pick(index, states), name=name)
            if drop_path:
                keep = ir.DropPath(drop_path, scheduled=True)
                y = ir.when(op == "skip_connect", lambda y: y, keep)(y, name=f"{name}_drop")
            pair.append(y)
        states.append(ir.Add()(*pair, name=f"node{node}"))
    return ir.Concat()(*states[2:])


def cifar_stem(image: ir.Value, filters: int) -> tuple[ir.Value, ir.Value]:
    """A 3x3 convolution of three times the filters, which the first cell sees twice."""
    x = ir.Conv2d(3 * filters, 3, bias=False, init="torch")(image, name="stem_conv")
    x = ir.BatchNorm()(x, name="stem_norm")
    return x, x


def imagenet_stem(image: ir.Value, filters: int) -> tuple[ir.Value, ir.Value]:
    """Three strided 3x3 convolutions; the first cell sees the results of the last two."""
    x = ir.Conv2d(filters // 2, 3, 2, bias=False, init="torch")(image, name="stem0_conv")
    x = _relu(ir.BatchNorm()(x, name="stem0_norm"))
    x = ir.Conv2d(filters, 3, 2, bias=False, init="torch")(x, name="stem1_conv")
    before = ir.BatchNorm()(x, name="stem1_norm")
    x = ir.Conv2d(filters, 3, 2, bias=False, init="torch")(_relu(before), name="stem2_conv")
    return before, ir.BatchNorm()(x, name="stem2_norm")


STEMS = {"cifar": cifar_stem, "imagenet": imagenet_stem}


def space(
    *,
    classes: int = 10,
    size: int = 32,
    channels: int = 3,
    skeleton: str = "cifar",
    layers: int = 20,
    filters: int = 36,
    nodes: int = 4,
    drop_path: float = 0.0,
) -> ir.Space:
    """Return the DARTS space.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        skeleton: ``"cifar"``, or ``"imagenet"``: a stem of stride 8.
        layers: cells in all; those a third and two thirds of the way halve the resolution.
        filters: filters of the first cells, doubled where the resolution halves.
        nodes: nodes of a cell.
        drop_path: rate to which that of dropping an operation grows over training.
    """
    if skeleton not in STEMS:
        raise ir.SpaceError(f"darts: expected skeleton cifar or imagenet, got {skeleton!r}")
    normal, reduction = Recipe("normal", nodes), Recipe("reduction", nodes)
    before, last = STEMS[skeleton](ir.image(channels, size), filters)
    for layer in range(layers):
        halve = layer in (layers // 3, 2 * layers // 3)
        filters *= 2 if halve else 1
        recipe, stride = (reduction, 2) if halve else (normal, 1)
        made = cell(before, last, recipe, filters, stride, drop_path, name=f"cell{layer}")
        before, last = last, made
    logits = ir.Linear(classes)(ir.Mean()(last), name="classifier")
    return ir.Space(logits, name="darts")


# -- the cells of figures 4 to 6 --------------------------------------------------------------------

Edges = Sequence[tuple[str, int]]
"""An operation and the state it is applied to; two a node."""


def _point(normal: Edges, reduction: Edges) -> dict[str, object]:
    point: dict[str, object] = {}
    for kind, edges in (("normal", normal), ("reduction", reduction)):
        for number, (op, state) in enumerate(edges):
            scope = f"{kind}/node{number // 2}"
            point |= {f"{scope}/input{number % 2}": state, f"{scope}/op{number % 2}": op}
    return point


SEP3, SKIP, MAX3, AVG3 = "sep_conv_3x3", "skip_connect", "max_pool_3x3", "avg_pool_3x3"
DIL3 = "dil_conv_3x3"
FIRST_ORDER = _point(
    [(SEP3, 1), (SEP3, 0), (SKIP, 0), (SEP3, 1), (SKIP, 0), (SEP3, 1), (SEP3, 0), (SKIP, 2)],
    [(MAX3, 0), (MAX3, 1), (SKIP, 2), (MAX3, 0), (MAX3, 0), (SKIP, 2), (SKIP, 2), (AVG3, 0)],
)
SECOND_ORDER = _point(
    [(SEP3, 0), (SEP3, 1), (SEP3, 0), (SEP3, 1), (SEP3, 1), (SKIP, 0), (SKIP, 0), (DIL3, 2)],
    [(MAX3, 0), (MAX3, 1), (SKIP, 2), (MAX3, 1), (MAX3, 0), (SKIP, 2), (SKIP, 2), (MAX3, 1)],
)

IMAGENET = {"skeleton": "imagenet", "classes": 1000, "size": 224, "layers": 14, "filters": 48}
SOURCE = "Liu et al. (2019)"
MODELS = {
    "darts_v1_cifar": ir.Model(FIRST_ORDER, {}, f"{SOURCE}, table 1, first order"),
    "darts_v2_cifar": ir.Model(SECOND_ORDER, {}, f"{SOURCE}, table 1, second order"),
    "darts_v1_imagenet": ir.Model(FIRST_ORDER, IMAGENET, f"{SOURCE}, released code"),
    "darts_imagenet": ir.Model(
        SECOND_ORDER,
        IMAGENET,
        f"{SOURCE}, table 3",
        note="the paper prints 4.7M and 574M, its first version 4.9M and 595M for a cell that is in no "
        "public code; the parameters agree with the former, and the multiply-adds of the released "
        "network are 530M",
    ),
}
