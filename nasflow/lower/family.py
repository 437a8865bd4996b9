"""Sort sub-graphs into classes: one class for all that differ in plain values only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nasflow.errors import GraphError
from nasflow.ir.graph import REPEAT, Graph
from nasflow.ir.operation import Applied
from nasflow.ir.types import Type
from nasflow.lower import expression as ex
from nasflow.lower import names
from nasflow.lower.form import (
    MISSING,
    BlockForm,
    Each,
    Form,
    OpForm,
    Slot,
    UnrolledForm,
    is_module,
    loop_form,
    operation_form,
    same,
)
from nasflow.lower.recurrence import recurrence

DEEPEST: Final = 64
"""Levels of nesting; beyond it a graph is taken for a mistake."""
NEUTRAL: Final = {"DropPath": 0.0, "Dropout": 0.0}
"""Operations that keep no weights, with the first argument that makes them do nothing."""
VAGUE: Final = frozenset({"num_features", "num_channels", "normalized_shape", "groups", "padding"})
"""Names of arguments that usually follow from another one."""
LONGEST_EXPRESSION: Final = 3
"""Operations of a block that is written in place of its class."""
SHORTEST_LABEL: Final = 3
"""Names of blocks that say something; shorter ones are indices and keys of switches."""
_UNNAMED: Final = frozenset({"true", "false", "all", "none"})


@dataclass(frozen=True, slots=True)
class Bound:
    """Where a slot's value comes from: a literal, a parameter times or halved, or a tuple of such.

    ``times`` of 0 means half, rounded down.
    """

    value: Any = None
    parameter: int = -1
    times: int = 1
    items: tuple[Bound, ...] = ()

    @property
    def is_literal(self) -> bool:
        """Whether it is the same value in every instance."""
        return self.parameter < 0 and not self.items

    def parameters(self) -> set[int]:
        """Return the parameters that it mentions."""
        own = {self.parameter} if self.parameter >= 0 else set()
        return own.union(*(item.parameters() for item in self.items))


@dataclass(slots=True)
class Parameter:
    """One argument of a class's constructor, with its value in each instance."""

    name: str
    values: list[Any]
    default: Any = MISSING


@dataclass(slots=True, eq=False)
class Family:
    """Sub-graphs that are instances of one class.

    Attributes:
        name, label: of the class, and of the blocks it was made for.
        template: one of the graphs; all have its nodes and wiring.
        forms, slots, bound: for each node of the template its form, its slots in the template and
            where the value of each comes from.
        parameters: arguments of the constructor.
        optional: nodes that some instances lack, and pass their input on.
    """

    name: str
    label: str
    graphs: list[Graph]
    forms: list[Form]
    rows: list[list[list[Slot]]]  # graph, node, slot
    bound: list[list[Bound]] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    optional: set[int] = field(default_factory=set)

    @property
    def template(self) -> Graph:
        """One of the graphs."""
        return self.graphs[0]

    @property
    def slots(self) -> list[list[Slot]]:
        """Slots of the template, by node."""
        return self.rows[0]

    def resolve(self) -> None:
        """Find the parameters, and bind every slot to a literal or a parameter."""
        columns = _columns(self.rows)
        chosen = _Chosen(self.graphs)
        pairs = zip(self.template.nodes, self.slots, strict=True)
        named = [(slot, node.name) for node, slots in pairs for slot in slots]
        flat = iter(chosen.bind(columns, named))
        self.bound = [[next(flat) for _ in slots] for slots in self.slots]
        self.parameters = chosen.parameters

    def absorb(self, other: Family) -> bool:
        """Take over the instances of a class that lacks some nodes, if they are modules in a row.

        Such nodes become optional: their first slot says whether an instance has them.
        """
        absent = _absent(self, other)
        if not absent:
            return False
        for i in sorted(absent - self.optional):
            if self._neutral(i) is not None:
                continue
            name = self.template.nodes[i].name
            for row in self.rows:
                row[i] = [Slot(name, True, False), *row[i]]
        self.optional |= {i for i in absent if self._neutral(i) is None}
        for graph, row in zip(other.graphs, other.rows, strict=True):
            theirs = iter(row)
            full = []
            for i, slots in enumerate(self.slots):
                neutral = self._neutral(i)
                if i in absent and neutral is not None:
                    full.append([neutral, *slots[1:]])
                elif i in absent:
                    flag = Slot(slots[0].hint, False, False)
                    full.append([flag, *(replace(slot, value=MISSING) for slot in slots[1:])])
                elif i in self.optional:
                    full.append([Slot(slots[0].hint, True, False), *next(theirs)])
                else:
                    full.append(next(theirs))
            self.graphs.append(graph)
            self.rows.append(full)
        return True

    def arguments(self, row: int) -> list[Slot]:
        """Return what the constructor is called with for an instance."""
        found = []
        for parameter in self.parameters:
            value = parameter.values[row]
            value = tuple(value) if isinstance(value, Each) else value
            found.append(Slot(parameter.name, value, parameter.default))
        return found

    def _neutral(self, node: int) -> Slot | None:
        """Return the first argument with which a node of its kind changes nothing, if any."""
        form = self.forms[node]
        if isinstance(form, OpForm) and form.kind in NEUTRAL:
            return replace(self.slots[node][0], value=NEUTRAL[form.kind])
        return None


