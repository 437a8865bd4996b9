"""A network with no decision left: an immutable, typed, nested DAG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nasflow.errors import GraphError
from nasflow.ir.operation import Applied
from nasflow.ir.types import Type

if TYPE_CHECKING:
    import networkx
    import torch

    from nasflow.ir.cost import Cost

BLOCK: Final = "block"
REPEAT: Final = "repeat"
"""A repeat's nodes are its iterations: each takes what earlier ones give (and outer values)."""


class Node(NamedTuple):
    """One use of an operation or of a sub-graph.

    Attributes:
        name: unique among the nodes of its graph, and the attribute name in written source.
        content: the operation at its input types, or the sub-graph.
        inputs: ids of the values it takes. Ids number the graph's inputs first, then the
            results of each node in order.
        weights: name of the node whose weights it uses: its own unless weights are shared.
        origin: its path in the template that was bound, relative to its graph's, where that is not
            its name: a branch of a single node is that node.
        taken: where some of its inputs were gated away, the positions of those that are left.
    """

    name: str
    content: Applied | Graph
    inputs: tuple[int, ...]
    weights: str
    origin: str = ""
    taken: tuple[int, ...] = ()


new_node: Final[
    Callable[[tuple[str, Applied | Graph, tuple[int, ...], str, str, tuple[int, ...]]], Node]
] = partial(tuple.__new__, Node)
"""Make a node of all its fields in a quarter of the time that ``Node(...)`` takes."""
_inputs: Final = itemgetter(Node._fields.index("inputs"))


class Graph:
    """A typed DAG of operations and sub-graphs. Build one with ``space.bind`` or ``from_json``.

    Attributes:
        name: what kind of block this is; becomes a class name in written source.
        kind: ``block``, or ``repeat`` for a chain of iterations.
        inputs, outputs: types of the values it takes and gives.
        nodes: in an order in which every value is made before it is used.
        results: ids of the values it gives.
        types: types of all values by their ids; given only by who has them already.
        form, piece: what :mod:`nasflow.ir.canonical` makes of it when first asked.
        moves, absorbed, shared: what :mod:`nasflow.ir.absorb` found of it; the first two by axis.
    """

    __slots__ = (
        "__dict__", "_arguments", "absorbed", "form", "input_names", "inputs", "kind", "moves", "name",
        "nodes", "outputs", "piece", "results", "shared", "types",
    )  # fmt: skip

    form: Any
    piece: Any
    shared: frozenset[str] | None

    def __init__(
        self,
        name: str,
        inputs: Sequence[Type],
        nodes: Sequence[Node],
        results: Sequence[int],
        kind: str = BLOCK,
        arguments: dict[str, Any] | Callable[[], dict[str, Any]] | None = None,
        input_names: Sequence[str] = (),
        types: Sequence[Type] = (),
    ) -> None:
        self.name = name
        self.kind = kind
        self.inputs = tuple(inputs)
        self.nodes = tuple(nodes)
        self.results = tuple(results)
        self._arguments = arguments
        self.input_names = tuple(input_names) or tuple(f"x{i}" for i in range(len(self.inputs)))
        self.types = tuple(types or types_of(self.inputs, self.nodes))
        self.outputs = tuple([self.types[i] for i in self.results])
        self.form = self.piece = self.shared = None
        self.moves: dict[str, Any] = {}
        self.absorbed: dict[str, list[Any]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # What it was built from, and what was found of it since, may hold a space's functions.
        return Graph, (
            self.name, self.inputs, self.nodes, self.results, self.kind, self.arguments, self.input_names,
            self.types,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.nodes)} nodes, {self.params:,} parameters>"

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """Settings of the function that built it, as names for written source."""
        found = self._arguments
        return found() if callable(found) else found or {}

    @cached_property
    def owners(self) -> tuple[Node, ...]:
        """Nodes that own weights of their own: the first of each group that shares."""
        seen: set[str] = set()
        return tuple(n for n in self.nodes if not (n.weights in seen or seen.add(n.weights)))  # type: ignore[func-returns-value]

    @cached_property
    def params(self) -> int:
        """Number of trainable parameters; shared ones count once."""
        return sum(node.content.params for node in self.owners)

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of one sample: convolution, linear, matmul and attention."""
        return sum(node.content.macs for node in self.nodes)

    def cost(self) -> Cost:
        """Return the exact cost of the network, computed from the graph alone."""
        from nasflow.ir.cost import Cost

        return Cost.of(self)

    @cached_property
    def fingerprint(self) -> str:
        """Return a hexadecimal digest equal for graphs that compute the same function.

        See :mod:`nasflow.ir.canonical` for what is recognised as equal.
        """
        from nasflow.ir.canonical import fingerprint

        return fingerprint(self)

    def to_json(self) -> dict[str, Any]:
        """Return the graph as plain JSON data with a version."""
        from nasflow.ir.serialize import graph_to_json

        return graph_to_json(self)

    @classmethod
    def from_json(cls, data: Any) -> Graph:
        """Return the graph stored in ``data``; raises GraphError unless it is valid."""
        from nasflow.ir.serialize import graph_from_json

        return graph_from_json(data)

    def to_torch(self, seed: int | None = None) -> torch.nn.Module:
        """Return the network as an ordinary module, initialised as its papers do.

        With a ``seed`` the weights are reproducible and the global random state is left alone.
        """
        from nasflow.lower import to_torch

        return to_torch(self, seed=seed)

    def to_networkx(self) -> networkx.DiGraph:
        """Return the flattened graph with one networkx node for each operation."""
        from nasflow.ir.networks import to_networkx

        return to_networkx(self)

    def walk(self, path: str = "") -> Iterator[tuple[str, Node, tuple[Type, ...]]]:
        """Yield (path, node, input types) for every operation, sub-graphs entered in order."""
        for node in self.nodes:
            here = f"{path}/{node.name}" if path else node.name
            if isinstance(node.content, Graph):
                yield from node.content.walk(here)
            else:
                yield here, node, node.content.inputs

    def subgraphs(self) -> Iterator[Graph]:
        """Yield each distinct sub-graph once, inner ones before those that use them, self last."""
        seen: set[int] = set()

        def visit(graph: Graph) -> Iterator[Graph]:
            for node in graph.nodes:
                if isinstance(node.content, Graph) and id(node.content) not in seen:
                    seen.add(id(node.content))
                    yield from visit(node.content)
                    yield node.content

        yield from visit(self)
        yield self


def alone(content: Applied, name: str) -> Graph:
    """Return the graph of one operation, which gives all that the operation makes."""
    count = len(content.inputs)
    node = Node(name, content, tuple(range(count)), name)
    return Graph(name, content.inputs, [node], range(count, count + len(content.outputs)))


def types_of(inputs: Sequence[Type], nodes: Sequence[Node]) -> list[Type]:
    """Return the types of a graph's values, in the order of their ids."""
    types = list(inputs)
    for node in nodes:
        types += node.content.outputs
    return types


