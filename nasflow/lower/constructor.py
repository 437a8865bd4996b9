"""Write the constructor of a class: its parameters and what it keeps."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from nasflow.errors import GraphError
from nasflow.lower import names, syntax
from nasflow.lower.family import Family
from nasflow.lower.form import (
    MISSING,
    BlockForm,
    Each,
    Form,
    LoopForm,
    OpForm,
    Slot,
    UnrolledForm,
    same,
)
from nasflow.lower.parameters import Bound, Parameter, to_tree

Pair = tuple[Slot, Bound]


@dataclass(slots=True)
class FilledForm:
    """A form with the values of its own slots, and such forms inside it."""

    form: Form
    values: list[Pair]
    inside: list[FilledForm] = field(default_factory=list)
    flag: Pair | None = None  # of an optional node: whether an instance has it


def filled_forms(family: Family, families: Sequence[Family]) -> list[FilledForm]:
    """Return the form of each node of a class with its values."""
    found = []
    for i, form in enumerate(family.forms):
        pairs = iter(zip(family.slots[i], family.bound[i], strict=True))
        flag = next(pairs) if i in family.optional else None
        filled = _filled(form, pairs, families)
        filled.flag = flag
        found.append(filled)
    return found


def _filled(form: Form, pairs: Iterator[Pair], families: Sequence[Family]) -> FilledForm:
    if isinstance(form, OpForm):
        count = len(form.positional) + len(form.keyword) + len(form.constants)
        return FilledForm(form, [next(pairs) for _ in range(count)])
    if isinstance(form, BlockForm):
        return FilledForm(form, [next(pairs) for _ in families[form.family].parameters])
    if isinstance(form, UnrolledForm):
        return FilledForm(form, [], [_filled(inner, pairs, families) for inner in form.forms])
    filled = FilledForm(form, [])
    for run in form.runs:
        filled.values.append(next(pairs))
        filled.inside.append(_filled(run, pairs, families))
    return filled


class Constructor:
    """Write what the instances of one class keep."""

    def __init__(self, family: Family, families: Sequence[Family]) -> None:
        self.parameters = family.parameters
        self.families = families

    def build(self, filled: FilledForm) -> ast.expr | None:
        """Return the module that a node keeps, or None where it keeps none."""
        built = self._build(filled)
        if filled.flag is None or built is None:
            return built
        nothing = syntax.call(syntax.dotted("nn.Identity"), [])
        return ast.IfExp(self._value(filled.flag), built, nothing)

    def _build(self, filled: FilledForm) -> ast.expr | None:
        form = filled.form
        if isinstance(form, LoopForm):
            return self._loop(form, filled)
        if isinstance(form, UnrolledForm):
            return self._unrolled(form, filled)
        if isinstance(form, OpForm) and not form.callee:
            return None
        return self._call(filled, {})

    def shape(self, filled: FilledForm) -> list[ast.expr]:
        """Return the arguments of torch.empty for a bare tensor."""
        tree = self._value(filled.values[0])
        if isinstance(tree, ast.Tuple) and tree.elts:
            return tree.elts
        return [tree]

    def _value(self, pair: Pair) -> ast.expr:
        return to_tree(pair[1], self.parameters, inside=False)

    def _call(self, filled: FilledForm, listed: dict[int, ast.expr]) -> ast.expr:
        """Return the call that builds an operation or a block; ``listed`` are loop variables."""
        form = filled.form
        values = [listed.get(i) or self._value(pair) for i, pair in enumerate(filled.values)]
        if isinstance(form, BlockForm):
            return self._block(form, filled, values, set(listed))
        assert isinstance(form, OpForm)
        first = len(form.positional)
        keyword = {
            name: values[first + i]
            for i, name in enumerate(form.keyword)
            if first + i in listed or not _is_default(filled.values[first + i])
        }
        return syntax.call(syntax.dotted(form.callee), values[:first], keyword)

    def _block(
        self, form: BlockForm, filled: FilledForm, values: list[ast.expr], listed: set[int]
    ) -> ast.expr:
        family = self.families[form.family]
        positional: list[ast.expr] = []
        keyword: dict[str, ast.expr] = {}
        for i in signature_order(family.parameters):
            name = family.parameters[i].name
            if family.parameters[i].default is MISSING:
                if len(positional) < 2 and not keyword:
                    positional.append(values[i])
                else:
                    keyword[name] = values[i]
            elif i in listed or not _is_default(filled.values[i]):
                keyword[name] = values[i]
        return syntax.call(syntax.name(family.name), positional, keyword)

    # -- repeats ------------------------------------------------------------------------------------

    def _loop(self, form: LoopForm, filled: FilledForm) -> ast.expr:
        elements = [self._run(*item) for item in zip(filled.values, filled.inside, strict=True)]
        if form.recurrence.is_chain:
            return syntax.call(syntax.dotted("nn.Sequential"), elements)
        if len(elements) == 1 and isinstance(elements[0], ast.Starred):
            loop = elements[0].value
            assert isinstance(loop, ast.GeneratorExp)
            listed = ast.ListComp(loop.elt, loop.generators)
            return syntax.call(syntax.dotted("nn.ModuleList"), [listed])
        return syntax.call(syntax.dotted("nn.ModuleList"), [ast.List(elements, ast.Load())])

    def _run(self, count: Pair, filled: FilledForm) -> ast.expr:
        """Return one element, or a starred comprehension, for iterations of one form."""
        listed = [] if isinstance(filled.form, LoopForm) else self._listed(filled)
        if not listed:
            element = self.build(filled)
            assert element is not None
            bound = count[1]
            if bound.is_literal and bound.value == 1:
                return element
            times = syntax.call(syntax.name("range"), [self._value(count)])
            return _starred(element, syntax.name("_"), times)
        taken = {parameter.name for parameter in self.parameters}
        variables: dict[int, ast.expr] = {}
        for i in listed:
            hint = filled.values[i][0].hint
            chosen = names.variable(hint, taken)
            taken.add(chosen)
            variables[i] = syntax.name(chosen)
        element = self._call(filled, variables)
        targets = list(variables.values())
        if len(listed) == 1:
            return _starred(element, targets[0], self._sequence(filled.values[listed[0]]))
        target = ast.Tuple(targets, ast.Load())
        bounds = [filled.values[i][1] for i in listed]
        if all(bound.is_literal for bound in bounds):
            rows = tuple(zip(*(bound.value for bound in bounds), strict=True))
            return _starred(element, target, syntax.literal(rows))
        columns = [self._sequence(filled.values[i]) for i in listed]
        strict = {"strict": ast.Constant(True)}
        return _starred(element, target, syntax.call(syntax.name("zip"), columns, strict))

    def _listed(self, filled: FilledForm) -> list[int]:
        """Return which slots differ between the iterations."""
        found = []
        for i, (_, bound) in enumerate(filled.values):
            value = bound.value
            if bound.parameter >= 0:
                value = self.parameters[bound.parameter].values[0]
            if isinstance(value, Each):
                found.append(i)
        return found

    def _sequence(self, pair: Pair) -> ast.expr:
        bound = pair[1]
        if bound.is_literal:
            span = _as_range(bound.value)
            if span is not None:
                return syntax.call(syntax.name("range"), [syntax.literal(v) for v in span])
        return self._value(pair)

    def _unrolled(self, form: UnrolledForm, filled: FilledForm) -> ast.expr | None:
        keys: list[ast.expr | None] = []
        values: list[ast.expr] = []
        for name, inner in zip(form.names, filled.inside, strict=True):
            if isinstance(inner.form, OpForm) and inner.form.callee in ("parameter", "buffer"):
                raise GraphError(f"{name}: an iteration of a repeat cannot be a bare tensor")
            built = self.build(inner)
            if built is not None:
                keys.append(syntax.literal(name))
                values.append(built)
        if not keys:
            return None
        return syntax.call(syntax.dotted("nn.ModuleDict"), [ast.Dict(keys, values)])


FIRST: Final = ("in_channels", "in_features", "out_channels", "out_features", "out", "width")
"""Parameters that come first, in this order."""


def signature_order(parameters: Sequence[Parameter]) -> list[int]:
    """Return the order in which a constructor lists its parameters: those with defaults last."""

    def key(i: int) -> tuple[bool, int]:
        parameter = parameters[i]
        place = FIRST.index(parameter.name) if parameter.name in FIRST else len(FIRST)
        return parameter.default is not MISSING, place

    return sorted(range(len(parameters)), key=key)


def _is_default(pair: Pair) -> bool:
    slot, bound = pair
    return bound.is_literal and same(bound.value, slot.default)


def _starred(element: ast.expr, target: ast.expr, source: ast.expr) -> ast.expr:
    generator = ast.comprehension(target, source, [], 0)
    return ast.Starred(ast.GeneratorExp(element, [generator]), ast.Load())


def _as_range(values: Sequence[Any]) -> tuple[int, ...] | None:
    """Return the arguments of a range that gives the values: three or more, evenly spaced."""
    if len(values) < 3 or not all(type(v) is int for v in values):
        return None
    step = values[1] - values[0]
    if step == 0 or any(b - a != step for a, b in pairwise(values)):
        return None
    stop = values[-1] + (1 if step > 0 else -1) if abs(step) == 1 else values[-1] + step
    if step == 1:
        return (values[0], stop) if values[0] else (stop,)
    return (values[0], stop, step)
