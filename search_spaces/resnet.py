"""Residual networks: units of two or three convolutions, each added to what it was given.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385), table 1 and
section 4.2. The same space holds pre-activation (He et al., 2016, "Identity Mappings"), wide
(Zagoruyko & Komodakis, 2016), grouped (ResNeXt: Xie et al., 2017) and pyramidal (Han et al., 2017)
units, stochastic depth (Huang et al., 2016), squeeze-and-excitation (Hu et al., 2018), CBAM (Woo
et al., 2018), and group norm beside standardised weights (BiT: Kolesnikov et al., 2020). The published
networks are in _resnet_models.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import cbam, classifier, drop_path, squeeze_excite
from search_spaces._resnet_models import MODELS

__all__ = ["MODELS", "space"]

EXPANSION = 4  # a bottleneck gives four times the filters of its stage
REDUCTION = 16  # of the hidden layer of SE and CBAM

NORMS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "batch": (ir.Conv2d, ir.BatchNorm),
    "group": (
        functools.partial(ir.StandardisedConv2d, eps=1e-8),
        functools.partial(ir.GroupNorm, 32),
    ),
}
"""Convolution and norm: as He et al. have them, and as BiT has them (Kolesnikov et al., 2020)."""


class Recipe:
    """The decisions that every unit of a network shares."""

    def __init__(
        self,
        units: tuple[str, ...],
        orders: tuple[str, ...],
        attentions: tuple[str, ...],
        widths: tuple[float, ...],
        groups: tuple[int, ...],
        norm: str,
    ) -> None:
        self.convolution, self.norm = NORMS[norm]
        self.unit = ir.choice("unit", *units)
        self.order = ir.choice("order", *orders)
        self.width = ir.choice("width", *widths, ordered=True)
        self.inner_width = ir.choice("inner_width", 1, 2, 4, ordered=True)
        self.groups = ir.choice("groups", *groups, ordered=True)
        self.attention = ir.choice("attention", *attentions)
        self.shortcut = ir.choice("shortcut", "projection", "pad", "pool", "none", searched=False)
        # The paper strides a bottleneck's first 1x1; torchvision and most tables since, its 3x3.
        self.stride_in = ir.choice("stride_in", "3x3", "1x1", searched=False)
        # SENet-154: the first 1x1 has half the filters of the 3x3, and strided projections are 3x3.
        self.halve_first = ir.choice("halve_first", False, True, searched=False)
        self.projection = ir.choice("projection", 1, 3, searched=False)

    def inner(self, filters: ir.Operand) -> ir.Operand:
        """Filters of a bottleneck's 3x3, in whole groups."""
        return ir.round_to(filters * self.inner_width, self.groups)

    def conv(
        self, x: ir.Value, out: ir.Operand, kernel: ir.Operand, stride: ir.Operand = 1, **more: Any
    ) -> ir.Value:
        name = more.pop("name")
        return self.convolution(out, kernel, stride, bias=False, **more)(x, name=name)

    def conv_norm(self, x: ir.Value, *args: Any, name: str, **more: Any) -> ir.Value:
        return self.norm()(self.conv(x, *args, name=name, **more), name=f"{name}_norm")

    def norm_relu(self, x: ir.Value, name: str) -> ir.Value:
        return ir.Activation("relu")(self.norm()(x, name=name))

    def norm_where(
        self, normed: ir.Operand, activated: ir.Operand, x: ir.Value, name: str
    ) -> ir.Value:
        x = ir.when(normed, lambda x: self.norm()(x, name="norm"), lambda x: x)(x, name=name)
        act = ir.when(activated, lambda x: ir.Activation("relu")(x), lambda x: x)
        result: ir.Value = act(x, name=f"{name}_act")
        return result


def choose(decision: ir.Decision, **branches: Callable[..., Any]) -> Callable[..., Any]:
    """Return the branch that the decision names, of those it offers."""
    return ir.switch(decision, {option: branches[str(option)] for option in decision.options})


@dataclass(frozen=True)
class Layer:
    """One convolution of a unit."""

    out: ir.Operand
    kernel: int
    stride: ir.Operand = 1
    groups: ir.Operand = 1
    dilation: int = 1

    def __call__(self, x: ir.Value, recipe: Recipe, name: str) -> ir.Value:
        settings = {"groups": self.groups, "dilation": self.dilation}
        return recipe.conv(x, self.out, self.kernel, self.stride, **settings, name=name)


def basic(filters: ir.Operand, stride: int, dilation: int) -> list[Layer]:
    """Two 3x3 (figure 5, left)."""
    return [Layer(filters, 3, stride, 1, dilation), Layer(filters, 3, 1, 1, dilation)]