def prune(
    name: str,
    inputs: Sequence[Type],
    nodes: Sequence[Node],
    results: Sequence[int],
    types: Sequence[Type],
    **settings: Any,
) -> tuple[Graph, tuple[int, ...]]:
    """Return the graph without nodes and inputs that no result needs, and the inputs kept.

    Values are renumbered; names stay. ``types`` are those of all values.
    """
    if len({*results, *chain.from_iterable(map(_inputs, nodes))}) == len(types):  # all are needed
        return Graph(name, inputs, nodes, results, types=types, **settings), (*range(len(inputs)),)
    first = len(inputs)
    starts = []
    for node in nodes:
        starts.append(first)
        first += len(node.content.outputs)
    needed = bytearray(first)
    for value in results:
        needed[value] = 1
    live = []
    for start, node in zip(reversed(starts), reversed(nodes), strict=True):
        count = len(node.content.outputs)
        if any(needed[start : start + count]):
            live.append((start, node))
            for value in node.inputs:
                needed[value] = 1
    kept = tuple(i for i in range(len(inputs)) if needed[i])
    if len(kept) == len(inputs) and len(live) == len(nodes):
        return Graph(name, inputs, nodes, results, types=types, **settings), kept
    renumber = {old: new for new, old in enumerate(kept)}
    fresh = []
    for start, node in reversed(live):
        for i in range(len(node.content.outputs)):
            renumber[start + i] = len(renumber)
        fresh.append(node._replace(inputs=tuple(renumber[value] for value in node.inputs)))
    names = settings.pop("input_names", ())
    if names:
        settings["input_names"] = tuple(names[i] for i in kept)
    pruned = Graph(
        name, [inputs[i] for i in kept], fresh, [renumber[v] for v in results], **settings
    )
    return pruned, kept


def check_sharing(graph: Graph) -> None:
    """Raise GraphError unless nodes that share weights have the same content."""
    contents: dict[str, Applied | Graph] = {}
    for node in graph.nodes:
        first = contents.setdefault(node.weights, node.content)
        if first is not node.content:
            raise GraphError(
                f"{graph.name}/{node.name}: shares the weights of {node.weights!r} but is another "
                "operation or has other input types"
            )
