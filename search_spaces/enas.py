"""ENAS: cells whose nodes each add two operations on earlier states; the states that none reads are the result.

Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018 (arXiv 1802.03268),
section 2.4; borders, stem and projections follow the authors' released code.

NAO (Luo et al., "Neural Architecture Optimization", NeurIPS 2018, arXiv 1808.07233, and its released
code) searches the same cells, with more operations; its networks are points here.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nasflow import ir

Branch = Callable[[ir.Value], ir.Value]

HE = "kaiming_normal_fan_in"
"""How all weights start: He et al. (2015), as section 3.2 of ENAS and both released codes have it."""


def _relu(x: ir.Value) -> ir.Value:
    return ir.Activation("relu")(x)


@dataclass(frozen=True)
class Style:
    """What the two released codes do differently.

    Attributes:
        padding, eps: borders of strided operations, TensorFlow's or PyTorch's; of norms.
        base: whether a cell's last input passes through a further 1x1 convolution.
        relu: whether a ReLU precedes the classifier.
        bias: whether the classifier has one.
    """

    padding: str
    eps: float
    base: bool
    relu: bool
    bias: bool

    def norm(self, x: ir.Value, name: str = "norm") -> ir.Value:
        return ir.BatchNorm(eps=self.eps)(x, name=name)

    def conv(self, x: ir.Value, out: ir.Operand, *shape: Any, name: str = "conv") -> ir.Value:
        """ReLU, convolution, norm; ``shape`` is kernel and stride."""
        kernel, stride = shape or (1, 1)
        made = ir.Conv2d(out, kernel, stride, self.padding, bias=False, init=HE)
        return self.norm(made(_relu(x), name=name), f"{name}_norm")


STYLES = {
    "enas": Style("same", 1e-3, base=True, relu=True, bias=False),
    "nao": Style("half", 1e-5, base=False, relu=False, bias=True),
}


@ir.block
def separable(x: ir.Value, kernel: int, stride: ir.Operand, style: Style) -> ir.Value:
    """ReLU, depthwise, pointwise, norm, twice; only the first has the stride."""
    channels = x.dim("C")
    for number, step in ((1, stride), (2, 1)):
        with ir.scope(f"part{number}"):
            shape = (channels, kernel, step, style.padding, 1, channels)
            made = ir.Conv2d(*shape, bias=False, init=HE)
            x = made(_relu(x), name="depthwise")
            x = style.norm(ir.Conv2d(channels, bias=False, init=HE)(x, name="pointwise"))
    return x


@ir.block
def factorised(x: ir.Value, size: int, stride: ir.Operand, style: Style) -> ir.Value:
    """1 x size, then size x 1; each carries the stride of its own axis."""
    x = style.conv(x, x.dim("C"), (1, size), (1, stride), name="row")
    return style.conv(x, x.dim("C"), (size, 1), (stride, 1), name="column")


@ir.block
def reduction(x: ir.Value, out: ir.Operand, style: Style) -> ir.Value:
    """Halve the resolution by two 1x1 paths, the second shifted by a pixel; half the filters each."""
    even = ir.Conv2d(out // 2, bias=False, init=HE)(ir.Subsample(2)(x), name="even")
    odd = ir.Conv2d(out - out // 2, bias=False, init=HE)(ir.Subsample(2, offset=1)(x), name="odd")
    return style.norm(ir.Concat()(even, odd))


def operations(stride: ir.Operand, style: Style) -> dict[str, Branch]:
    """Return every operation; ENAS has the first five, NAO the others and, with shared weights, these."""

    def skip(x: ir.Value) -> ir.Value:
        reduce = functools.partial(reduction, out=x.dim("C"), style=style)
        return ir.when(stride != 1, reduce, lambda x: x)(x, name="skip")

    def conv(x: ir.Value, kernel: int) -> ir.Value:
        return style.conv(x, x.dim("C"), kernel, stride)

    def beyond(x: ir.Value) -> ir.Value:
        return ir.Pad((0, 1, 0, 1))(x)  # windows that reach past the far border

    padding = style.padding
    return {
        "sep_conv_3x3": lambda x: separable(x, 3, stride, style),
        "sep_conv_5x5": lambda x: separable(x, 5, stride, style),
        "avg_pool_3x3": lambda x: ir.AvgPool(3, stride, padding)(x),
        "max_pool_3x3": lambda x: ir.MaxPool(3, stride, padding)(x),
        "identity": skip,
        "conv_1x1": lambda x: conv(x, 1),
        "conv_3x3": lambda x: conv(x, 3),
        "conv_1x3_3x1": lambda x: factorised(x, 3, stride, style),
        "conv_1x7_7x1": lambda x: factorised(x, 7, stride, style),
        "max_pool_2x2": lambda x: ir.MaxPool(2, stride, 0)(beyond(x)),
        "max_pool_5x5": lambda x: ir.MaxPool(5, stride, padding)(x),
        "avg_pool_2x2": lambda x: ir.AvgPool(2, stride, 0)(beyond(x)),
        "avg_pool_3x3_zeros": lambda x: ir.AvgPool(3, stride, padding, count_padding=True)(x),
        "avg_pool_5x5_zeros": lambda x: ir.AvgPool(5, stride, padding, count_padding=True)(x),
    }


ENAS_OPERATIONS = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "identity")
NAO_OPERATIONS = (
    *("identity", "conv_1x1", "conv_3x3", "conv_1x3_3x1", "conv_1x7_7x1"),
    *("max_pool_2x2", "max_pool_3x3", "max_pool_5x5"),
    *("avg_pool_2x2", "avg_pool_3x3_zeros", "avg_pool_5x5_zeros"),
)


class Recipe:
    """The decisions of one kind of cell: for each node two states and an operation on each.

    States are numbered 0 for the cell before the last, 1 for the last, then the nodes.
    """

    def __init__(self, kind: str, nodes: int, choices: Sequence[str]) -> None:
        self.nodes: list[list[tuple[ir.Decision, ir.Decision]]] = []
        for node in range(nodes):
            with ir.scope(kind, f"node{node}"):
                self.nodes.append(
                    [
                        (ir.choice(f"input{i}", *range(2 + node)), ir.choice(f"op{i}", *choices))
                        for i in (0, 1)
                    ]
                )

    def used(self, state: int) -> ir.Operand:
        """Return whether a node reads a state."""
        after = max(state - 1, 0)
        reads = [index == state for node in self.nodes[after:] for index, _ in node]
        return functools.reduce(operator.or_, reads)


@ir.block
def cell(
    before: ir.Value,
    last: ir.Value,
    recipe: Recipe,
    filters: int,
    style: Style,
    stride: int = 1,
    drop_path: float = 0.0,
) -> ir.Value:
    """A cell: its two predecessors -> the states that are not read, joined."""
    states = calibrated(before, last, filters, style)
    for node, edges in enumerate(recipe.nodes):
        pair = []
        for side, (index, op) in enumerate(edges):
            # Stride applies to the cell's inputs only, never to its nodes.
            step = ir.where(index < 2, stride, 1) if stride > 1 else 1
            branches = {name: operations(step, style)[str(name)] for name in op.options}
            name = f"node{node}_{side}"
            y = ir.switch(op, branches)(ir.pick(index, states), name=name)
            if drop_path:
                y = ir.DropPath(drop_path, scheduled=True)(y, name=f"{name}_drop")
            pair.append(y)
        states.append(ir.Add()(*pair, name=f"node{node}"))
    joined: list[ir.Value | ir.Gated] = []
    for number, state in enumerate(states[:-1]):
        if stride > 1 and number < 2:
            state = reduction(state, filters, style, name=f"reduce{number}")
        joined.append(ir.Gated(state, ~recipe.used(number)))
    return ir.Concat()(*joined, states[-1], name="joined")


def calibrated(before: ir.Value, last: ir.Value, filters: int, style: Style) -> list[ir.Value]:
    """Give both inputs of a cell the last one's resolution and ``filters`` channels."""

    def fit(x: ir.Value, name: str) -> ir.Value:
        project = functools.partial(style.conv, out=filters, name=name)
        return ir.when(x.dim("C") != filters, project, lambda x: x)(x, name=f"{name}_fit")

    halve = ir.when(
        before.dim("H") != last.dim("H"),
        lambda x: reduction(_relu(x), filters, style, name="halve"),
        lambda x: fit(x, "before"),
    )
    states = [halve(before, name="calibrate"), fit(last, "last")]
    if style.base:
        states[1] = style.conv(states[1], filters, name="base")
    return states


