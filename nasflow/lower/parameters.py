"""Find the parameters of a class: the values in which its instances differ."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from nasflow.ir.graph import Graph
from nasflow.ir.types import Type
from nasflow.lower import names, syntax
from nasflow.lower.form import MISSING, Each, Slot, same

VAGUE: Final = frozenset({"num_features", "num_channels", "normalized_shape", "groups", "padding"})
"""Names of arguments that usually follow from another one."""


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


def columns_of(rows: Sequence[Sequence[Sequence[Slot]]]) -> list[list[Any]]:
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


class Chosen:
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


def to_tree(bound: Bound, parameters: Sequence[Parameter], inside: bool) -> ast.expr:
    """Return a slot's value as an expression: ``inside`` a method, parameters are attributes."""
    if bound.items:
        items = [to_tree(item, parameters, inside) for item in bound.items]
        return ast.Tuple(items, ast.Load())
    if bound.parameter < 0:
        value = tuple(bound.value) if isinstance(bound.value, Each) else bound.value
        return syntax.literal(value)
    name = parameters[bound.parameter].name
    tree = syntax.attribute_of(syntax.name("self"), name) if inside else syntax.name(name)
    if bound.times == 0:
        return ast.BinOp(tree, ast.FloorDiv(), ast.Constant(2))
    if bound.times > 1:
        return ast.BinOp(ast.Constant(bound.times), ast.Mult(), tree)
    return tree
