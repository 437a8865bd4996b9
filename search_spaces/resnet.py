"""Residual networks: units of two or three convolutions, each added to what it was given.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (arXiv 1512.03385), table 1 and
section 4.2. The same space holds pre-activation (He et al., 2016, "Identity Mappings"), wide
(Zagoruyko & Komodakis, 2016), grouped (ResNeXt: Xie et al., 2017) and pyramidal (Han et al., 2017)
units, stochastic depth (Huang et al., 2016), squeeze-and-excitation (Hu et al., 2018) and CBAM (Woo
et al., 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import cbam, classifier, conv_bn, conv_bn_act, drop_path, squeeze_excite

EXPANSION = 4  # a bottleneck gives four times the filters of its stage
REDUCTION = 16  # of the hidden layer of SE and CBAM


def norm_relu(x: ir.Value, name: str) -> ir.Value:
    return ir.Activation("relu")(ir.BatchNorm()(x, name=name))


def norm_relu_where(condition: ir.Operand, x: ir.Value, name: str) -> ir.Value:
    x = ir.when(condition, lambda x: ir.BatchNorm()(x, name="norm"), lambda x: x)(x, name=name)
    act = ir.when(condition, lambda x: ir.Activation("relu")(x), lambda x: x)
    activated: ir.Value = act(x, name=f"{name}_act")
    return activated


class Recipe:
    """The decisions that every unit of a network shares."""

    def __init__(
        self,
        units: tuple[str, ...],
        orders: tuple[str, ...],
        attentions: tuple[str, ...],
        widths: tuple[float, ...],
        groups: tuple[int, ...],
    ) -> None:
        self.unit = ir.choice("unit", *units)
        self.order = ir.choice("order", *orders)
        self.width = ir.choice("width", *widths, ordered=True)
        self.inner_width = ir.choice("inner_width", 1, 2, 4, ordered=True)
        self.groups = ir.choice("groups", *groups, ordered=True)
        self.attention = ir.choice("attention", *attentions)
        self.shortcut = ir.choice("shortcut", "projection", "pad", "none", searched=False)
        # The paper strides a bottleneck's first 1x1; torchvision and most tables since, its 3x3.
        self.stride_in = ir.choice("stride_in", "3x3", "1x1", searched=False)
        # SENet-154: the first 1x1 has half the filters of the 3x3, and strided projections are 3x3.
        self.halve_first = ir.choice("halve_first", False, True, searched=False)
        self.projection = ir.choice("projection", 1, 3, searched=False)

    def inner(self, filters: ir.Operand) -> ir.Operand:
        """Filters of a bottleneck's 3x3, in whole groups."""
        return ir.round_to(filters * self.inner_width, self.groups)


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


def basic(filters: ir.Operand, stride: int) -> list[Layer]:
    """Two 3x3 (figure 5, left)."""
    return [Layer(filters, 3, stride), Layer(filters, 3)]


