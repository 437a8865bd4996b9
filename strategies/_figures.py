"""What the graph of a network tells of it before any training: its size, and how deep it is."""

from __future__ import annotations

import math
from collections.abc import Iterable

from nasflow.ir import Graph

COUNT = 3
"""How many figures a network has."""

Lengths = dict[int, tuple[int, int]]
"""For each input of a graph the layers on the shortest and on the longest path from it."""


def figures(graph: Graph) -> tuple[float, ...]:
    """Return the logarithm of its multiply-adds, and the layers on its shortest and longest path.

    The multiply-adds tell how much a network computes, the longest path how much of it in a row; the
    shortest is short where shortcuts lead around all of it.
    """
    found = [each for result in lengths(graph) for each in result.values()] or [(0, 0)]
    shortest, longest = min(low for low, _ in found), max(high for _, high in found)
    return math.log(max(graph.macs, 1)), float(shortest), float(longest)


def lengths(graph: Graph) -> tuple[Lengths, ...]:
    """Return for each result how far each input is; remembered on the sub-graph object.

    What counts is as in `nasflow.ir.cost`: layers with weights (convolution, linear).
    """
    known: tuple[Lengths, ...] | None = graph.__dict__.get("_lengths")
    if known is None:
        reached: list[Lengths] = [{i: (0, 0)} for i in range(len(graph.inputs))]
        for node in graph.nodes:
            content, sources = node.content, [reached[value] for value in node.inputs]
            if isinstance(content, Graph):
                for result in lengths(content):
                    reached.append(joined((*far, sources[i]) for i, far in result.items()))
            else:
                layer = int(content.macs > 0 and content.params > 0)
                alone = len(sources) == 1 and not layer
                parts = ((layer, layer, source) for source in sources)
                reached += [sources[0] if alone else joined(parts)] * len(content.outputs)
        known = graph.__dict__["_lengths"] = tuple(reached[value] for value in graph.results)
    return known


def joined(parts: Iterable[tuple[int, int, Lengths]]) -> Lengths:
    """Return the lengths through any of several parts, each so long after lengths of its own."""
    found: Lengths = {}
    for low, high, source in parts:
        for origin, (least, most) in source.items():
            least, most = least + low, most + high
            if origin in found:
                least, most = min(least, found[origin][0]), max(most, found[origin][1])
            found[origin] = least, most
    return found