def _absent(family: Family, other: Family) -> set[int]:
    """Return which nodes ``other`` lacks beside ``family``; none where they differ in more."""
    theirs = list(zip(other.template.nodes, other.forms, strict=True))
    same_ids = {i: i for i in range(len(family.template.inputs))}
    if len(same_ids) != len(other.template.inputs) or other.optional:
        return set()
    ours, value, made, at = set(), len(same_ids), len(same_ids), 0
    for i, (node, form) in enumerate(zip(family.template.nodes, family.forms, strict=True)):
        inputs = tuple(same_ids[v] for v in node.inputs)
        if at < len(theirs) and theirs[at][0].name == node.name:
            partner = theirs[at][0]
            if (partner.weights, partner.inputs, theirs[at][1]) != (node.weights, inputs, form):
                return set()
            for _ in node.content.outputs:
                same_ids[value] = made
                value, made = value + 1, made + 1
            at += 1
        elif is_module(form) and len(node.inputs) == 1 and form.outputs == 1:
            ours.add(i)
            same_ids[value] = inputs[0]
            value += 1
        else:
            return set()
    results = tuple(same_ids[v] for v in family.template.results)
    return ours if at == len(theirs) and results == other.template.results else set()


def _columns(rows: Sequence[Sequence[Sequence[Slot]]]) -> list[list[Any]]:
    """Return the values of each slot over the instances, the same kind of loop in each.

    Where an argument of a loop differs between iterations in one instance it is listed in all, and
    the number of iterations need not be said.
    """
    flat = [[slot for node in row for slot in node] for row in rows]
    columns = [[slot.value for slot in column] for column in zip(*flat, strict=True)]
    for j, head in enumerate(flat[0] if flat else ()):
        listed = False
        for k in range(j + 1, j + 1 + head.span):
            if any(isinstance(value, Each) for value in columns[k]):
                listed = True
                columns[k] = [
                    value
                    if isinstance(value, Each) or value is MISSING
                    else Each([value] * slots[k].count)
                    for value, slots in zip(columns[k], flat, strict=True)
                ]
        if listed:
            columns[j] = [MISSING] * len(flat)
    return columns


