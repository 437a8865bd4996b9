"""Sort sub-graphs into classes: one class for all that differ in plain values only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nasflow.errors import GraphError
from nasflow.ir.graph import REPEAT, Graph
from nasflow.ir.operation import Applied
from nasflow.lower import names, syntax
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
)
from nasflow.lower.groups import groups_of, labels_of
from nasflow.lower.parameters import Bound, Chosen, Parameter, columns_of
from nasflow.lower.recurrence import recurrence

NEUTRAL: Final = {"DropPath": 0.0, "Dropout": 0.0}
"""Operations that keep no weights, with the first argument that makes them do nothing."""
LONGEST_EXPRESSION: Final = 3
"""Operations of a block that is written in place of its class."""


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
        columns = columns_of(self.rows)
        chosen = Chosen(self.graphs)
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
        labels = labels_of(root)
        for group in groups_of(root, labels):
            self._add(group, labels[id(group[0])])
        self._used.add(len(self.families) - 1)
        self.written = [self.families[number] for number in sorted(self._used)]

    def _collect_support(self, root: Graph) -> None:
        for _, node, _ in root.walk():
            assert isinstance(node.content, Applied)
            text = node.content.op.support.strip()
            if text and text not in self.support and self._mentions(node.content, text):
                self.support.append(text)
                self._taken |= syntax.defined(text)
        self.functions = frozenset(self._taken)

    def _mentions(self, content: Applied, support: str) -> bool:
        """Return whether the source of an operation uses what its support defines."""
        form, _ = self.describe(content)
        assert isinstance(form, OpForm)
        words = set(re.findall(r"\w+", f"{form.callee} {form.forward}"))
        return not words.isdisjoint(syntax.defined(support))

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