def cifar_stem(image: ir.Value, filters: int, style: Style) -> tuple[ir.Value, ir.Value]:
    """A 3x3 convolution of three times the filters, which the first cell sees twice."""
    x = style.norm(ir.Conv2d(3 * filters, 3, bias=False, init=HE)(image, name="stem"), "stem_norm")
    return x, x


def imagenet_stem(image: ir.Value, filters: int, style: Style) -> tuple[ir.Value, ir.Value]:
    """Three strided 3x3 convolutions; the first cell sees the results of the last two."""
    x = ir.Conv2d(filters // 2, 3, 2, style.padding, bias=False, init=HE)(image, name="stem0")
    before = style.conv(style.norm(x, "stem0_norm"), filters, 3, 2, name="stem1")
    return before, style.conv(before, filters, 3, 2, name="stem2")


STEMS = {"cifar": cifar_stem, "imagenet": imagenet_stem}


def space(
    *,
    classes: int = 10,
    size: int = 32,
    channels: int = 3,
    skeleton: str = "cifar",
    operations: Sequence[str] = ENAS_OPERATIONS,
    style: str = "enas",
    repeats: int = 5,
    filters: int = 36,
    nodes: int = 5,
    drop_path: float = 0.0,
) -> ir.Space:
    """Return the space of ENAS's micro cells.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        skeleton: ``"cifar"``, or ``"imagenet"``: a stem of stride 8.
        operations: to choose from.
        style: ``"enas"`` or ``"nao"``: whose released code the details follow.
        repeats: normal cells before, between and after the two that halve the resolution.
        filters: filters of the first cells, doubled where the resolution halves.
        nodes: nodes of a cell.
        drop_path: rate to which that of dropping an operation grows over training.
    """
    if skeleton not in STEMS:
        raise ir.SpaceError(f"enas: expected skeleton cifar or imagenet, got {skeleton!r}")
    if style not in STYLES:
        raise ir.SpaceError(f"enas: expected style enas or nao, got {style!r}")
    details = STYLES[style]
    normal, halving = (Recipe(kind, nodes, operations) for kind in ("normal", "reduction"))
    before, last = STEMS[skeleton](ir.image(channels, size), filters, details)
    for layer in range(3 * repeats + 2):
        halve = layer in (repeats, 2 * repeats + 1)
        filters *= 2 if halve else 1
        recipe, stride = (halving, 2) if halve else (normal, 1)
        made = cell(before, last, recipe, filters, details, stride, drop_path, name=f"cell{layer}")
        before, last = last, made
    x = ir.Mean()(_relu(last) if details.relu else last)
    return ir.Space(
        ir.Linear(classes, bias=details.bias, init=HE)(x, name="classifier"), name="enas"
    )


# -- published networks -------------------------------------------------------------------------------


def _point(text: str, names: Sequence[str]) -> ir.Point:
    """Read a released architecture: for each node state, operation, state, operation; normal cell first."""
    numbers = [int(word) for word in text.split()]
    point: ir.Point = {}
    half = len(numbers) // 2
    for place, number in enumerate(numbers):
        kind = "normal" if place < half else "reduction"
        node, (side, what) = place % half // 4, divmod(place % 4, 2)
        value = names[number] if what else number
        point[f"{kind}/node{node}/{'op' if what else 'input'}{side}"] = value
    return point


NAO_NUMBERS = (*ENAS_OPERATIONS, *NAO_OPERATIONS)
ENAS_MICRO = "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1  1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1"
NAONET_A = "0 7 1 15 2 8 1 7 0 6 1 7 0 8 4 7 1 5 0 7  0 7 1 13 0 6 0 14 0 9 1 10 0 14 2 6 1 11 0 7"
NAONET_B = "0 1 0 2 0 1 2 2 1 3 0 2 4 0 1 3 2 1 0 3  1 1 1 0 2 1 2 4 1 0 2 3 3 1 2 2 0 2 0 2"
NAONET_V2 = "1 1 0 1 2 4 0 0 0 0 2 1 0 0 0 2 0 3 0 0  0 2 0 2 2 2 1 0 0 0 0 1 0 0 0 3 0 0 0 1"

NAO = {"style": "nao", "repeats": 6}
WIDE: dict[str, Any] = {**NAO, "operations": NAO_OPERATIONS}
IMAGENET = {"skeleton": "imagenet", "classes": 1000, "size": 224, "filters": 42, "repeats": 4}
LUO = "Luo et al. (2018) and released code"
MODELS = {
    "enas": ir.Model(
        _point(ENAS_MICRO, ENAS_OPERATIONS),
        {},
        "Pham et al. (2018), section 3.2 and released code",
        note="the cells of the released script at its 36 filters; its auxiliary head, which is never built, would make "
        "them 4.39M; the paper prints 4.6M",
    ),
    "naonet": ir.Model(
        _point(NAONET_A, NAO_NUMBERS),
        WIDE,
        f"{LUO}: NAONet-A-36",
        note="the networks released for TensorFlow and for PyTorch both have 11.47M, the auxiliary head aside; the "
        "paper prints 10.6M",
    ),
    "naonet_128": ir.Model(
        _point(NAONET_A, NAO_NUMBERS), {**WIDE, "filters": 128}, f"{LUO}: NAONet-A-128"
    ),
    "naonet_imagenet": ir.Model(
        _point(NAONET_A, NAO_NUMBERS), {**WIDE, **IMAGENET}, f"{LUO}: NAONet-A on ImageNet"
    ),
    "naonet_b": ir.Model(_point(NAONET_B, NAO_NUMBERS), NAO, f"{LUO}: NAONet-B-36"),
    "naonet_v2": ir.Model(
        _point(NAONET_V2, NAO_NUMBERS), NAO, "Luo et al. (2019), arXiv 1909.10815, released code"
    ),
}