class _Chosen:
    """The parameters of a class, found one kind of slot at a time, the most frequent first."""

    def __init__(self, graphs: Sequence[Graph]) -> None:
        self.graphs = graphs
        self.parameters: list[Parameter] = []

    def bind(self, columns: Sequence[list[Any]], slots: Sequence[tuple[Slot, str]]) -> list[Bound]:
        """Bind each column; ``slots`` are the template's, with the names of their nodes."""
        alike: dict[str, list[int]] = {}
        for j, column in enumerate(columns):
            alike.setdefault(repr(column), []).append(j)
        bound = [Bound()] * len(columns)
        partial = {key: any(v is MISSING for v in columns[js[0]]) for key, js in alike.items()}
        tuples = {key: type(columns[js[0]][0]) is tuple for key, js in alike.items()}

        def order(key: str) -> tuple[bool, bool, int, int]:
            return partial[key], tuples[key], -len(alike[key]), alike[key][0]

        for key in sorted(alike, key=order):
            # The one whose name says most gives its name to all.
            for j in sorted(alike[key], key=lambda j: (_is_vague(slots[j][0].hint), j)):
                bound[j] = self._bind(columns[j], *slots[j])
        return bound

    def _bind(self, column: list[Any], slot: Slot, node: str) -> Bound:
        found = self._known(column, slot)
        if found is not None:
            return found
        values = [v for v in column if v is not MISSING][:1] * len(column)
        values = [v if v is not MISSING else w for v, w in zip(column, values, strict=True)]
        self.parameters.append(Parameter(self._name(values, slot.hint, node), values, slot.default))
        return Bound(parameter=len(self.parameters) - 1)

    def _known(self, column: list[Any], slot: Slot) -> Bound | None:
        """Return how a column follows from literals and the parameters there are, if it does."""
        present = [value for value in column if value is not MISSING]
        if not present:
            return Bound(MISSING)
        if all(same(value, present[0]) for value in present):
            return Bound(present[0])
        for i, parameter in enumerate(self.parameters):
            if all(
                v is MISSING or same(v, p) for v, p in zip(column, parameter.values, strict=True)
            ):
                if not same(parameter.default, slot.default):
                    parameter.default = MISSING
                return Bound(parameter=i)
        for i, parameter in enumerate(self.parameters):
            times = _ratio(column, parameter.values)
            if times is not None:
                return Bound(parameter=i, times=times)
        return self._items(column, present)

    def _items(self, column: list[Any], present: list[Any]) -> Bound | None:
        size = len(present[0]) if type(present[0]) is tuple else 0
        if not size or not all(type(v) is tuple and len(v) == size for v in present):
            return None
        items = []
        for k in range(size):
            item = self._known([v if v is MISSING else v[k] for v in column], Slot("", None))
            if item is None:
                return None
            items.append(item)
        return Bound(items=tuple(items))

    def _directed(self, values: list[Any], hint: str, node: str) -> str:
        """Return ``in_channels`` only for those of the class, ``out_channels`` likewise."""
        match = re.fullmatch(r"(?:in|out)_(channels|features)", hint)
        if match is None or not all(graph.inputs for graph in self.graphs):
            return hint
        for side, kinds in (
            ("in", [graph.inputs[0] for graph in self.graphs]),
            ("out", [graph.outputs[0] for graph in self.graphs]),
        ):
            if values == [_width(kind) for kind in kinds]:
                return f"{side}_{match.group(1)}"
        return f"{node}_{match.group(1)}" if node[0].isalpha() else hint

    def _name(self, values: list[Any], hint: str, node: str) -> str:
        taken = {parameter.name for parameter in self.parameters}
        for name in self.graphs[0].arguments:
            pairs = zip(self.graphs, values, strict=True)
            if name not in taken and all(same(g.arguments.get(name), v) for g, v in pairs):
                plain = isinstance(name, str) and name.isascii() and name.isidentifier()
                if plain and names.variable(name) == name and not name.startswith("_"):
                    return name
        hint = self._directed(values, re.sub(r"^to_(\d+)$", r"size\1", hint), node)
        if isinstance(values[0], Each):
            hint += "s"
        name = names.variable(hint)
        if name in taken:
            name = names.variable(f"{names.attribute(node)}_{hint}".lstrip("_"))
        return names.fresh(name, taken)


def _width(kind: Type) -> int:
    """Return the channels of a map, or the features of what has no channels."""
    if "C" in kind.axes:
        return kind.size("C")
    return kind.shape[-1] if kind.shape else 0


def _is_vague(hint: str) -> bool:
    """Return whether an argument's name says less than others may."""
    return hint in VAGUE or len(hint) == 1 or hint.startswith("to_")


