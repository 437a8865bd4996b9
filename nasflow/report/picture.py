"""Pictures of networks: one drawing for each distinct block, sub-blocks as single boxes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

from nasflow.report.drawing import Box, draw
from nasflow.report.text import operation

if TYPE_CHECKING:
    from nasflow.ir import Graph
    from nasflow.ir.graph import Node

MOST_PICTURES = 24
MOST_BOXES = 150  # more are not readable on one sheet
LONGEST_LABEL = 36
HIDDEN = ("bias", "init", "bias_init", "eps", "momentum", "factors")  # of operations, in a picture


def picture(graph: Graph, title: str = "") -> str:
    """Return an SVG of the nodes of `graph`, its sub-graphs as single boxes."""
    boxes: dict[Hashable, Box] = {}
    edges: list[tuple[Hashable, Hashable]] = []
    made: list[Hashable] = []  # by value id: the box that makes it
    for i, (name, kind) in enumerate(zip(graph.input_names, graph.inputs, strict=True)):
        boxes["in", i] = Box(f"{name} {_shape(kind)}", "value")
        made.append(("in", i))
    for i, node in enumerate(graph.nodes):
        boxes[i] = Box(_label(node), _kind(node))
        edges += [(made[value], i) for value in dict.fromkeys(node.inputs)]
        made += [i] * len(node.content.outputs)
    for i, (value, kind) in enumerate(zip(graph.results, graph.outputs, strict=True)):
        boxes["out", i] = Box(f"out {_shape(kind)}", "value")
        edges.append((made[value], ("out", i)))
    return draw(boxes, edges, title or graph.name)


def pictures(graph: Graph) -> dict[str, str]:
    """Return ``{name: SVG}``: the network itself, and each distinct block that is more than a chain.

    Blocks of one structure at several widths are drawn once, named by the path of their first use, biggest first.
    At most `MOST_PICTURES` are returned.
    """
    found = {graph.name: picture(graph)}
    seen: set[Hashable] = {_structure(graph)}
    branching = [(path, block) for path, block in _blocks(graph, "") if _branches(block)]
    for path, block in sorted(branching, key=lambda use: -len(use[1].nodes)):
        shape = _structure(block)
        if shape in seen or len(block.nodes) > MOST_BOXES or len(found) == MOST_PICTURES:
            continue
        seen.add(shape)
        found[path.replace("/", "_")] = picture(block, path)
    return found


def main_block(graph: Graph) -> str:
    """Return an SVG of the block that most of a network's parameters are in; of the network if none is apart."""
    weight: dict[Hashable, int] = {}
    first: dict[Hashable, tuple[str, Graph]] = {}
    for path, block in _uses(graph, ""):
        if block.kind != "repeat" and 3 <= len(block.nodes) <= MOST_BOXES // 3:
            shape = _structure(block)
            weight[shape] = weight.get(shape, 0) + block.params
            first.setdefault(shape, (path, block))
    if not weight:
        return picture(graph)
    path, block = first[max(weight, key=lambda shape: weight[shape])]
    return picture(block, f"{graph.name}: {block.name}")


def _uses(graph: Graph, path: str) -> Iterator[tuple[str, Graph]]:
    """Yield (path, sub-graph) of every use of every block, outer ones first."""
    from nasflow.ir import Graph

    for node in graph.nodes:
        if isinstance(node.content, Graph):
            here = f"{path}/{node.name}" if path else node.name
            yield here, node.content
            yield from _uses(node.content, here)


def _blocks(graph: Graph, path: str) -> Iterator[tuple[str, Graph]]:
    """Yield (path, sub-graph) of every use, outer ones first; a block inside one that was seen is not looked for."""
    from nasflow.ir import Graph

    seen: set[int] = set()
    for node in graph.nodes:
        if isinstance(node.content, Graph) and id(node.content) not in seen:
            seen.add(id(node.content))
            here = f"{path}/{node.name}" if path else node.name
            yield here, node.content
            yield from _blocks(node.content, here)


def _branches(graph: Graph) -> bool:
    """Tell whether some value of a block is used twice."""
    used = [value for node in graph.nodes for value in set(node.inputs)] + list(graph.results)
    return graph.kind != "repeat" and len(graph.nodes) > 2 and len(set(used)) < len(used)


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

    if not isinstance(node.content, Graph):
        return _cut(operation(node.content.op, HIDDEN))
    kind = node.content.name
    both = f"{node.name}: {kind}"
    if node.name.isdigit():
        return kind
    return both if kind not in node.name and len(both) <= LONGEST_LABEL - 10 else _cut(node.name)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def _shape(kind: object) -> str:
    return "x".join(str(size) for size in getattr(kind, "shape", ()))
