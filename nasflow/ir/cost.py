"""What a network costs, counted exactly from the graph alone.

1 MAC is one multiply-add; what papers' tables call FLOPs is usually MACs. Nodes that no result needs
never belong to a graph, so they are never counted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from nasflow.ir.graph import Graph
from nasflow.ir.memory import peak_elements
from nasflow.ir.operation import Applied
from nasflow.ir.types import Type

BYTES: Final = 4
"""Bytes of one element in memory: float32, and 32-bit integers."""


class Row(NamedTuple):
    """One operation of a network: where it is, what it is and gives, and its cost."""

    path: str
    operation: str
    outputs: tuple[Type, ...]
    params: int
    macs: int


@dataclass(frozen=True, init=False)
class Cost:
    """The exact cost of a network for one sample; each figure is counted when it is first asked for.

    Attributes:
        params: trainable parameters; shared ones count once.
        macs: multiply-adds of convolution, linear, matmul and attention.
        activations: elements that convolution, linear, matmul and attention give; Radosavovic et
            al., "Designing Network Design Spaces" (2020), section 3.
        peak_memory: most bytes of values alive at once, inputs included, where operations run in
            the graph's order, each makes a new float32 value, and a value goes after its last use.
            Weights are not counted, even where they are used as values.
        depth: layers with weights (convolution, linear) on the longest path.
        receptive_field: pixels along the width that an entry of the first result depends on; None
            where it depends on all of the input.
    """

    params: int
    macs: int
    activations: int
    peak_memory: int
    depth: int
    receptive_field: int | None

    @classmethod
    def of(cls, graph: Graph) -> Cost:
        """Return the cost of a graph."""
        self = cls()
        self.__dict__["_graph"] = graph
        return self

    def __getattr__(self, name: str) -> Any:
        counter = COUNTERS.get(name)
        graph = self.__dict__.get("_graph")
        if counter is None or graph is None:
            raise AttributeError(f"Cost has no {name!r}; it has {', '.join(COUNTERS)}")
        return self.__dict__.setdefault(name, counter(graph))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, tuple(getattr(self, name) for name in COUNTERS))


def _restore(*figures: int | None) -> Cost:
    cost = Cost()
    cost.__dict__.update(zip(COUNTERS, figures, strict=True))
    return cost


def _activations(graph: Graph) -> int:
    """Count once for each sub-graph object, and remember it there."""
    known = graph.__dict__.get("_activations")
    if known is None:
        known = 0
        for node in graph.nodes:
            content = node.content
            if isinstance(content, Graph):
                known += _activations(content)
            elif content.macs:
                known += sum(output.numel for output in content.outputs)
        graph.__dict__["_activations"] = known
    return int(known)


# -- paths ----------------------------------------------------------------------------------------

# What one output depends on: for each input that reaches it, the fewest and the most layers on a
# path, pixels added and stride.
Reach = dict[int, tuple[int, int, float, int]]


def _reach(graph: Graph) -> tuple[Reach, ...]:
    """Return for each result how far away each input is; remembered on the sub-graph object.

    Extents compose: what sees ``a`` more pixels at stride ``s``, after what sees ``b`` more, sees
    ``b + s_b * a`` more. An input of -1 stands for values made of no input.
    """
    known: tuple[Reach, ...] | None = graph.__dict__.get("_reach")
    if known is None:
        reached: list[Reach] = [{i: (0, 0, 0, 1)} for i in range(len(graph.inputs))]
        for node in graph.nodes:
            content = node.content
            inner = _reach(content) if isinstance(content, Graph) else content.reach
            if inner is None:
                inner = content.reach = _step(content)  # type: ignore[union-attr,arg-type]
            sources = [reached[value] for value in node.inputs]
            for steps in inner:
                reached.append(_joined(steps, sources))
        known = graph.__dict__["_reach"] = tuple(reached[value] for value in graph.results)
    return known


def _step(content: Applied) -> tuple[Reach, ...]:
    """Return the reach of one operation: the same for all of its inputs and outputs."""
    window = content.op.window(*content.inputs)
    layers = int(content.macs > 0 and content.params > 0)
    extent, stride = (math.inf, 1) if window is None else (window[0] - 1, window[1])
    sources = range(len(content.inputs)) if content.inputs else (-1,)
    one: Reach = dict.fromkeys(sources, (layers, layers, extent, stride))
    return (one,) * len(content.outputs)


def _joined(steps: Reach, sources: list[Reach]) -> Reach:
    joined: Reach = {}
    for i, (fewest, most, extent, stride) in steps.items():
        for origin, (least, depth, seen, jump) in (
            sources[i] if i >= 0 else {-1: (0, 0, 0, 1)}
        ).items():
            least += fewest
            depth += most
            if extent:
                seen += jump * extent
            jump *= stride
            old = joined.get(origin)
            if old is not None:
                least, depth = min(old[0], least), max(old[1], depth)
                seen, jump = max(old[2], seen), max(old[3], jump)
            joined[origin] = (least, depth, seen, jump)
    return joined


def _depth(graph: Graph) -> int:
    return max((far[1] for reach in _reach(graph) for far in reach.values()), default=0)


def shortest_path(graph: Graph) -> int:
    """Return the layers with weights on the shortest path from an input to a result.

    It is short where shortcuts lead around all of a network; 0 where no input reaches a result.
    """
    found = (far[0] for reach in _reach(graph) for origin, far in reach.items() if origin >= 0)
    return min(found, default=0)


def _receptive_field(graph: Graph) -> int | None:
    seen = max((far[2] for origin, far in _reach(graph)[0].items() if origin >= 0), default=0)
    return None if seen == math.inf else 1 + int(seen)


COUNTERS: Final[dict[str, Callable[[Graph], int | None]]] = {
    "params": lambda graph: graph.params,
    "macs": lambda graph: graph.macs,
    "activations": _activations,
    "peak_memory": lambda graph: peak_elements(graph) * BYTES,
    "depth": _depth,
    "receptive_field": _receptive_field,
}


# -- a table --------------------------------------------------------------------------------------


def rows(graph: Graph, path: str = "", owned: bool = True) -> Iterator[Row]:
    """Yield a row for each operation in order; shared weights count where they are first used."""
    owners = {node.name for node in graph.owners}
    for node in graph.nodes:
        here = f"{path}/{node.name}" if path else node.name
        own = owned and node.name in owners
        if isinstance(node.content, Graph):
            yield from rows(node.content, here, own)
        else:
            content = node.content
            params = content.params if own else 0
            yield Row(here, describe(content), content.outputs, params, content.macs)


def describe(content: Applied) -> str:
    """Return an operation as it would be written, attributes by name: ``Conv2d(out=64, kernel=3)``."""
    fields = dataclasses.fields(content.op)  # type: ignore[arg-type]  # declared by @operation
    pairs = zip(fields, content.op.attributes(), strict=True)
    shown = [f"{field.name}={value!r}" for field, value in pairs if value != field.default]
    return f"{type(content.op).__name__}({', '.join(shown)})"
