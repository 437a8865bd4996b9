"""Small spaces, each with something that lowering must get right."""

from __future__ import annotations

from collections.abc import Callable

from nasflow import ir


def conv_bn(
    x: ir.Value, out: ir.Operand, kernel: int = 3, stride: int = 1, name: str = ""
) -> ir.Value:
    x = ir.Conv2d(out, kernel, stride, bias=False)(x, name=f"{name}conv")
    return ir.BatchNorm()(x, name=f"{name}bn")


@ir.block
def bottleneck(x: ir.Value, width: int, stride: int = 1) -> ir.Value:
    y = ir.Activation()(conv_bn(x, width, 1, name="reduce_"))
    y = ir.Activation()(conv_bn(y, width, 3, stride, name="middle_"))
    y = conv_bn(y, 4 * width, 1, name="expand_")
    fits = x.dim("C") == 4 * width
    shortcut = ir.when(fits, lambda x: x, lambda x: conv_bn(x, 4 * width, 1, stride))
    return ir.Activation()(ir.Add()(y, shortcut(x, name="shortcut")))


def resnet() -> ir.Space:
    """Residual stages whose first block strides and projects: one class, loops for the rest."""
    x = ir.Activation()(conv_bn(ir.image(3, 16), 8, name="stem_"))
    for stage, width in enumerate((4, 8, 16)):
        with ir.scope(f"stage{stage}"):

            def body(x: ir.Value, i: int, width: int = width, stage: int = stage) -> ir.Value:
                return bottleneck(x, width, stride=2 if stage and i == 0 else 1)

            x = ir.repeat(body, ir.integer("depth", 1, 4))(x)
    return ir.Space(ir.Linear(10)(ir.Mean()(x), name="classifier"), name="res_net")


@ir.block
def cell(previous: ir.Value, current: ir.Value, out: ir.Operand) -> ir.Value:
    states = [ir.Conv2d(out)(previous, name="fit"), ir.Conv2d(out)(current, name="squeeze")]
    for block in range(3):
        with ir.scope(f"block{block}"):
            pair = []
            for side in ("left", "right"):
                picked = ir.pick(ir.choice(f"{side}_input", *range(len(states))), states)
                operation = ir.switch(
                    ir.choice(f"{side}_op", "identity", "pool", "conv"),
                    identity=lambda x: x,
                    pool=ir.MaxPool(3),
                    conv=lambda x: conv_bn(ir.Activation()(x), out),
                )
                pair.append(operation(picked, name=side))
            states.append(ir.Add()(*pair, name="sum"))
    return ir.Concat()(*states)


def cells() -> ir.Space:
    """Cells of a search space, each fed by the two before it: a loop that carries two values."""
    x = ir.Conv2d(4, 3)(ir.image(1, 8), name="stem")

    def body(previous: ir.Value, current: ir.Value) -> tuple[ir.Value, ir.Value]:
        return current, cell(previous, current, ir.choice("filters", 4, 8))

    _, x = ir.repeat(body, ir.integer("depth", 1, 3), name="cells")(x, x)
    return ir.Space(ir.Linear(10)(ir.Mean()(x)), name="cells")


@ir.block
def attend(x: ir.Value, memory: ir.Value, heads: ir.Operand) -> ir.Value:
    width = x.dim("D") // heads
    split = (("h", heads), ("d", width))
    parts = [
        ir.Rearrange("l (h d) -> h l d", split)(ir.Linear(x.dim("D"))(value, name=name))
        for name, value in (("query", x), ("key", memory), ("value", memory))
    ]
    y = ir.Rearrange("h l d -> l D=(h d)")(ir.Attention()(*parts))
    return ir.Linear(x.dim("D"))(y, name="out")


def translator() -> ir.Space:
    """Two inputs, a tied embedding, attention over a captured value, several heads."""
    width = ir.choice("width", 8, 16)
    source, target = ir.ids(6, name="source"), ir.ids(5, name="target")
    table = ir.Parameter(("V", "D"), (20, width), ("normal", 0.1))(name="embedding")
    embed = ir.Embedding(20, width)
    memory = ir.repeat(lambda x: ir.LayerNorm()(ir.Add()(x, attend(x, x, 2))), 2, name="encoder")(
        embed(source, table)
    )
    x = ir.repeat(
        lambda x: ir.LayerNorm()(ir.Add()(x, attend(x, memory, ir.choice("heads", 1, 2, 4)))),
        ir.integer("depth", 1, 3),
        name="decoder",
    )(embed(target, table))
    return ir.Space(ir.Matmul(transpose=True)(x, table), name="translator")


@ir.block
def halves(x: ir.Value) -> tuple[ir.Value, ir.Value]:
    left, right = ir.Split(2)(x)
    return ir.Conv2d(x.dim("C"))(left, name="left"), ir.Activation("gelu")(right)


def several() -> ir.Space:
    """Several outputs, shared weights, a split, a parameter that is a value, awkward names."""
    x = ir.image(4, 8)
    tower = ir.shared(lambda x: ir.Activation()(conv_bn(x, 4)))
    wide, narrow = halves(tower(tower(x, name="first"), name="second"))
    scale = ir.Parameter(("C", "H", "W"), (4, 1, 1), ("constant", 0.5))(name="float")
    wide = ir.Multiply()(wide, scale)
    kernel = ir.choice("kernel", 1, 3, 5)
    wide = ir.Conv2d(6, kernel)(wide, name="lambda")
    narrow = ir.AvgPool(kernel)(narrow, name="forward")
    both = ir.Concat()(wide, narrow, name="x")
    return ir.Space((ir.Mean()(both, name="mean"), ir.Max("C")(both, name="torch")), name="tensor")


def growing() -> ir.Space:
    """Iterations that differ in one number each, and iterations that keep nothing."""

    def dense(x: ir.Value, i: int) -> ir.Value:
        y = ir.Conv2d(3, 3)(ir.Activation()(x), name="conv")
        return ir.Concat()(x, ir.DropPath(0.1 * i)(y))

    x = ir.repeat(dense, ir.integer("depth", 1, 4), name="layers")(ir.image(2, 6))
    x = ir.repeat(lambda x: ir.Scale(0.5)(x), 2, name="halve")(x)
    x = ir.repeat(lambda x, i: ir.Activation()(x) if i == 1 else ir.Conv2d(4)(x), 3, name="mix")(x)
    return ir.Space(ir.Mean()(x), name="growing")


SPACES: dict[str, Callable[[], ir.Space]] = {
    "cells": cells,
    "growing": growing,
    "resnet": resnet,
    "several": several,
    "translator": translator,
}
