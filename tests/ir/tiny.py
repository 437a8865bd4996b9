"""Random small networks of vectors, and a judge of whether two of them are the same function.

The judge knows nothing of fingerprints: it runs both networks on numbers, trying every way to hand
the weights of one to the other, and every order of the blocks that a linear map takes.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

from nasflow import ir
from nasflow.ir.graph import Graph

WIDTH = 2
Matrix = list[list[float]]
Weights = dict[str, Matrix]


def random_network(rng: random.Random, nodes: int = 4, nest: bool = True) -> Graph:
    """Return a random network of one vector input and one result."""
    x = ir.trace.source("x", ("D",), (WIDTH,), "float")
    result = _grow(rng, [x], nodes, nest)
    return ir.Space(ir.Linear(WIDTH, bias=False)(result, name="head"), name="tiny").bind({})


def _grow(rng: random.Random, values: list[ir.Value], nodes: int, nest: bool) -> ir.Value:
    widths = [WIDTH] * len(values)
    values = list(values)
    tied = ir.shared(_linear)
    for _ in range(nodes):
        i = rng.randrange(len(values))
        kind = rng.choice(
            ("linear", "linear", "relu", "add", "concat", "multiply", "tied", "block")
        )
        a, width = values[i], widths[i]
        j = rng.choice([k for k, w in enumerate(widths) if w == width])
        if kind in ("linear", "tied") or (kind == "block" and not nest):
            kind = kind if width == WIDTH else "linear"
            made, width = (tied if kind == "tied" else _linear)(a), WIDTH
        elif kind == "relu":
            made = ir.Activation("relu")(a)
        elif kind == "add":
            made = ir.Add()(a, values[j])
        elif kind == "multiply":
            made = ir.Multiply()(a, values[j])
        elif kind == "concat":
            j = rng.randrange(len(values))
            if width + widths[j] > 3 * WIDTH:
                continue
            made, width = ir.Concat(axis="D")(a, values[j]), width + widths[j]
        else:
            if width != WIDTH:
                continue
            narrow = [v for v, w in zip(values, widths, strict=True) if w == WIDTH]
            seed, b = rng.random(), rng.choice(narrow)
            made = _block(a, b, seed)
        values.append(made)
        widths.append(width)
    return values[-1]


@ir.block
def _linear(x: ir.Value) -> ir.Value:
    return ir.Linear(WIDTH, bias=False)(x)


@ir.block
def _block(a: ir.Value, b: ir.Value, seed: float) -> ir.Value:
    inner = _grow(random.Random(seed), [a, b], 2, nest=False)
    return _linear(inner)


# -- the judge ------------------------------------------------------------------------------------


def matrices(graph: Graph) -> dict[str, tuple[int, int]]:
    """Return (out, in) for each set of weights of a network, by the path of its owner."""
    found = {}
    for path, node, types in _flat(graph):
        if type(node.content.op).__name__ == "Linear":
            found.setdefault(path, (WIDTH, types))
    return found


def _flat(
    graph: Graph, path: str = "", tied: str | None = None
) -> Iterator[tuple[str, ir.Node, int]]:
    for node in graph.nodes:
        owner = f"{path if tied is None else tied}/{node.weights}"
        if isinstance(node.content, Graph):
            yield from _flat(node.content, f"{path}/{node.name}", owner)
        else:
            width = node.content.inputs[0].numel
            yield owner, node, width


def run(graph: Graph, x: Sequence[float], weights: Weights) -> list[float]:
    """Return the network's first result for a vector."""
    return _run(graph, [list(x)], weights, "", None)[0]


def _run(
    graph: Graph, inputs: list[list[float]], weights: Weights, path: str, tied: str | None
) -> list[list[float]]:
    values = list(inputs)
    for node in graph.nodes:
        taken = [values[i] for i in node.inputs]
        owner = f"{path if tied is None else tied}/{node.weights}"
        if isinstance(node.content, Graph):
            values.extend(_run(node.content, taken, weights, f"{path}/{node.name}", owner))
            continue
        values.append(_apply(type(node.content.op).__name__, taken, weights.get(owner)))
    return [values[i] for i in graph.results]


def _apply(name: str, taken: list[list[float]], weight: Matrix | None) -> list[float]:
    if name == "Linear":
        assert weight is not None
        return [sum(w * v for w, v in zip(row, taken[0], strict=True)) for row in weight]
    if name == "Activation":
        return [max(0.0, v) for v in taken[0]]
    if name == "Concat":
        return [v for part in taken for v in part]
    if name == "Add":
        return [sum(column) for column in zip(*taken, strict=True)]
    assert name == "Multiply", name
    result = [1.0] * len(taken[0])
    for part in taken:
        result = [r * v for r, v in zip(result, part, strict=True)]
    return result


PROBES = [[0.7, -0.4], [-1.1, 0.9], [0.3, 1.2]]


def same_function(first: Graph, second: Graph) -> bool:
    """Whether some handing over of weights makes both networks give the same for every probe."""
    theirs = matrices(second)
    rng = random.Random(7)
    weights = {
        path: [[rng.gauss(0, 1) for _ in range(columns)] for _ in range(rows)]
        for path, (rows, columns) in matrices(first).items()
    }
    wanted = [run(first, x, weights) for x in PROBES]
    return any(
        all(
            abs(a - b) <= 1e-9 * (1 + abs(a))
            for x, y in zip(PROBES, wanted, strict=True)
            for a, b in zip(y, run(second, x, handed), strict=True)
        )
        for handed in _handed(weights, theirs)
    )


def _handed(weights: Weights, wanted: dict[str, tuple[int, int]]) -> Iterator[Weights]:
    """Yield every assignment of weights to the other network's paths, columns in every block order."""
    paths = list(wanted)
    if sorted(len(w[0]) for w in weights.values()) != sorted(c for _, c in wanted.values()):
        return
    for order in itertools.permutations(weights.values()):
        if any(len(w[0]) != wanted[p][1] for w, p in zip(order, paths, strict=True)):
            continue
        for version in itertools.product(*map(_block_orders, order)):
            yield dict(zip(paths, version, strict=True))


def _block_orders(weight: Matrix) -> list[Matrix]:
    starts = range(0, len(weight[0]), WIDTH)
    return [
        [[row[s + i] for s in order for i in range(WIDTH)] for row in weight]
        for order in itertools.permutations(starts)
    ]
