"""GoogLeNet and BN-Inception: convolutions of several sizes side by side, joined.

Szegedy et al., "Going Deeper with Convolutions", CVPR 2015 (arXiv 1409.4842), figure 2 and table 1; Ioffe &
Szegedy, "Batch Normalization", ICML 2015 (arXiv 1502.03167), appendix and released Caffe network. Later
Inceptions are in inception.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nasflow import ir
from nasflow.ir.blocks import classifier, squeeze_excite

Widths = tuple[int, int, int, int, int, int]
"""Filters of 1x1, 3x3's reduction, 3x3, 5x5's reduction, 5x5, and the pool's projection."""

V1: tuple[tuple[Widths, ...], ...] = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
V2: tuple[tuple[Widths, ...], ...] = (
    ((64, 64, 64, 64, 96, 32), (64, 64, 96, 64, 96, 64)),
    (
        (224, 64, 96, 96, 128, 128),
        (192, 96, 128, 96, 128, 128),
        (160, 128, 160, 128, 160, 128),
        (96, 128, 192, 160, 192, 128),
    ),
    ((352, 192, 320, 160, 224, 128), (352, 192, 320, 192, 224, 128)),
)
V2_HALVING: tuple[Widths, ...] = ((0, 128, 160, 64, 96, 0), (0, 128, 192, 192, 256, 0))
SECOND = {"5x5": (5,), "3x3": (3,), "3x3 3x3": (3, 3)}
"""What stands in the second branch: GoogLeNet's, torchvision's, and BN-Inception's."""