def bottleneck(recipe: Recipe, filters: ir.Operand, stride: int, dilation: int) -> list[Layer]:
    """1x1, 3x3 and 1x1 (figure 5, right)."""
    inner = recipe.inner(filters)
    early = recipe.stride_in == "1x1"
    return [
        Layer(ir.where(recipe.halve_first, inner // 2, inner), 1, ir.where(early, stride, 1)),
        Layer(inner, 3, ir.where(early, 1, stride), recipe.groups, dilation),
        Layer(filters * EXPANSION, 1),
    ]


@ir.block
def post_activation(
    x: ir.Value, layers: list[Layer], stride: int, recipe: Recipe, rate: ir.Operand
) -> ir.Value:
    """Convolution, norm, non-linearity; the last non-linearity follows the addition."""
    y = x
    for number, layer in enumerate(layers, 1):
        y = recipe.norm()(layer(y, recipe, f"conv{number}"), name=f"conv{number}_norm")
        if number < len(layers):
            y = ir.Activation("relu")(y)

    def project(x: ir.Value) -> ir.Value:
        kernel = recipe.projection if stride > 1 else 1
        return recipe.conv_norm(x, layers[-1].out, kernel, stride, name="project")

    y = drop_path(attend(y, recipe), rate)
    return ir.Activation("relu")(add_shortcut(y, x, x, project, stride, recipe))


@ir.block
def pre_activation(
    x: ir.Value, layers: list[Layer], stride: int, recipe: Recipe, rate: ir.Operand
) -> ir.Value:
    """Norm, non-linearity, convolution; a projection takes the first non-linearity's result."""
    first = y = recipe.norm_relu(x, "norm1")
    for number, layer in enumerate(layers, 1):
        if number > 1:
            y = recipe.norm_relu(y, f"norm{number}")
        y = layer(y, recipe, f"conv{number}")

    def project(x: ir.Value) -> ir.Value:
        return recipe.conv(x, layers[-1].out, 1, stride, name="project")

    y = drop_path(attend(y, recipe), rate)
    return add_shortcut(y, x, first, project, stride, recipe)


@ir.block
def pyramidal(
    x: ir.Value, layers: list[Layer], stride: int, recipe: Recipe, rate: ir.Operand
) -> ir.Value:
    """Pre-activation with a norm more and a non-linearity less (Han et al., 2017, figure 6(d))."""
    y = recipe.norm()(x, name="norm1")
    for number, layer in enumerate(layers, 1):
        if number > 1:
            y = recipe.norm_relu(y, f"norm{number}")
        y = layer(y, recipe, f"conv{number}")
    y = recipe.norm()(y, name="norm_last")

    def project(x: ir.Value) -> ir.Value:
        return recipe.conv_norm(x, layers[-1].out, 1, stride, name="project")

    y = drop_path(attend(y, recipe), rate)
    return add_shortcut(y, x, x, project, stride, recipe)


ORDERS = {"post": post_activation, "pre": pre_activation, "pyramidal": pyramidal}


def attend(y: ir.Value, recipe: Recipe) -> ir.Value:
    """Weigh a unit's result by SE or CBAM, if any."""
    hidden = ir.maximum(y.dim("C") // REDUCTION, 1)
    attended: ir.Value = choose(
        recipe.attention,
        none=lambda y: y,
        se=lambda y: squeeze_excite(y, hidden),
        cbam=lambda y: cbam(y, hidden),
    )(y, name="attention")
    return attended


def add_shortcut(
    y: ir.Value,
    x: ir.Value,
    projected: ir.Value,
    project: Callable[[ir.Value], ir.Value],
    stride: int,
    recipe: Recipe,
) -> ir.Value:
    """Add ``x``; where its shape differs, project it, or subsample or pool it and pad it with zeros."""
    channels = y.dim("C")
    changes = (x.dim("C") != channels) if stride == 1 else True

    def padded(smaller: Callable[..., ir.Value]) -> Callable[..., ir.Value]:
        def pad(x: ir.Value, projected: ir.Value) -> ir.Value:
            x = smaller(x) if stride > 1 else x
            return ir.Pad((0, 0, 0, 0, 0, channels - x.dim("C")))(x)

        return pad

    branches: dict[Any, Any] = {
        "projection": ir.when(changes, lambda x, projected: project(projected), lambda x, _: x),
        "pad": padded(ir.Subsample(stride)),
        "pool": padded(ir.AvgPool(2, 2, padding=0, ceil=True)),
        "none": lambda x, projected: x,
    }
    fitted = ir.switch(recipe.shortcut, branches)(x, projected, name="shortcut")
    added: ir.Value = ir.Add()(y, ir.Gated(fitted, recipe.shortcut != "none"))
    return added


def unit(
    x: ir.Value,
    recipe: Recipe,
    filters: ir.Operand,
    name: str,
    stride: int = 1,
    dilation: int = 1,
    rate: ir.Operand = 0.0,
) -> ir.Value:
    """One residual unit: (C, H, W) -> (filters, or four times as many, H / stride, W / stride)."""

    def ordered(layers: list[Layer]) -> Callable[[ir.Value], ir.Value]:
        branches = {
            order: lambda x, kind=kind: kind(x, layers, stride, recipe, rate)
            for order, kind in ORDERS.items()
        }
        return choose(recipe.order, **branches)

    built: ir.Value = choose(
        recipe.unit,
        basic=ordered(basic(filters, stride, dilation)),
        bottleneck=ordered(bottleneck(recipe, filters, stride, dilation)),
    )(x, name=name)
    return built


# -- the skeletons (table 1; section 4.2) -----------------------------------------------------------


def imagenet_stem(image: ir.Value, recipe: Recipe) -> ir.Value:
    """A strided 7x7 (or three 3x3, as SENet-154 has) and a strided max pool."""
    width = ir.choice("stem_width", 64, 128, 192, 256, searched=False)
    three = ir.choice("stem", "7x7", "3x3", searched=False) == "3x3"
    # SENet's networks came from Caffe, whose pools round up instead of padding.
    # BiT pads with zeros, where pools otherwise leave borders out.
    pool = ir.choice("stem_pool", "padded", "caffe", "zeros", searched=False)
    caffe = pool == "caffe"

    def two(x: ir.Value) -> ir.Value:
        for number, stride in ((1, 2), (2, 1)):
            x = recipe.conv_norm(x, width // 2, 3, stride, name=f"conv{number}")
            x = ir.Activation("relu")(x)
        return x

    x = ir.when(three, two, lambda x: x)(image, name="stem_start")
    x = first(x, width, ir.where(three, 3, 7), ir.where(three, 1, 2), recipe)
    x = ir.when(pool == "zeros", ir.Pad((1, 1, 1, 1)), lambda x: x)(x, name="stem_pad")
    return ir.MaxPool(3, 2, padding=ir.where(pool == "padded", 1, 0), ceil=caffe)(
        x, name="stem_pool"
    )


def cifar_stem(image: ir.Value, recipe: Recipe) -> ir.Value:
    """A 3x3 convolution."""
    width = ir.choice("stem_width", 16, 32, 64, 128, searched=False)
    return first(image, width, 3, 1, recipe)


def first(
    x: ir.Value, width: ir.Operand, kernel: ir.Operand, stride: ir.Operand, recipe: Recipe
) -> ir.Value:
    """The first convolution; units of pre-activation normalise its result themselves."""
    x = recipe.conv(x, width, kernel, stride, name="stem_conv")
    post = recipe.order == "post"
    return recipe.norm_where(recipe.order != "pre", post, x, "stem_norm")


SKELETONS = {
    "imagenet": (imagenet_stem, 64, (3, 8, 36, 3)),
    "cifar": (cifar_stem, 16, (18, 18, 18)),
}
"""Each skeleton's stem, the filters of its first stage, and the most units of each stage."""


@dataclass(frozen=True)
class Plan:
    """What changes from unit to unit.

    Attributes:
        filters: of a unit, given how many units are before it.
        rate: of stochastic depth, likewise.
        varied: whether they depend on it; units are then traced one by one.
    """

    filters: Callable[[ir.Operand], ir.Operand]
    rate: Callable[[ir.Operand], ir.Operand]
    varied: bool


def residual_stage(
    x: ir.Value,
    recipe: Recipe,
    plan: Plan,
    number: int,
    depth: ir.Operand,
    done: ir.Operand,
    dilation: tuple[int, int] = (1, 1),
) -> ir.Value:
    """Apply ``depth`` units after the ``done`` ones before.

    The first has the stride, except in stage 1, or where the stage has ``dilation`` (of its first unit,
    of the others) instead.
    """
    stride = 2 if number > 1 and dilation == (1, 1) else 1

    def one(x: ir.Value, place: ir.Operand, name: str = "unit", **more: int) -> ir.Value:
        return unit(x, recipe, plan.filters(place), name, rate=plan.rate(place), **more)

    def same(x: ir.Value) -> ir.Value:
        return one(x, done, dilation=dilation[1])

    def varied(x: ir.Value, i: int) -> ir.Value:
        return one(x, done + i + 1, dilation=dilation[1])

    with ir.scope(f"stage{number}"):
        x = one(x, done, "first", stride=stride, dilation=dilation[0])
        repeated: ir.Value = ir.repeat(varied if plan.varied else same, depth - 1)(x)
    return repeated


def trunk(image: ir.Value, recipe: Recipe, **settings: Any) -> ir.Value:
    """All but the classifier: (channels, size, size) -> the last stage's map; settings as :func:`stages`."""
    x = stages(image, recipe, **settings)[-1]
    return recipe.norm_where(*((recipe.order != "post"),) * 2, x, "norm")


def stages(
    image: ir.Value,
    recipe: Recipe,
    skeleton: str = "imagenet",
    deepest: tuple[int, ...] | None = None,
    alphas: tuple[int, ...] = (),
    drop_path: float = 0.0,
    dilated: int = 0,
    factors: ir.Factors | None = None,
) -> list[ir.Value]:
    """Return the map of each stage, (C, H, W), finest first.

    The ``dilated`` last stages trade their stride for dilated convolutions; the other settings are those
    of :func:`space`.
    """
    stem, base, most = SKELETONS[skeleton]
    factors = factors or ir.factors()
    limits = deepest or most
    alpha = ir.choice("alpha", *alphas, ordered=True) if alphas else None
    x = stem(image, recipe)
    depths: list[Any] = []
    for stage, limit in enumerate(limits, 1):
        with ir.scope(f"stage{stage}"):
            depths.append(factors.layers(ir.integer("depth", 1, limit)))
    total = sum(depths)

    def rate(place: ir.Operand) -> ir.Operand:
        return drop_path / total * (place + 1) if drop_path else 0.0

    done: ir.Operand = 0
    dilation, maps = 1, []
    for stage, depth in enumerate(depths, 1):
        width = ir.nearest_integer(base * 2 ** (stage - 1) * recipe.width * factors.width)

        def filters(place: ir.Operand, width: ir.Operand = width) -> ir.Operand:
            if alpha is None:
                return width
            # Han et al. (2017), equation 3; rounded as the released code does.
            return ir.nearest_integer(base * recipe.width + alpha * (place + 1) / total)

        plan = Plan(filters, rate, bool(alphas or drop_path))
        before = dilation
        dilation *= 2 if stage > len(depths) - dilated else 1
        x = residual_stage(x, recipe, plan, stage, depth, done, (before, dilation))
        maps.append(x)
        done = depth + done
    return maps


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    skeleton: str = "imagenet",
    deepest: tuple[int, ...] | None = None,
    units: tuple[str, ...] = ("basic", "bottleneck"),
    orders: tuple[str, ...] = ("post", "pre"),
    attentions: tuple[str, ...] = ("none", "se", "cbam"),
    widths: tuple[float, ...] = (1, 1.5, 2, 4, 8, 10),
    groups: tuple[int, ...] = (1, 32, 64),
    alphas: tuple[int, ...] = (),
    norm: str = "batch",
    scale: float = 1.0,
    drop_path: float = 0.0,
    dropout: float = 0.0,
) -> ir.Space:
    """Return the space of residual networks.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        skeleton: ``"imagenet"``, four stages of 64 to 512 filters after a stride of 4, or
            ``"cifar"``, three of 16 to 64 at full size.
        deepest: most units of each stage; by default those of ResNet-152, or 110.
        units, orders, attentions: kinds of unit, places of the norm (``"post"``, ``"pre"``,
            ``"pyramidal"``), and gates, that search may choose.
        widths, groups: factors of all filters, and groups of a bottleneck's 3x3, likewise.
        alphas: filters that a pyramid adds from first to last unit, a little in each; without, stages
            double them.
        norm: ``"batch"``, or ``"group"`` for group norm and standardised weights.
        scale: largest factor of depths, widths and images' side for ``strategy=compound_scaling``.
        drop_path: rate of stochastic depth at the last unit; it grows linearly from the first.
        dropout: rate before the classifier.
    """
    for what, value, known in (("skeleton", skeleton, SKELETONS), ("norm", norm, NORMS)):
        if value not in known:
            raise ir.SpaceError(f"resnet: expected {what} {' or '.join(known)}, got {value!r}")
    recipe = Recipe(units, orders, attentions, widths, groups, norm)
    factors = ir.factors(scale)
    image = ir.image(channels, factors.side(size))
    settings = {"skeleton": skeleton, "deepest": deepest, "alphas": alphas, "drop_path": drop_path}
    x = trunk(image, recipe, **settings, factors=factors)
    start = "zeros" if norm == "group" else "torch"  # as BiT's released code
    return ir.Space(classifier(x, classes, dropout, start), name="resnet")
