"""A graph as a networkx graph: for drawing and as an isomorphism oracle, never for storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nasflow.ir.graph import Graph

if TYPE_CHECKING:
    import networkx

INPUT = "input"
RESULT = "result"


def to_networkx(graph: Graph) -> networkx.MultiDiGraph:
    """Return the flattened graph with one networkx node for each operation.

    Inputs and results are nodes too. A node has ``op`` (the operation's name, ``input`` or
    ``result``), ``attributes`` (a tuple; the position of an input or a result), ``types`` (of what
    it gives) and ``weights`` (a path equal for nodes that share weights, else None). An edge has
    ``source``, which output it takes, and ``target``, which input it feeds.
    """
    import networkx

    flat = networkx.MultiDiGraph(name=graph.name)
    origins = []
    for i, type_ in enumerate(graph.inputs):
        name = f"{INPUT}/{graph.input_names[i]}"
        flat.add_node(name, op=INPUT, attributes=(i,), types=(type_,), weights=None)
        origins.append((name, 0))
    for i, (origin, output) in enumerate(_add(flat, graph, origins, "", None)):
        types = (graph.outputs[i],)
        flat.add_node(f"{RESULT}/{i}", op=RESULT, attributes=(i,), types=types, weights=None)
        flat.add_edge(origin, f"{RESULT}/{i}", source=output, target=0)
    return flat


def _add(
    flat: networkx.MultiDiGraph,
    graph: Graph,
    arguments: list[tuple[str, int]],
    path: str,
    shared: str | None,
) -> list[tuple[str, int]]:
    """Add the operations of one use of a graph; return where its results are made.

    ``shared`` is the path of the weights where an enclosing use shares them.
    """
    values = list(arguments)
    for node in graph.nodes:
        here = f"{path}/{node.name}" if path else node.name
        owner = f"{path if shared is None else shared}/{node.weights}"
        inputs = [values[i] for i in node.inputs]
        if isinstance(node.content, Graph):
            values.extend(_add(flat, node.content, inputs, here, owner))
            continue
        content = node.content
        flat.add_node(
            here,
            op=type(content.op).__name__,
            attributes=content.op.attributes(),
            types=content.outputs,
            weights=owner if content.weights else None,
        )
        for target, (origin, source) in enumerate(inputs):
            flat.add_edge(origin, here, source=source, target=target)
        values.extend((here, i) for i in range(len(content.outputs)))
    return [values[i] for i in graph.results]