@dataclass(frozen=True)
class Recipe:
    """The decisions that all modules of a network share."""

    second: ir.Decision
    naive: ir.Decision  # figure 2(a): no reductions, no projection of the pool
    norm: ir.Decision
    keep_bias: ir.Decision  # the released BN-Inception has both biases and norms
    attention: ir.Decision  # Hu et al. (2018), section 3: gates of channels after each module
    width: ir.Decision
    eps: float

    def conv(
        self, x: ir.Value, out: int, kernel: int = 1, stride: int = 1, **name: str
    ) -> ir.Value:
        """Convolve, normalise if the recipe says so, ReLU."""
        bias = (self.norm == "none") | self.keep_bias
        filters = ir.nearest_integer(out * self.width)
        x = ir.Conv2d(filters, kernel, stride, bias=bias, init="lecun_uniform")(x, **name)
        normed = ir.switch(self.norm, none=lambda x: x, batch=ir.BatchNorm(eps=self.eps))
        return ir.Activation("relu")(normed(x, name=f"{name['name']}_norm"))

    def gated(self, x: ir.Value) -> ir.Value:
        def se(x: ir.Value) -> ir.Value:
            return squeeze_excite(x, ir.maximum(x.dim("C") // 16, 1))

        return ir.switch(self.attention, none=lambda x: x, se=se)(x, name="attention")


def halved(x: ir.Value, kernel: ir.Operand = 3) -> ir.Value:
    return ir.MaxPool(kernel, 2, padding=0, ceil=True)(x)


@ir.block
def inception(
    x: ir.Value, widths: Widths, recipe: Recipe, stride: int = 1, pool: str = "max"
) -> ir.Value:
    """Figure 2(b): 1x1, 3x3, 5x5 and a pool; with ``stride`` 2 no 1x1, and the pool as it is."""
    single, reduce_three, three, reduce_five, five, project = widths

    def reduced(out: int, name: str) -> ir.Value:
        reduce = ir.when(
            recipe.naive, lambda x: x, lambda x: recipe.conv(x, out, name=f"{name}_reduce")
        )
        return reduce(x, name=f"{name}_reduced")

    def second(x: ir.Value, kernels: tuple[int, ...]) -> ir.Value:
        for number, kernel in enumerate(kernels, 1):
            step = stride if number == len(kernels) else 1
            x = recipe.conv(x, five, kernel, step, name=f"second{number}")
        return x

    parts = [] if stride > 1 else [recipe.conv(x, single, name="single")]
    parts.append(recipe.conv(reduced(reduce_three, "three"), three, 3, stride, name="three"))
    branches = {key: lambda x, k=kernels: second(x, k) for key, kernels in SECOND.items()}
    parts.append(ir.switch(recipe.second, branches)(reduced(reduce_five, "second"), name="second"))
    if stride > 1:
        return recipe.gated(ir.Concat()(*parts, halved(x)))
    pooled = ir.MaxPool(3)(x) if pool == "max" else ir.AvgPool(3, count_padding=True)(x)
    projected = ir.when(
        recipe.naive, lambda x: x, lambda x: recipe.conv(x, project, name="project")
    )
    return recipe.gated(ir.Concat()(*parts, projected(pooled, name="projected")))


def stem(x: ir.Value, recipe: Recipe) -> ir.Value:
    """Table 1, the first five rows: to 1/8; without batch norm, responses are normalised locally."""

    def local(x: ir.Value, name: str) -> ir.Value:
        normed = ir.switch(recipe.norm, none=ir.LocalResponseNorm(5), batch=lambda x: x)
        return normed(x, name=name)

    x = local(halved(recipe.conv(x, 64, 7, 2, name="stem1")), "local1")
    x = recipe.conv(recipe.conv(x, 64, name="stem2"), 192, 3, name="stem3")
    return halved(local(x, "local2"))


@ir.block
def auxiliary_head(x: ir.Value, classes: int) -> ir.Value:
    """Section 5: average over 5x5, 128 filters, 1024 units, drop out 70%."""
    x = ir.AvgPool(5, 3, padding=0)(x)
    x = ir.Activation("relu")(ir.Conv2d(128, init="lecun_uniform")(x, name="conv"))
    x = ir.Linear(1024, init="lecun_uniform")(ir.Flatten()(x), name="hidden")
    x = ir.Dropout(0.7)(ir.Activation("relu")(x))
    return ir.Linear(classes, init="lecun_uniform")(x, name="classifier")


def space(
    *,
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    version: str = "v1",
    auxiliary: bool = False,
    dropout: float = 0.4,
) -> ir.Space:
    """Return the space of the first Inception networks.

    Args:
        classes, size, channels: number of classes; side and channels of the images.
        version: ``"v1"``, GoogLeNet's widths and pools between stages, or ``"v2"``, BN-Inception's widths
            and modules that halve the resolution.
        auxiliary: whether two more classifiers help training (``"v1"``, 224 pixels or about); the network
            then gives (logits, first, second auxiliary logits) in training mode.
        dropout: rate before the classifier.
    """
    if version not in ("v1", "v2"):
        raise ir.SpaceError(f"googlenet: expected version v1 or v2, got {version!r}")
    if auxiliary and version != "v1":
        raise ir.SpaceError("googlenet: only version v1 has auxiliary classifiers")
    recipe = Recipe(
        second=ir.choice("second", *SECOND),
        naive=ir.choice("naive", False, True),
        norm=ir.choice("norm", "none", "batch"),
        keep_bias=ir.choice("keep_bias", False, True, searched=False),
        attention=ir.choice("attention", "none", "se"),
        width=ir.choice("width", 0.25, 0.5, 1, ordered=True),
        eps=1e-3 if version == "v1" else 1e-5,
    )
    last_pool = ir.choice("last_pool", 3, 2, searched=False)  # torchvision has 2
    rows = V1 if version == "v1" else V2
    x = stem(ir.image(channels, size), recipe)
    side: list[ir.Value] = []
    for number, stage in enumerate(rows, 3):
        with ir.scope(f"stage{number}"):
            depth = ir.integer("depth", 1, len(stage))
            for i, widths in enumerate(stage):
                pool = "avg" if version == "v2" and (number, i) != (5, 1) else "max"

                name = "abcde"[i]

                def module(
                    x: ir.Value, widths: Widths = widths, pool: str = pool, name: str = name
                ) -> ir.Value:
                    return inception(x, widths, recipe, pool=pool, name=name)

                x = ir.when(depth > i, module, lambda x: x)(x, name=name) if i else module(x)
                if auxiliary and number == 4 and i in (0, 3):
                    side.append(auxiliary_head(x, classes))
            if number < 5 and version == "v1":
                x = halved(x, 3 if number == 3 else last_pool)
            elif number < 5:
                x = inception(x, V2_HALVING[number - 3], recipe, stride=2, name="halving")
    logits = classifier(x, classes, dropout)
    return ir.Space(ir.Auxiliary()(logits, *side) if side else logits, name="googlenet")


# -- published networks -----------------------------------------------------------------------------

GOOGLENET, IOFFE = "Szegedy et al. (2015), table 1", "Ioffe & Szegedy (2015), released network"


def _model(
    source: str, settings: dict[str, Any] | None = None, note: str = "", **more: Any
) -> ir.Model:
    point: dict[str, Any] = {"second": "5x5", "naive": False, "norm": "none", "attention": "none"}
    depths = (2, 4, 2) if settings and settings.get("version") == "v2" else (2, 5, 2)
    point |= {f"stage{number}/depth": depth for number, depth in enumerate(depths, 3)}
    return ir.Model({**point, "width": 1, **more}, settings or {}, source, note=note)


BN_INCEPTION: dict[str, Any] = {"second": "3x3 3x3", "norm": "batch", "keep_bias": True}
TWELVE = "7.0M is 9 times fewer than AlexNet's 61M; the 12 times fewer of the text fit no count of its table 1"
TWO_COUNTS = "2.03B is the released network; 1.94B is TF-slim's, whose first layer is separable"

MODELS: dict[str, ir.Model] = {
    "googlenet": _model(GOOGLENET, note=TWELVE),
    "googlenet_auxiliary": _model(f"{GOOGLENET} and section 5", {"auxiliary": True}),
    "googlenet_naive": _model("Szegedy et al. (2015), figure 2(a)", naive=True),
    "googlenet_bn": _model("torchvision's code", norm="batch", second="3x3", last_pool=2),
    "bn_inception": _model(IOFFE, {"version": "v2", "dropout": 0.0}, TWO_COUNTS, **BN_INCEPTION),
    "se_bn_inception": _model(
        "Hu et al. (2018), table 2",
        {"version": "v2", "dropout": 0.0},
        attention="se",
        **BN_INCEPTION,
    ),
}
