"""Graphs as plain JSON data, and back with everything checked: the data may come from a stranger.

``{"format": "nasflow.graph", "version": 1, "graphs": [...]}`` holds each distinct sub-graph once,
inner ones before those that use them and the network last. Types are stored for inputs only; every
other type is inferred again on reading, by the rules that any graph obeys. Where a node stood in the
space that gave the network is not stored: a stored network stands alone.
"""

from __future__ import annotations

import dataclasses
import keyword
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

from nasflow.errors import GraphError, NasflowError, nearest
from nasflow.ir.expression import Scalar
from nasflow.ir.graph import BLOCK, REPEAT, Graph, Node, check_sharing
from nasflow.ir.operation import Applied, Operation, applied, find
from nasflow.ir.trace import MAX_NAME, NAME
from nasflow.ir.types import DTYPES, MAX_SIZE, Type

FORMAT: Final = "nasflow.graph"
VERSION: Final = 1

MAX_STORED: Final = 200_000
"""Most nodes, inputs and results stored in one file."""
MAX_FLAT: Final = 1_000_000
"""Most operations of a network once every use of a sub-graph is counted."""
MAX_DEPTH: Final = 64
"""Deepest nesting of sub-graphs."""
MAX_VALUES: Final = 65_536
"""Most values that one operation takes, makes or lists in its attributes."""
MAX_TEXT: Final = 1_000
MAX_MESSAGE: Final = 400


# -- writing --------------------------------------------------------------------------------------


def graph_to_json(graph: Graph) -> dict[str, Any]:
    """Return the graph as plain JSON data; :func:`graph_from_json` gives an equal graph back."""
    inner = list(graph.subgraphs())
    index = {id(item): i for i, item in enumerate(inner)}
    graphs = [_graph_to_json(item, index) for item in inner]
    return {"format": FORMAT, "version": VERSION, "graphs": graphs}


def _graph_to_json(graph: Graph, index: dict[int, int]) -> dict[str, Any]:
    return {
        "name": graph.name,
        "kind": graph.kind,
        "inputs": [
            {"name": name, **_type_to_json(type_)}
            for name, type_ in zip(graph.input_names, graph.inputs, strict=True)
        ],
        "arguments": {name: _plain(value) for name, value in graph.arguments.items()},
        "nodes": [_node_to_json(node, index) for node in graph.nodes],
        "results": list(graph.results),
    }


def _type_to_json(type_: Type) -> dict[str, Any]:
    stored: dict[str, Any] = {"axes": list(type_.axes), "shape": list(type_.shape)}
    stored["dtype"] = type_.dtype
    if not type_.batched:
        stored["batched"] = False
    return stored


def _node_to_json(node: Node, index: dict[int, int]) -> dict[str, Any]:
    stored: dict[str, Any] = {"name": node.name}
    if isinstance(node.content, Graph):
        stored["graph"] = index[id(node.content)]
    else:
        operation = node.content.op
        names = [field.name for field in dataclasses.fields(operation)]  # type: ignore[arg-type]
        values = map(_plain, operation.attributes())
        stored["op"] = type(operation).__name__
        stored["attributes"] = dict(zip(names, values, strict=True))
    stored["inputs"] = list(node.inputs)
    if node.weights != node.name:
        stored["weights"] = node.weights
    return stored


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


# -- reading --------------------------------------------------------------------------------------


def graph_from_json(data: Any) -> Graph:
    """Return the graph stored in ``data``.

    Raises:
        GraphError: the data is not a valid graph; one line saying where and why.
    """
    return _Reader().network(data)


