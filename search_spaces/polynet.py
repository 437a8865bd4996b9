"""PolyNet: residual modules whose branches are polynomials of one Inception block.

Zhang, Li, Loy & Lin, "PolyNet: A Pursuit of Structural Diversity in Very Deep Networks", CVPR 2017 (arXiv
1611.05725), section 3 and figure 4: I + F + F² + F³ (poly-3), with other blocks at each power (mpoly), or side
by side, I + F + G (2-way). Widths, and what is shared, follow the released network.
"""

from __future__ import annotations

from collections.abc import Callable

from nasflow import ir
from nasflow.ir.blocks import classifier, conv_bn
from search_spaces.inception import INIT, Layer, branch, conv, halved

NORM = ir.BatchNorm()
Branches = tuple[tuple[Layer, ...], ...]

# The Inception block of each stage, and the channels that its last 1x1 convolution fits them to.
A: tuple[Branches, int] = ((((32, 1), (48, 3), (64, 3)), ((32, 1), (32, 3)), ((32, 1),)), 384)
B: tuple[Branches, int] = ((((128, 1), (160, (1, 7)), (192, (7, 1))), ((192, 1),)), 1152)
C: tuple[Branches, int] = ((((192, 1), (224, (1, 3)), (256, (3, 1))), ((192, 1),)), 2048)
REDUCTIONS: tuple[Branches, ...] = (
    (((256, 1), (256, 3), (384, 3, 2)), ((384, 3, 2),)),
    (((256, 1), (256, 3), (256, 3, 2)), ((256, 1), (256, 3, 2)), ((256, 1), (384, 3, 2))),
)
KINDS = ("poly", "mpoly", "way")
MOST = 3  # powers of a polynomial, or ways

Convolve = Callable[[ir.Value], ir.Value]


def convolutions(branches: Branches, shared: bool) -> list[list[Convolve]]:
    """Return the block's convolutions without their norms; ``shared`` ones keep their weights."""

    def one(out: ir.Operand, kernel: ir.Operand, name: str) -> Convolve:
        def convolve(x: ir.Value) -> ir.Value:
            return ir.Conv2d(out, kernel, bias=False, init=INIT)(x, name="conv")

        made = ir.shared(convolve) if shared else ir.block(convolve)
        return lambda x: made(x, name=name)

    return [
        [one(*layer[:2], f"branch{b}_conv{n}") for n, layer in enumerate(layers, 1)]
        for b, layers in enumerate(branches, 1)
    ]


def inception(x: ir.Value, made: list[list[Convolve]], out: int, power: int) -> ir.Value:
    """F: branches joined and fitted to ``out`` channels; norms are those of this ``power``."""
    parts = []
    for b, layers in enumerate(made, 1):
        y = x
        for n, convolve in enumerate(layers, 1):
            y = ir.Activation("relu")(NORM(convolve(y), name=f"branch{b}_norm{n}_{power}"))
        parts.append(y)
    return conv_bn(ir.Concat()(*parts), out, name=f"fit{power}", norm=NORM, init=INIT)


@ir.block
def poly(
    x: ir.Value, kind: str, block: tuple[Branches, int], order: ir.Operand, scale: ir.Operand
) -> ir.Value:
    """Add ``order`` blocks, scaled: of each other's results (poly, mpoly), or of ``x`` (way)."""
    branches, out = block
    made = convolutions(branches, kind == "poly")
    terms: list[ir.Value | ir.Gated] = [x]
    y = x
    for power in range(1, MOST + 1):
        if kind != "poly":
            made = convolutions(branches, False)
        y = inception(x if kind == "way" else y, made, out, power)
        terms.append(ir.Gated(ir.Scale(scale)(y), order >= power))
        y = ir.Activation("relu")(y)
    return ir.Activation("relu")(ir.Add()(*terms))


