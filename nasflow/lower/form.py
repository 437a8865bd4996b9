"""What a node of a graph looks like as source, with its plain values taken out.

Two nodes of one form are written by the same code; what differs are their slots. Sub-graphs of one
form become one class whose constructor takes the slots that differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from nasflow.ir.expression import Scalar
from nasflow.ir.operation import PLAIN_CALL, Applied


class Each(tuple[Scalar, ...]):
    """One value for each iteration of a loop."""

    __slots__ = ()


class Missing:
    """Mark a slot of a node that an instance does not have, and an argument without default."""

    def __repr__(self) -> str:
        return "missing"


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class Slot:
    """A plain value in the source of a node.

    Attributes:
        hint: the argument's own name.
        value: the value, one for each iteration, or missing.
        default: left out where the value equals it; missing where it must be written.
        span: for the count of a loop, how many of the slots after it belong to the loop.
        count: for the slots of a loop, the number of iterations.
    """

    hint: str
    value: Any
    default: Any = MISSING
    span: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class OpForm:
    """An operation: its expression and what it builds (``callee`` is empty for nothing)."""

    forward: str
    constants: tuple[str, ...]
    callee: str
    positional: tuple[str, ...]
    keyword: tuple[str, ...]
    outputs: int
    kind: str
    support: str = ""


@dataclass(frozen=True, slots=True)
class BlockForm:
    """A sub-graph that is an instance of the class of that number."""

    family: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Recurrence:
    """How the iterations of a repeat pass values on.

    Attributes:
        start: inputs of the repeat that are the state before the first iteration; -1 where there
            is none, of what no iteration takes.
        takes: for each input of an iteration, ("state", position) or ("outer", repeat's input).
        update: for each part of the next state, ("state", position) or ("output", position).
        results: positions in the last state.
    """

    start: tuple[int, ...]
    takes: tuple[tuple[str, int], ...]
    update: tuple[tuple[str, int], ...]
    results: tuple[int, ...]

    @property
    def is_chain(self) -> bool:
        """Whether each iteration takes what the one before gives and nothing else."""
        return self == CHAIN


CHAIN: Final = Recurrence((0,), (("state", 0),), (("output", 0),), (0,))


@dataclass(frozen=True, slots=True)
class LoopForm:
    """A repeat: runs of iterations of one form each, ``nn.Sequential`` or a loop in ``forward``."""

    runs: tuple[Form, ...]
    recurrence: Recurrence
    outputs: int


@dataclass(frozen=True, slots=True)
class UnrolledForm:
    """A repeat whose iterations differ in how they are wired: written one by one."""

    names: tuple[str, ...]
    forms: tuple[Form, ...]
    inputs: tuple[tuple[int, ...], ...]
    results: tuple[int, ...]
    arity: int

    @property
    def outputs(self) -> int:
        """Number of values it gives."""
        return len(self.results)


Form = OpForm | BlockForm | LoopForm | UnrolledForm


def is_module(form: Form) -> bool:
    """Return whether the node is one module that is called with its inputs."""
    if isinstance(form, OpForm):
        return bool(form.callee) and form.forward == PLAIN_CALL
    return isinstance(form, BlockForm) or (isinstance(form, LoopForm) and form.recurrence.is_chain)


def operation_form(content: Applied) -> tuple[OpForm, list[Slot]]:
    """Return the form and the slots of an operation: what it builds first, then its constants."""
    source = content.op.source(*content.inputs)
    slots: list[Slot] = []
    callee = ""
    positional: tuple[str, ...] = ()
    keyword: tuple[str, ...] = ()
    if source.build is not None:
        callee = source.build.callee
        positional = tuple(name for name, _ in source.build.positional)
        keyword = tuple(name for name, _, _ in source.build.keyword)
        slots += [Slot(name, value) for name, value in source.build.positional]
        slots += [Slot(name, value, default) for name, value, default in source.build.keyword]
    slots += [Slot(name, value) for name, value in source.constants.items()]
    form = OpForm(
        source.forward,
        tuple(source.constants),
        callee,
        positional,
        keyword,
        len(content.outputs),
        type(content.op).__name__,
        content.op.support,
    )
    return form, slots


def loop_form(
    iterations: Sequence[tuple[Form, list[Slot]]], recurrence: Recurrence, outputs: int
) -> tuple[LoopForm, list[Slot]]:
    """Return the form and slots of iterations, equal neighbours and one form each in one run."""
    runs: list[Form] = []
    slots: list[Slot] = []
    for form, rows in _runs(iterations):
        runs.append(form)
        count = len(rows)
        flat = isinstance(form, OpForm | BlockForm)
        slots.append(Slot("depth", count, span=len(rows[0]) if flat else 0))
        for column in zip(*rows, strict=True):
            first = column[0]
            values = [slot.value for slot in column]
            value = first.value if all(same(v, first.value) for v in values) else Each(values)
            slots.append(Slot(first.hint, value, first.default, first.span, count))
    return LoopForm(tuple(runs), recurrence, outputs), slots


def _runs(iterations: Sequence[tuple[Form, list[Slot]]]) -> list[tuple[Form, list[list[Slot]]]]:
    """Return (form, slots of each iteration): one run for equal ones, or a first and the rest."""
    segments: list[tuple[Form, list[list[Slot]]]] = []
    for form, row in iterations:
        if segments and segments[-1][0] == form and is_module(form):
            segments[-1][1].append(row)
        else:
            segments.append((form, [row]))
    runs = []
    for form, rows in segments:
        if all(_equal(row, rows[-1]) for row in rows):
            runs.append((form, rows))
        elif all(_equal(row, rows[-1]) for row in rows[1:]):
            runs += [(form, rows[:1]), (form, rows[1:])]
        elif isinstance(form, OpForm | BlockForm):
            runs.append((form, rows))
        else:
            runs += [(form, [row]) for row in rows]
    return runs


def _equal(a: Sequence[Slot], b: Sequence[Slot]) -> bool:
    return all(same(x.value, y.value) for x, y in zip(a, b, strict=True))


def same(a: Any, b: Any) -> bool:
    """Return whether two values are written alike; 1, 1.0 and True are not."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