def _ratio(column: Sequence[Any], values: Sequence[Any]) -> int | None:
    """Return k where the column is k times the values, 0 where it is half of them, else None."""
    pairs = [(c, v) for c, v in zip(column, values, strict=True) if c is not MISSING]
    if not all(type(c) is int and type(v) is int and v > 0 for c, v in pairs):
        return None
    if len({v for _, v in pairs}) < 2:
        return None
    times = pairs[0][0] // pairs[0][1]
    if times > 1 and all(c == times * v for c, v in pairs):
        return times
    return 0 if all(c == v // 2 for c, v in pairs) else None


class Families:
    """All classes of a network, inner ones before those that use them; the network's own last."""

    def __init__(self, root: Graph) -> None:
        self.families: list[Family] = []
        self.support: list[str] = []
        self._known: dict[int, tuple[int, int]] = {}  # id(graph) -> (family, row)
        self._taken: set[str] = set()
        self._operations: dict[int, tuple[OpForm, list[Slot]]] = {}
        self._used: set[int] = set()
        self._collect_support(root)
        labels = _labels(root)
        for group in _groups(root, labels):
            self._add(group, labels[id(group[0])])
        self._used.add(len(self.families) - 1)
        self.written = [self.families[number] for number in sorted(self._used)]

    def _collect_support(self, root: Graph) -> None:
        for _, node, _ in root.walk():
            assert isinstance(node.content, Applied)
            text = node.content.op.support.strip()
            if text and text not in self.support and self._mentions(node.content, text):
                self.support.append(text)
                self._taken |= ex.defined(text)
        self.functions = frozenset(self._taken)

    def _mentions(self, content: Applied, support: str) -> bool:
        """Return whether the source of an operation uses what its support defines."""
        form, _ = self.describe(content)
        assert isinstance(form, OpForm)
        words = set(re.findall(r"\w+", f"{form.callee} {form.forward}"))
        return not words.isdisjoint(ex.defined(support))

    def _add(self, graphs: Sequence[Graph], label: str) -> None:
        """Make the classes of sub-graphs of one name."""
        found: dict[Any, Family] = {}
        for graph in graphs:
            described = [self.describe(node.content) for node in graph.nodes]
            key = (
                len(graph.inputs),
                tuple((node.name, node.weights, node.inputs) for node in graph.nodes),
                tuple(form for form, _ in described),
                graph.results,
            )
            family = found.get(key)
            if family is None:
                family = found[key] = Family("", label, [], [form for form, _ in described], [])
            family.graphs.append(graph)
            family.rows.append([slots for _, slots in described])
        for family in _merged(list(found.values())):
            family.resolve()
            family.name = names.fresh(names.camel(label), self._taken)
            self._taken.add(family.name)
            for row, graph in enumerate(family.graphs):
                self._known[id(graph)] = (len(self.families), row)
            self.families.append(family)

    def describe(
        self, content: Applied | Graph, as_module: bool = False
    ) -> tuple[Form, list[Slot]]:
        """Return the form of a node's content and the plain values in it.

        A short block that keeps nothing is written in place unless it must be a module.
        """
        if isinstance(content, Applied):
            known = self._operations.get(id(content))
            if known is None:
                known = self._operations[id(content)] = operation_form(content)
            return known
        if content.kind != REPEAT and not as_module and self._is_expression(content):
            return self._unrolled(content, [self.describe(node.content) for node in content.nodes])
        if content.kind != REPEAT:
            self._used.add(self._known[id(content)][0])
            number, row = self._known[id(content)]
            form = BlockForm(number, len(content.outputs))
            return form, self.families[number].arguments(row)
        iterations = [self.describe(node.content, as_module=True) for node in content.nodes]
        found = recurrence(content)
        indices = [str(i) for i in range(len(content.nodes))]
        owned = all(node.weights == node.name for node in content.nodes)
        modules = all(is_module(form) for form, _ in iterations)
        if found and owned and modules and [node.name for node in content.nodes] == indices:
            return loop_form(iterations, found, len(content.results))
        if not owned:
            raise GraphError(f"{content.name}: iterations of a repeat cannot share weights")
        return self._unrolled(content, iterations)

    def _is_expression(self, graph: Graph) -> bool:
        """Return whether a block is a few functions of its inputs, with nothing to keep."""
        if len(graph.nodes) > LONGEST_EXPRESSION:
            return False
        contents = [node.content for node in graph.nodes]
        return all(
            isinstance(content, Applied) and not self.describe(content)[0].callee  # type: ignore[union-attr]
            for content in contents
        )

    @staticmethod
    def _unrolled(
        content: Graph, parts: Sequence[tuple[Form, list[Slot]]]
    ) -> tuple[Form, list[Slot]]:
        form = UnrolledForm(
            tuple(names.checked(node.name) for node in content.nodes),
            tuple(form for form, _ in parts),
            tuple(node.inputs for node in content.nodes),
            content.results,
            len(content.inputs),
        )
        return form, [slot for _, slots in parts for slot in slots]


def _merged(families: list[Family]) -> list[Family]:
    """Return the classes, smaller ones absorbed by those that only have more nodes."""
    kept: list[Family] = []
    for family in sorted(families, key=lambda family: -len(family.forms)):
        if not any(other.absorb(family) for other in kept):
            kept.append(family)
    return [family for family in families if family in kept]


def _labels(root: Graph) -> dict[int, str]:
    """Return what each block is called: its own name, or where it has none, its place."""
    labels = {id(root): root.name}
    pending = [root]
    while pending:
        graph = pending.pop()
        for node in graph.nodes:
            content = node.content
            if not isinstance(content, Graph) or id(content) in labels:
                continue
            label = content.name
            if len(label) < SHORTEST_LABEL or label in _UNNAMED:
                label = names.singular(graph.name if graph.kind == REPEAT else node.name)
            labels[id(content)] = label
            pending.append(content)
    return labels


def _inner(graph: Graph) -> Iterator[Graph]:
    """Yield the blocks directly inside a block, those inside its repeats included."""
    for node in graph.nodes:
        if isinstance(node.content, Graph):
            if node.content.kind == REPEAT:
                yield from _inner(node.content)
            else:
                yield node.content


def _groups(root: Graph, labels: dict[int, str]) -> list[list[Graph]]:
    """Return the blocks grouped by name, a group after all groups that its blocks contain."""
    blocks = [graph for graph in root.subgraphs() if graph.kind != REPEAT]
    heights: dict[int, int] = {}
    for graph in blocks:
        heights[id(graph)] = 1 + max((heights[id(inner)] for inner in _inner(graph)), default=0)
    if max(heights.values()) > DEEPEST:
        raise GraphError(f"{root.name}: expected at most {DEEPEST} levels of blocks")
    by_name = {id(graph): (labels[id(graph)], 0) for graph in blocks}
    by_name[id(root)] = (root.name, -1)
    ordered = _sorted(blocks, by_name)
    if ordered is None:  # a block inside another of its name: tell them apart by height
        keys = {id(graph): (labels[id(graph)], heights[id(graph)]) for graph in blocks}
        keys[id(root)] = (root.name, -1)
        ordered = _sorted(blocks, keys)
        assert ordered is not None
    return ordered


def _sorted(blocks: Sequence[Graph], keys: dict[int, tuple[str, int]]) -> list[list[Graph]] | None:
    """Return the blocks grouped by key in order of containment; None where groups form a cycle."""
    members: dict[tuple[str, int], list[Graph]] = {}
    for graph in blocks:
        members.setdefault(keys[id(graph)], []).append(graph)
    ordered: dict[tuple[str, int], list[Graph]] = {}
    open_: set[tuple[str, int]] = set()

    def visit(key: tuple[str, int]) -> bool:
        if key in ordered:
            return True
        if key in open_:
            return False
        open_.add(key)
        for graph in members[key]:
            for inner in _inner(graph):
                if not visit(keys[id(inner)]):
                    return False
        ordered[key] = members[key]
        return True

    return list(ordered.values()) if all(visit(key) for key in members) else None


def to_tree(bound: Bound, parameters: Sequence[Parameter], inside: bool) -> ast.expr:
    """Return a slot's value as an expression: ``inside`` a method, parameters are attributes."""
    if bound.items:
        items = [to_tree(item, parameters, inside) for item in bound.items]
        return ast.Tuple(items, ast.Load())
    if bound.parameter < 0:
        value = tuple(bound.value) if isinstance(bound.value, Each) else bound.value
        return ex.literal(value)
    name = parameters[bound.parameter].name
    tree = ex.attribute_of(ex.name("self"), name) if inside else ex.name(name)
    if bound.times == 0:
        return ast.BinOp(tree, ast.FloorDiv(), ast.Constant(2))
    if bound.times > 1:
        return ast.BinOp(ast.Constant(bound.times), ast.Mult(), tree)
    return tree
