"""Pictures of networks: one drawing for each distinct block, sub-blocks as single boxes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

from nasflow.report.drawing import Box, draw

if TYPE_CHECKING:
    from nasflow.ir import Graph
    from nasflow.ir.graph import Node

MOST_PICTURES = 24
MOST_BOXES = 150  # more are not readable on one sheet
LONGEST_LABEL = 36


def picture(graph: Graph, title: str = "") -> str:
    """Return an SVG of the nodes of `graph`, its sub-graphs as single boxes."""
    boxes: dict[Hashable, Box] = {}
    edges: list[tuple[Hashable, Hashable]] = []
    made: list[Hashable] = []  # by value id: the box that makes it
    for i, (name, kind) in enumerate(zip(graph.input_names, graph.inputs, strict=True)):
        boxes["in", i] = Box(f"{name}  {_shape(kind)}", "value")
        made.append(("in", i))
    for i, node in enumerate(graph.nodes):
        boxes[i] = Box(_label(node), _kind(node))
        edges += [(made[value], i) for value in dict.fromkeys(node.inputs)]
        made += [i] * len(node.content.outputs)
    for i, (value, kind) in enumerate(zip(graph.results, graph.outputs, strict=True)):
        boxes["out", i] = Box(f"out  {_shape(kind)}", "value")
        edges.append((made[value], ("out", i)))
    return draw(boxes, edges, title or graph.name)


def pictures(graph: Graph) -> dict[str, str]:
    """Return ``{name: SVG}``: the network itself, and each distinct block that is more than a chain, biggest first.

    Blocks of one structure at several widths are drawn once. At most `MOST_PICTURES` are returned.
    """
    found: dict[str, str] = {}
    seen: set[Hashable] = set()
    for block in [graph, *sorted(_branching(graph), key=lambda g: -len(g.nodes))]:
        shape = (block.name, _structure(block))
        if shape in seen or len(block.nodes) > MOST_BOXES:
            continue
        seen.add(shape)
        name = _free(block.name, found)
        found[name] = picture(block, name)
        if len(found) == MOST_PICTURES:
            break
    return found


def _branching(graph: Graph) -> Iterator[Graph]:
    for block in graph.subgraphs():
        used = [value for node in block.nodes for value in set(node.inputs)] + list(block.results)
        if block is not graph and len(block.nodes) > 2 and len(set(used)) < len(used):
            yield block


def _structure(graph: Graph) -> Hashable:
    """Return what a drawing shows apart from widths and sizes."""
    return (tuple((n.name, _content_name(n), n.inputs) for n in graph.nodes), graph.results)


def _content_name(node: Node) -> str:
    from nasflow.ir import Graph

    return node.content.name if isinstance(node.content, Graph) else type(node.content.op).__name__


def _kind(node: Node) -> str:
    from nasflow.ir import Graph

    if isinstance(node.content, Graph):
        return "group"
    if node.content.weights:
        return "weights"
    return "join" if len(node.inputs) > 1 else "fixed"


def _label(node: Node) -> str:
    """Return what a box says: an operation with its attributes, a sub-graph with its name."""
    from nasflow.ir import Graph

    if isinstance(node.content, Graph):
        name = node.content.name
        return name if node.name in (name, "") else _cut(f"{node.name}: {name}")
    op = node.content.op
    values = [
        str(value) for value in op.attributes() if value is not None and not isinstance(value, bool)
    ]
    return _cut(f"{type(op).__name__} {', '.join(values)}".strip())


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def _shape(kind: object) -> str:
    return "x".join(str(size) for size in getattr(kind, "shape", ()))


def _free(name: str, taken: dict[str, str]) -> str:
    candidates = (name, *(f"{name}_{i}" for i in range(2, MOST_PICTURES + 2)))
    return next(candidate for candidate in candidates if candidate not in taken)