@ir.block
def reduction(x: ir.Value, branches: Branches) -> ir.Value:
    parts = [branch(x, *layers, name=f"branch{i}", norm=NORM) for i, layers in enumerate(branches)]
    return ir.Concat()(*parts, halved(x))


@ir.block
def stem(x: ir.Value) -> ir.Value:
    """Inception-v4's: 331 -> 39, halving by a convolution beside a pool."""
    x = conv(x, 32, 3, 2, name="conv1", norm=NORM)
    x = conv(x, 32, 3, padding=0, name="conv2", norm=NORM)
    x = conv(x, 64, 3, name="conv3", norm=NORM)
    x = ir.Concat()(halved(x), conv(x, 96, 3, 2, name="conv4", norm=NORM))
    short = branch(x, (64, 1), name="short", norm=NORM)
    short = conv(short, 96, 3, padding=0, name="short_last", norm=NORM)
    long = branch(x, (64, 1), (64, (7, 1)), (64, (1, 7)), name="long", norm=NORM)
    x = ir.Concat()(short, conv(long, 96, 3, padding=0, name="long_last", norm=NORM))
    return ir.Concat()(halved(x), conv(x, 192, 3, 2, name="conv5", norm=NORM))


def space(
    *,
    classes: int = 1000,
    size: int = 331,
    channels: int = 3,
    modules: tuple[tuple[str, ...], ...] = (("way",), ("poly", "way"), ("poly", "way")),
    deepest: tuple[int, int, int] = (10, 10, 5),
    dropout: float = 0.2,
) -> ir.Space:
    """Return the space of PolyNets.

    Args:
        classes, size, channels: number of classes; side, from 75, and channels of the images.
        modules: kinds of module that alternate in each stage: ``"poly"``, ``"mpoly"`` or ``"way"``.
        deepest: most repetitions of them in each stage.
        dropout: rate before the classifier.
    """
    unknown = [kind for kinds in modules for kind in kinds if kind not in KINDS]
    if unknown:
        raise ir.SpaceError(f"polynet: expected modules of {', '.join(KINDS)}, got {unknown[0]!r}")
    depths = []
    for name, most in zip("abc", deepest, strict=True):
        with ir.scope(name):
            depths.append(ir.integer("depth", 1, most))
    count = sum(depth * len(kinds) for depth, kinds in zip(depths, modules, strict=True))

    x = stem(ir.image(channels, size))
    done: ir.Operand = 0
    for number, (name, block, kinds) in enumerate(zip("abc", (A, B, C), modules, strict=True)):
        with ir.scope(name):
            orders = [ir.integer(f"order{j}", 1, MOST) for j in range(1, len(kinds) + 1)]

            def body(
                x: ir.Value,
                i: int,
                block: tuple[Branches, int] = block,
                kinds: tuple[str, ...] = kinds,
                orders: list[ir.Decision] = orders,
                done: ir.Operand = done,
            ) -> ir.Value:
                for j, (kind, order) in enumerate(zip(kinds, orders, strict=True)):
                    # Section 4.2: the scale falls from 1 at the first module to 0.7 at the last.
                    scale = 1 - 0.3 * (done + i * len(kinds) + j) / ir.maximum(count - 1, 1)
                    x = poly(x, kind, block, order, scale, name=f"{kind}{j}")
                return x

            x = ir.repeat(body, depths[number])(x)
            done = done + depths[number] * len(kinds)
            if number < len(REDUCTIONS):
                x = reduction(x, REDUCTIONS[number])
    return ir.Space(classifier(x, classes, dropout), name="polynet")


MODELS = {
    "polynet": ir.Model(
        {
            **{"a/depth": 10, "a/order1": 2, "b/depth": 10, "b/order1": 3, "b/order2": 2},
            **{"c/depth": 5, "c/order1": 3, "c/order2": 2},
        },
        source="Zhang et al. (2017), table 3, Very Deep PolyNet, and released network",
        note="92M is printed; the released network has 95.4M, and the printed multiply-adds",
    )
}
