"""NAS-Bench-201: one cell of four nodes, whose six edges each choose among five operations.

Dong & Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020
(arXiv 2001.00326), section 2; the same space is the topology space of NATS-Bench. All 15,625 cells were
trained: `nasflow.evaluate.table.nas_bench_201` looks them up.
"""

from __future__ import annotations

from collections.abc import Callable

from nasflow import ir

EDGES = tuple((end, start) for end in (1, 2, 3) for start in range(end))


@ir.block
def conv(x: ir.Value, out: ir.Operand, kernel: int, stride: int = 1) -> ir.Value:
    x = ir.Conv2d(out, kernel, stride, bias=False, init="torch")(ir.Activation("relu")(x))
    return ir.BatchNorm()(x)


@ir.block
def cell(x: ir.Value, out: int, edges: dict[tuple[int, int], ir.Decision]) -> ir.Value:
    """Sum at each node what its edges bring; an edge that brings nothing is not part of the network."""
    nodes, zero = [x], ir.Scale(0.0)(x, name="zero")
    alive: list[ir.Operand] = [True]  # whether anything reaches a node
    for end in (1, 2, 3):
        arriving, reached = [], None
        for start in range(end):
            edge = edges[end, start]
            brings = (edge != "none") & alive[start]
            branches = {
                name: lambda x, make=make: make(x, out) for name, make in OPERATIONS.items()
            }
            arriving.append(
                ir.Gated(
                    ir.switch(edge, branches)(nodes[start], name=f"edge_{end}_{start}"), brings
                )
            )
            reached = brings if reached is None else reached | brings
        assert reached is not None
        nodes.append(ir.Add()(*arriving, ir.Gated(zero, ~reached), name=f"node{end}"))
        alive.append(reached)
    return nodes[3]


@ir.block
def reduction(x: ir.Value, out: int) -> ir.Value:
    """The residual block between two stages: it halves the resolution."""
    y = conv(conv(x, out, 3, 2, name="first"), out, 3, name="second")
    shortcut = ir.Conv2d(out, bias=False, init="torch")(ir.AvgPool(2, 2, padding=0)(x))
    return ir.Add()(y, shortcut)


OPERATIONS: dict[str, Callable[..., ir.Value]] = {
    "none": lambda x, out: ir.Scale(0.0)(x),
    "skip_connect": lambda x, out: x,
    "nor_conv_1x1": lambda x, out: conv(x, out, 1),
    "nor_conv_3x3": lambda x, out: conv(x, out, 3),
    "avg_pool_3x3": lambda x, out: ir.AvgPool(3)(x),
}


def space(
    classes: int = 10, size: int = 32, channels: int = 3, filters: int = 16, cells: int = 5
) -> ir.Space:
    """Return the space: three stages of `cells` equal cells, of filters, 2 and 4 times filters.

    `channels` and `size` are the images'.
    """
    edges = {(end, start): ir.choice(f"edge_{end}_{start}", *OPERATIONS) for end, start in EDGES}
    x = ir.Conv2d(filters, 3, bias=False, init="torch")(ir.image(channels, size), name="stem")
    x = ir.BatchNorm()(x, name="stem_norm")
    for stage, out in enumerate((filters, 2 * filters, 4 * filters)):
        with ir.scope(f"stage{stage}"):
            if stage:
                x = reduction(x, out)
            x = ir.repeat(lambda x, out=out: cell(x, out, edges), cells, name="cells")(x)
    x = ir.Activation("relu")(ir.BatchNorm()(x, name="norm"))
    return ir.Space(ir.Linear(classes)(ir.Mean()(x), name="classifier"), name="nas_bench_201")


def _model(*operations: str, source: str) -> ir.Model:
    point = {f"edge_{e}_{s}": name for (e, s), name in zip(EDGES, operations, strict=True)}
    return ir.Model(point=point, source=f"Dong & Yang (2020), {source}")


C3, SKIP, NONE = "nor_conv_3x3", "skip_connect", "none"
MODELS = {
    "nas_bench_201_resnet": _model(C3, NONE, C3, SKIP, NONE, SKIP, source="the ResNet cell"),
    "nas_bench_201_best": _model(
        C3, C3, C3, SKIP, C3, C3, source="the best on CIFAR-10 after 200 epochs (number 6111)"
    ),
}