def bottleneck(recipe: Recipe, filters: ir.Operand, stride: int) -> list[Layer]:
    """1x1, 3x3 and 1x1 (figure 5, right)."""
    inner = recipe.inner(filters)
    early = recipe.stride_in == "1x1"
    return [
        Layer(ir.where(recipe.halve_first, inner // 2, inner), 1, ir.where(early, stride, 1)),
        Layer(inner, 3, ir.where(early, 1, stride), recipe.groups),
        Layer(filters * EXPANSION, 1),
    ]


@ir.block
def post_activation(
    x: ir.Value, layers: list[Layer], stride: int, recipe: Recipe, rate: ir.Operand
) -> ir.Value:
    """Convolution, norm, non-linearity; the last non-linearity follows the addition."""
    y = x
    for number, layer in enumerate(layers, 1):
        y = conv_bn(y, layer.out, layer.kernel, layer.stride, layer.groups, name=f"conv{number}")
        if number < len(layers):
            y = ir.Activation("relu")(y)

    def project(x: ir.Value) -> ir.Value:
        kernel = recipe.projection if stride > 1 else 1
        return conv_bn(x, layers[-1].out, kernel, stride, name="project")

    y = drop_path(attend(y, recipe), rate)
    return ir.Activation("relu")(add_shortcut(y, x, x, project, stride, recipe))


@ir.block
def pre_activation(
    x: ir.Value, layers: list[Layer], stride: int, recipe: Recipe, rate: ir.Operand
) -> ir.Value:
    """Norm, non-linearity, convolution; a projection takes the first non-linearity's result."""
    first = y = norm_relu(x, "norm1")
    for number, layer in enumerate(layers, 1):
        if number > 1:
            y = norm_relu(y, f"norm{number}")
        conv = ir.Conv2d(layer.out, layer.kernel, layer.stride, groups=layer.groups, bias=False)
        y = conv(y, name=f"conv{number}")

    def project(x: ir.Value) -> ir.Value:
        return ir.Conv2d(layers[-1].out, 1, stride, bias=False)(x, name="project")

    y = drop_path(attend(y, recipe), rate)
    return add_shortcut(y, x, first, project, stride, recipe)


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
    """Add ``x``; where its shape differs, project it, or subsample it and pad it with zeros."""
    channels = y.dim("C")
    changes = (x.dim("C") != channels) if stride == 1 else True

    def pad(x: ir.Value, projected: ir.Value) -> ir.Value:
        x = ir.Subsample(stride)(x) if stride > 1 else x
        return ir.Pad((0, 0, 0, 0, 0, channels - x.dim("C")))(x)

    branches: dict[Any, Any] = {
        "projection": ir.when(changes, lambda x, projected: project(projected), lambda x, _: x),
        "pad": pad,
        "none": lambda x, projected: x,
    }
    fitted = ir.switch(recipe.shortcut, branches)(x, projected, name="shortcut")
    added: ir.Value = ir.Add()(y, ir.Gated(fitted, recipe.shortcut != "none"))
    return added


def unit(
    x: ir.Value, recipe: Recipe, filters: ir.Operand, stride: int, rate: ir.Operand, name: str
) -> ir.Value:
    """One residual unit: (C, H, W) -> (filters, or four times as many, H / stride, W / stride)."""

    def ordered(layers: list[Layer]) -> Callable[[ir.Value], ir.Value]:
        def post(x: ir.Value) -> ir.Value:
            return post_activation(x, layers, stride, recipe, rate)

        def pre(x: ir.Value) -> ir.Value:
            return pre_activation(x, layers, stride, recipe, rate)

        return choose(recipe.order, post=post, pre=pre)

    built: ir.Value = choose(
        recipe.unit,
        basic=ordered(basic(filters, stride)),
        bottleneck=ordered(bottleneck(recipe, filters, stride)),
    )(x, name=name)
    return built


# -- the skeletons (table 1; section 4.2) -----------------------------------------------------------


def imagenet_stem(image: ir.Value, recipe: Recipe) -> ir.Value:
    """A strided 7x7 (or three 3x3, as SENet-154 has) and a strided max pool."""
    width = ir.choice("stem_width", 64, 128, searched=False)
    three = ir.choice("stem", "7x7", "3x3", searched=False) == "3x3"
    # SENet's networks came from Caffe, whose pools round up instead of padding.
    caffe = ir.choice("stem_pool", "padded", "caffe", searched=False) == "caffe"

    def two(x: ir.Value) -> ir.Value:
        x = conv_bn_act(x, width // 2, 3, 2, name="conv1")
        return conv_bn_act(x, width // 2, 3, name="conv2")

    x = ir.when(three, two, lambda x: x)(image, name="stem_start")
    x = first(x, width, ir.where(three, 3, 7), ir.where(three, 1, 2), recipe)
    return ir.MaxPool(3, 2, padding=ir.where(caffe, 0, 1), ceil=caffe)(x, name="stem_pool")


def cifar_stem(image: ir.Value, recipe: Recipe) -> ir.Value:
    """A 3x3 convolution."""
    width = ir.choice("stem_width", 16, 32, 64, 128, searched=False)
    return first(image, width, 3, 1, recipe)


def first(
    x: ir.Value, width: ir.Operand, kernel: ir.Operand, stride: ir.Operand, recipe: Recipe
) -> ir.Value:
    """The first convolution; units of pre-activation normalise its result themselves."""
    x = ir.Conv2d(width, kernel, stride, bias=False)(x, name="stem_conv")
    return norm_relu_where(recipe.order == "post", x, "stem_norm")


SKELETONS = {
    "imagenet": (imagenet_stem, 64, (3, 8, 36, 3)),
    "cifar": (cifar_stem, 16, (18, 18, 18)),
}
"""Each skeleton's stem, the filters of its first stage, and the most units of each stage."""


def residual_stage(
    x: ir.Value,
    recipe: Recipe,
    filters: ir.Operand,
    number: int,
    depth: ir.Operand,
    rates: tuple[ir.Operand, ir.Operand] | None,
) -> ir.Value:
    """Apply ``depth`` units, the first strided except in stage 1.

    ``rates`` are how much the rate of stochastic depth grows a unit, and the units before.
    """
    stride = 1 if number == 1 else 2

    def rate(i: int) -> ir.Operand:
        return rates[0] * (rates[1] + i + 1) if rates else 0.0

    def plain(x: ir.Value) -> ir.Value:
        return unit(x, recipe, filters, 1, 0.0, "unit")

    def dropping(x: ir.Value, i: int) -> ir.Value:
        return unit(x, recipe, filters, 1, rate(i + 1), "unit")

    with ir.scope(f"stage{number}"):
        x = unit(x, recipe, filters, stride, rate(0), "first")
        repeated: ir.Value = ir.repeat(dropping if rates else plain, depth - 1)(x)
    return repeated


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
    drop_path: float = 0.0,
    dropout: float = 0.0,
) -> ir.Space:
    """Return the space of residual networks.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        skeleton: ``"imagenet"``, four stages of 64 to 512 filters after a stride of 4, or
            ``"cifar"``, three of 16 to 64 at full size.
        deepest: most units of each stage; by default those of ResNet-152, or 110.
        units, orders, attentions: kinds of unit, places of the norm, and gates, that search may choose.
        widths, groups: factors of all filters, and groups of a bottleneck's 3x3, likewise.
        drop_path: rate of stochastic depth at the last unit; it grows linearly from the first.
        dropout: rate before the classifier.
    """
    if skeleton not in SKELETONS:
        raise ir.SpaceError(f"resnet: expected skeleton imagenet or cifar, got {skeleton!r}")
    stem, base, most = SKELETONS[skeleton]
    recipe = Recipe(units, orders, attentions, widths, groups)
    x = stem(ir.image(channels, size), recipe)
    depths = []
    for stage, limit in enumerate(deepest or most, 1):
        with ir.scope(f"stage{stage}"):
            depths.append(ir.integer("depth", 1, limit))
    done: ir.Operand = 0
    for stage, depth in enumerate(depths, 1):
        filters = ir.nearest_integer(base * 2 ** (stage - 1) * recipe.width)
        rates = (drop_path / sum(depths), done) if drop_path else None
        x = residual_stage(x, recipe, filters, stage, depth, rates)
        done = depth + done
    x = norm_relu_where(recipe.order == "pre", x, "norm")
    return ir.Space(classifier(x, classes, dropout), name="resnet")


# -- published networks -----------------------------------------------------------------------------

HE = "He et al. (2016), table 1"
CBAM = "Woo et al. (2018), table 1"


def _model(
    unit: str,
    depths: Sequence[int],
    source: str,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> ir.Model:
    point: dict[str, Any] = {"unit": unit, "order": "post", "width": 1, "attention": "none"}
    point |= {"inner_width": 1, "groups": 1} if unit == "bottleneck" else {}
    point |= {f"stage{stage}/depth": depth for stage, depth in enumerate(depths, 1)}
    return ir.Model({**point, **more}, settings or {}, source)


SIZES: dict[int, tuple[str, tuple[int, ...]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}


def _imagenet(layers: int, source: str = HE, **more: Any) -> ir.Model:
    return _model(*SIZES[layers], source, **more)


def _v1(layers: int, source: str = HE, **more: Any) -> ir.Model:
    """The paper's own bottleneck: the first 1x1 has the stride. Basic units are as they are."""
    return _imagenet(layers, source, **more, **({"stride_in": "1x1"} if layers >= 50 else {}))


def _cifar(units: int, source: str, unit: str = "basic", **more: Any) -> ir.Model:
    settings = {"skeleton": "cifar", "classes": 10, "size": 32, **more.pop("settings", {})}
    return _model(unit, (units,) * 3, source, settings, **more)


CARDINAL: dict[str, Any] = {"groups": 32, "inner_width": 2}  # 32x4d
XIE, HU = "Xie et al. (2017), table 1", "Hu et al. (2018), table 2"
LI = "Li et al. (2018), section 5 and released code"
LARGE: dict[str, Any] = {"size": 320}
SENET_154: dict[str, Any] = {
    **{"groups": 64, "inner_width": 4, "halve_first": True, "projection": 3},
    **{"stem": "3x3", "stem_width": 128, "stem_pool": "caffe"},
    "settings": {**LARGE, "dropout": 0.2},
}

PLAIN = {"units": ("basic",), "orders": ("post",), "attentions": ("none",)}  # quick to build

MODELS: dict[str, ir.Model] = {
    **{f"resnet{layers}": _imagenet(layers) for layers in SIZES},
    **{f"resnet{layers}_v1": _v1(layers) for layers in (50, 101, 152)},
    **{
        f"se_resnet{layers}": _v1(layers, HU, attention="se", stem_pool="caffe") for layers in SIZES
    },
    **{f"cbam_resnet{layers}": _v1(layers, CBAM, attention="cbam") for layers in (18, 34, 50, 101)},
    "resnext50_32x4d": _imagenet(50, XIE, **CARDINAL),
    "resnext101_32x4d": _imagenet(101, XIE, **CARDINAL),
    "resnext50_32x4d_v1": _v1(50, CBAM, **CARDINAL),
    "resnext101_32x4d_v1": _v1(101, CBAM, **CARDINAL),
    "resnext101_64x4d": _imagenet(101, XIE, groups=64, inner_width=4, settings=LARGE),
    "se_resnext50_32x4d": _imagenet(50, HU, attention="se", stem_pool="caffe", **CARDINAL),
    "se_resnext101_32x4d": _imagenet(101, HU, attention="se", stem_pool="caffe", **CARDINAL),
    "se_resnext50_32x4d_v1": _v1(50, CBAM, attention="se", **CARDINAL),
    "se_resnext101_32x4d_v1": _v1(101, CBAM, attention="se", **CARDINAL),
    "cbam_resnext50_32x4d": _v1(50, CBAM, attention="cbam", **CARDINAL),
    "cbam_resnext101_32x4d": _v1(101, CBAM, attention="cbam", **CARDINAL),
    "senet154": _imagenet(
        152, "Hu et al. (2018), section 6.3 and released code", attention="se", **SENET_154
    ),
    "wrn50_2": _imagenet(50, "Zagoruyko & Komodakis (2016), section 3.4", inner_width=2),
    **{
        f"wideresnet18_{int(10 * width)}{suffix}": _imagenet(
            18, CBAM, width=width, attention=attention
        )
        for width in (1.5, 2)
        for suffix, attention in (("", "none"), ("_se", "se"), ("_cbam", "cbam"))
    },
    # CIFAR: 6n + 2 layers of basic units, or 9n + 2 of bottlenecks.
    "plain20_cifar": _cifar(3, "He et al. (2016), section 4.2", shortcut="none"),
    "plain56_cifar": _cifar(9, "He et al. (2016), section 4.2", shortcut="none"),
    "resnet20_cifar": _cifar(3, "He et al. (2016), section 4.2", shortcut="pad"),
    "resnet110_cifar": _cifar(18, "He et al. (2016), section 4.2", shortcut="pad"),
    "resnet56_cifar": _cifar(9, LI),
    "resnet56_cifar_noskip": _cifar(9, LI, shortcut="none"),
    "resnet110_cifar_noskip": _cifar(18, LI, shortcut="none"),
    **{f"wrn56_k{k}": _cifar(9, LI, width=k, stem_width=16 * k) for k in (1, 2, 4, 8)},
    "wrn56_k8_noskip": _cifar(9, LI, width=8, stem_width=128, shortcut="none"),
    "wrn28_10_cifar": _cifar(4, "Zagoruyko & Komodakis (2016), table 4", order="pre", width=10),
    "resnet1001_preact": _cifar(
        111,
        "He et al. (2016b), table 4",
        "bottleneck",
        order="pre",
        settings={"deepest": (111, 111, 111)},
    ),
    "stochastic_depth_resnet": _cifar(
        18, "Huang et al. (2016), section 4", settings={"drop_path": 0.5, **PLAIN}
    ),
}