class _Reader:
    """Check and build one stored network; ``at`` says where it is, for messages."""

    def __init__(self) -> None:
        self.at = "graph"
        self.stored = 0

    def refuse(self, reason: str) -> NoReturn:
        message = " ".join(f"{self.at}: {reason}".split())
        raise GraphError(message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "...")

    def network(self, data: Any) -> Graph:
        fields = self.fields(data, ("format", "version", "graphs"))
        if fields["format"] != FORMAT:
            self.refuse(f"expected format {FORMAT!r}, got {_short(fields['format'])}")
        if type(fields["version"]) is not int or fields["version"] != VERSION:
            self.refuse(f"expected version {VERSION}, got {_short(fields['version'])}")
        graphs: list[Graph] = []
        flat: list[int] = []
        depth: list[int] = []
        used: set[int] = set()
        for number, stored in enumerate(self.array(fields["graphs"], "graphs", least=1)):
            self.at = f"graphs[{number}]"
            graph, children = self.graph(stored, graphs)
            used.update(children)
            inner = [child for child in children if child >= 0]
            flat.append(sum(flat[child] for child in inner) + len(children) - len(inner))
            depth.append(1 + max((depth[child] for child in inner), default=0))
            if flat[-1] > MAX_FLAT:
                self.refuse(f"expected at most {MAX_FLAT:,} operations, got {flat[-1]:,}")
            if depth[-1] > MAX_DEPTH:
                self.refuse(f"expected sub-graphs nested at most {MAX_DEPTH} deep")
            graphs.append(graph)
        for number in range(len(graphs) - 1):
            if number not in used:
                self.at = f"graphs[{number}]"
                self.refuse("no graph uses it")
        if graphs[-1].params > MAX_SIZE:
            self.refuse(f"expected at most {MAX_SIZE:,} parameters, got {graphs[-1].params:,}")
        return graphs[-1]

    def graph(self, data: Any, graphs: Sequence[Graph]) -> tuple[Graph, list[int]]:
        """Return a graph and, for each node, the index of its sub-graph or -1."""
        keys = ("name", "kind", "inputs", "arguments", "nodes", "results")
        fields = self.fields(data, keys)
        name = self.name(fields["name"], "name")
        self.at += f" {name!r}"
        if fields["kind"] not in (BLOCK, REPEAT):
            self.refuse(f"expected kind {BLOCK!r} or {REPEAT!r}, got {_short(fields['kind'])}")
        inputs, input_names = self.inputs(fields["inputs"])
        types = list(inputs)
        nodes: list[Node] = []
        children = []
        place = self.at
        for number, stored in enumerate(self.array(fields["nodes"], "nodes")):
            self.at = f"{place} nodes[{number}]"
            node, child = self.node(stored, types, graphs)
            nodes.append(node)
            children.append(child)
            types.extend(node.content.outputs)
            self.count(len(node.content.outputs))
        self.at = place
        self.distinct([node.name for node in nodes], "node")
        results = self.ids(fields["results"], "results", len(types))
        if not results:
            self.refuse("expected at least one result, got none")
        settings = {"kind": fields["kind"], "arguments": self.arguments(fields["arguments"])}
        graph = Graph(name, inputs, nodes, results, input_names=input_names, **settings)
        self.check(graph)
        return graph, children

    def check(self, graph: Graph) -> None:
        """Refuse what no space can give: dead nodes, broken sharing."""
        try:
            check_sharing(graph)
        except GraphError as error:
            self.refuse(str(error))
        owner = {node.name: node.weights for node in graph.nodes}
        starts, total = [], len(graph.inputs)
        for node in graph.nodes:
            starts.append(total)
            total += len(node.content.outputs)
            if owner.get(node.weights, node.weights) != node.weights:
                self.refuse(
                    f"node {node.name!r} shares the weights of {node.weights!r}, which has none of "
                    "its own"
                )
        needed = set(graph.results).union(*(node.inputs for node in graph.nodes))
        for start, node in zip(starts, graph.nodes, strict=True):
            if needed.isdisjoint(range(start, start + len(node.content.outputs))):
                self.refuse(f"node {node.name!r} is needed by no result")

    def node(self, data: Any, types: Sequence[Type], graphs: Sequence[Graph]) -> tuple[Node, int]:
        keys = ("graph",) if isinstance(data, dict) and "graph" in data else ("op", "attributes")
        fields = self.fields(data, ("name", *keys, "inputs"), optional=("weights",))
        name = self.name(fields["name"], "name")
        self.at += f" {name!r}"
        weights = self.name(fields.get("weights", name), "weights")
        inputs = self.ids(fields["inputs"], "inputs", len(types))
        given = tuple(types[i] for i in inputs)
        if keys == ("graph",):
            child = fields["graph"]
            if type(child) is not int or not 0 <= child < len(graphs):
                self.refuse(
                    f"expected graph to be the index of an earlier graph (0 to {len(graphs) - 1}), "
                    f"got {_short(child)}"
                )
            if given != graphs[child].inputs:
                wanted = ", ".join(map(repr, graphs[child].inputs))
                self.refuse(f"expected inputs ({wanted}), got ({', '.join(map(repr, given))})")
            return Node(name, graphs[child], inputs, weights), child
        return Node(name, self.operation(fields, given), inputs, weights), -1

    def operation(self, fields: dict[str, Any], inputs: tuple[Type, ...]) -> Applied:
        if not isinstance(fields["op"], str):
            self.refuse(f"expected op to be a name, got {_short(fields['op'])}")
        try:
            cls = find(fields["op"][:MAX_NAME])
        except GraphError as error:
            self.refuse(str(error))
        declared = dataclasses.fields(cls)  # type: ignore[arg-type]
        names = [field.name for field in declared]
        place, self.at = self.at, f"{self.at} {cls.__name__}"
        stored = self.fields(fields["attributes"], tuple(names))
        attributes = tuple(self.scalar(stored[name], name) for name in names)
        for field, value in zip(declared, attributes, strict=True):
            if isinstance(field.default, bool) and value not in (True, False):
                self.refuse(f"expected {field.name} to be true or false, got {_short(value)}")
        self.at = place
        try:
            return self.applied(cls, attributes, inputs)
        except NasflowError as error:
            self.refuse(str(error))
        except RecursionError:
            raise
        except Exception as error:  # an operation's rules assume attributes of the right kind
            self.refuse(f"{cls.__name__} cannot have attributes {_short(attributes)}: {error}")

    def applied(
        self, cls: type[Operation], attributes: tuple[Scalar, ...], inputs: tuple[Type, ...]
    ) -> Applied:
        count = cls(*attributes).results()
        if not 1 <= count <= MAX_VALUES:
            self.refuse(f"expected 1 to {MAX_VALUES:,} results, got {count:,}")
        content = applied(cls, attributes, inputs)
        if len(content.outputs) != count:
            self.refuse(f"expected {count} results, got {len(content.outputs)}")
        for weight in content.weights:
            if weight.numel > MAX_SIZE:
                self.refuse(f"expected at most {MAX_SIZE:,} weights, got {weight.numel:,}")
        content.op.source(*inputs)  # what cannot be written cannot be run
        return content

    # -- pieces -----------------------------------------------------------------------------------

    def fields(
        self, data: Any, required: Sequence[str], optional: Sequence[str] = ()
    ) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.refuse(f"expected an object, got {_short(data)}")
        known = (*required, *optional)
        for key in data:
            if key not in known:
                hint = nearest(str(key)[:MAX_NAME], known)
                self.refuse(f"unknown field {_short(key)}{hint}")
        for key in required:
            if key not in data:
                self.refuse(f"field {key!r} is missing")
        return data

    def array(self, data: Any, what: str, least: int = 0) -> list[Any]:
        if not isinstance(data, list) or len(data) < least:
            self.refuse(f"expected {what} to be a list, got {_short(data)}")
        self.count(len(data))
        return data

    def count(self, number: int) -> None:
        self.stored += number
        if self.stored > MAX_STORED:
            self.refuse(f"expected at most {MAX_STORED:,} nodes and values in all")

    def name(self, data: Any, what: str) -> str:
        if not isinstance(data, str) or len(data) > MAX_NAME or not NAME.match(data):
            self.refuse(
                f"expected {what} to be at most {MAX_NAME} lower-case letters, digits and "
                f"underscores, got {_short(data)}"
            )
        return data

    def distinct(self, names: Iterable[str], what: str) -> None:
        seen: set[str] = set()
        for name in names:
            if name in seen:
                self.refuse(f"two {what}s are named {name!r}")
            seen.add(name)

    def ids(self, data: Any, what: str, limit: int) -> tuple[int, ...]:
        for value in self.array(data, what):
            if type(value) is not int or value < 0:
                self.refuse(f"expected {what} to be ids of values, got {_short(value)}")
            if value >= limit:
                self.refuse(
                    f"{what} has value {value}, but only {limit} are made before it (a value must "
                    "be made before it is used)"
                )
        return tuple(data)

    def inputs(self, data: Any) -> tuple[tuple[Type, ...], tuple[str, ...]]:
        types, names = [], []
        place = self.at
        for number, stored in enumerate(self.array(data, "inputs")):
            self.at = f"{place} inputs[{number}]"
            fields = self.fields(stored, ("name", "axes", "shape", "dtype"), ("batched",))
            names.append(self.name(fields["name"], "name"))
            types.append(self.type(fields))
        self.at = place
        self.distinct(names, "input")
        return tuple(types), tuple(names)

    def type(self, fields: dict[str, Any]) -> Type:
        axes = self.array(fields["axes"], "axes")
        for axis in axes:
            if not isinstance(axis, str) or not (len(axis) == 1 and "A" <= axis <= "Z"):
                self.refuse(f"expected axes to be capital letters, got {_short(axis)}")
        dtype, batched = fields["dtype"], fields.get("batched", True)
        if dtype not in DTYPES:
            self.refuse(f"expected a dtype among {', '.join(DTYPES)}, got {_short(dtype)}")
        if not isinstance(batched, bool):
            self.refuse(f"expected batched to be true or false, got {_short(batched)}")
        shape = self.array(fields["shape"], "shape")
        try:
            return Type(tuple(axes), tuple(shape), dtype, batched)
        except (NasflowError, TypeError) as error:
            self.refuse(str(error))

    def arguments(self, data: Any) -> dict[str, Scalar]:
        if not isinstance(data, dict) or len(data) > MAX_NAME:
            self.refuse(f"expected arguments to be an object, got {_short(data)}")
        for name, value in data.items():
            legal = isinstance(name, str) and name.isascii() and name.isidentifier()
            if not legal or len(name) > MAX_NAME or keyword.iskeyword(name):
                self.refuse(f"expected arguments to be named as in Python, got {_short(name)}")
            if isinstance(value, list) or value is None:
                self.refuse(f"expected argument {name!r} to be a plain value, got {_short(value)}")
        return {name: self.scalar(value, name) for name, value in data.items()}

    def scalar(self, data: Any, what: str, depth: int = 0) -> Scalar:
        if isinstance(data, list) and depth < 4:
            self.count(len(data))
            if len(data) > MAX_VALUES:
                self.refuse(f"expected {what} to list at most {MAX_VALUES:,} values")
            return tuple(self.scalar(item, what, depth + 1) for item in data)
        if isinstance(data, str) and len(data) > MAX_TEXT:
            self.refuse(f"expected {what} to have at most {MAX_TEXT} characters, got {len(data)}")
        if isinstance(data, (int, float)) and not abs(data) <= MAX_SIZE:  # NaN is refused too
            self.refuse(f"expected {what} to be at most {MAX_SIZE}, got {_short(data)}")
        if not (data is None or isinstance(data, (bool, int, float, str))):
            self.refuse(f"expected {what} to be a plain value, got {_short(data)}")
        return data


def _short(value: Any) -> str:
    """Return a stranger's value as at most 60 characters on one line."""
    if isinstance(value, (list, dict, tuple)) and len(value) > 20:
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and abs(value) > MAX_SIZE:
        return "a very large integer"
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."
