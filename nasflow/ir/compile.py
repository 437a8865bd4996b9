"""Compile the traced blocks of a space once; equal ones become one object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from nasflow.ir.expression import (
    FUNCTIONS,
    Decision,
    Dimension,
    Expression,
    Operand,
    Scalar,
    leaves,
    to_python,
)
from nasflow.ir.trace import Body, Step, operands
from nasflow.ir.types import Type

Evaluator = Callable[[Sequence[Scalar], Sequence[Type | None]], Any]
Entering = tuple[int, Callable[[Sequence[Any]], tuple[Any, ...]] | None, "Block", bool, str, str]
"""To enter an inner block: its operand, or what takes its operands where there is not just one; the
block, whether it is called, and name and weights of the node."""
Act = tuple["Compiled", Any, int, Entering | None]
"""What a step does: the step, what is chosen (which value or branch, how many iterations, which of
its inputs are open; None while that is open), the bits of the values it may need, and the block it
enters."""
Row = tuple[int, Act | None, dict[Scalar, Act], int, "Compiled"]
"""A step as far as it is to be known whether it is live: the bits of its results, what it does where
that is not to be chosen before sizes are known, what it does at each value of the decision that has
this slot in a point, and the step."""
LASTING_SLOTS: Final = 4
"""Blocks that mention at most so many decisions recur from point to point (a convolution whose
stride depends on a pick); those that mention more, such as a cell, hardly ever do."""


@dataclass(slots=True)
class Compiled:
    """A step made ready: value ids for values, Python functions for expressions."""

    kind: str
    name: str
    first: int  # id of its first result
    arity: int
    inputs: tuple[int, ...]
    gates: Evaluator | None = None  # which of the inputs are open; None when none is gated
    operation: Any = None
    constants: tuple[Scalar, ...] | None = None
    attributes: Evaluator | None = None
    index: Evaluator | None = None  # which value, branch, or how many iterations
    keys: dict[tuple[type, Scalar], int] = field(default_factory=dict)  # what it may be
    slot: int = -1  # where that is simply a decision's value
    options: dict[Scalar, Act] = field(default_factory=dict)  # and what it does at its options
    names: tuple[str, ...] = ()  # of its node, for each branch of a switch
    bodies: tuple[Block, ...] = ()
    operands: tuple[tuple[int, ...], ...] = ()  # for each body (or pick), the values it takes
    acts: tuple[Act, ...] = ()  # of a switch, pick or repeat, by what is chosen
    bits: tuple[int, ...] = ()  # those of its inputs
    sizes: tuple[int, ...] = ()  # values whose sizes its expressions mention
    weights: str = ""


@dataclass(slots=True, eq=False)
class Block:
    """A compiled body. ``slots`` are the decisions that it and its inner blocks mention."""

    name: str
    backward: tuple[Row, ...]  # its steps, last one first
    results: tuple[int, ...]
    needed: int  # the bits of its results
    count: int  # number of value ids
    slots: tuple[int, ...]
    arguments: dict[str, Scalar]
    input_names: tuple[str, ...]
    open_arguments: dict[str, Evaluator]  # decisions they mention need not be among the slots
    shares: bool  # whether some of its steps share weights
    lasting: bool  # whether what it becomes is worth remembering from point to point
    select: Callable[[Sequence[Scalar]], Any] | None  # the values of its slots
    known: dict[Any, Any] = field(default_factory=dict)  # see nasflow.ir.bind.Binder


class Compiler:
    """Turn the traced bodies of one space into blocks, equal ones into the same object."""

    def __init__(self, slots: dict[int, int]) -> None:
        self.slots = slots  # id(decision) -> position in a point's value list
        self.blocks: dict[tuple[Any, ...], Block] = {}
        self.compiled: dict[int, Block] = {}
        self.mentioned: set[int] = set()

    def block(self, body: Body) -> Block:
        """Return the block of a traced body."""
        known = self.compiled.get(id(body))  # the iterations of a repeat may be one body
        if known is None:
            known = self.compiled[id(body)] = self._block(body)
        self.mentioned.update(known.slots)
        return known

    def _block(self, body: Body) -> Block:
        outer, self.mentioned = self.mentioned, set()
        ids: dict[tuple[int, int], int] = {}
        for step in body.formals:
            ids[step.order, 0] = len(ids)
        for value in body.captured:
            ids[value.step.order, value.index] = len(ids)
        formals = len(ids)
        names = _unique_names(body.steps)
        owners: dict[object, str] = {}
        plain = {k: v for k, v in body.arguments.items() if not isinstance(v, Expression)}
        key: list[Any] = [body.name, formals, tuple(sorted(plain.items(), key=str))]
        steps = []
        for step, name in zip(body.steps, names, strict=True):
            first = len(ids)
            for i in range(step.arity):
                ids[step.order, i] = len(ids)
            weights = name if step.shared is None else owners.setdefault(step.shared, name)
            compiled, part = self._step(step, name, weights, first, ids)
            steps.append(compiled)
            key.append((*part, weights))
        results = tuple(ids[value.step.order, value.index] for value in body.outputs)
        key.append(results)
        mentioned, self.mentioned = self.mentioned, outer
        found = self.blocks.get(tuple(key))
        if found is None:
            slots = tuple(sorted(mentioned))
            found = Block(
                body.name, tuple(map(_row, reversed(steps))), results, bits(results), len(ids), slots,
                plain, body.input_names, self._open_arguments(body),
                any(step.weights != step.name for step in steps),
                len(slots) <= LASTING_SLOTS, itemgetter(*slots) if slots else None,
            )  # fmt: skip
            self.blocks[tuple(key)] = found
        return found

    def _step(
        self, step: Step, name: str, weights: str, first: int, ids: dict[tuple[int, int], int]
    ) -> tuple[Compiled, tuple[Any, ...]]:
        inputs = tuple([ids[value.step.order, value.index] for value, _ in step.inputs])
        bodies = tuple([self.block(body) for body in step.bodies])
        made = Compiled(
            step.kind, name, first, step.arity, inputs, names=(name,), bodies=bodies,
            weights=weights,
        )  # fmt: skip
        sizes: set[int] = set()
        texts: list[str] = []

        def function(operand: Operand) -> _Function:
            texts.append(to_python(operand, lambda leaf: self._leaf(leaf, ids, sizes)))
            return _Function(texts[-1])

        gates = tuple([True if gate is None else gate for _, gate in step.inputs])
        if step.kind == "op":
            made.operation = type(step.payload)
            attributes = step.payload.attributes()
            if step.open:
                made.attributes = function(attributes)
            else:
                made.constants = attributes
                texts.append(repr(attributes))
            if any(gate is not True for gate in gates):
                made.gates = function(gates)
        elif step.kind == "input":
            axes, shape, dtype = step.payload
            made.attributes, made.operation = function(tuple(shape)), (axes, dtype)
            texts.append(repr(made.operation))
        elif step.kind != "call":
            (operand,) = operands(step)
            made.index = function(operand)
            _choose(made, step)
            texts.append(repr(tuple(made.keys)))
            if isinstance(operand, Decision):
                made.slot = self.slots[id(operand)]
        if step.kind == "pick":
            made.operands = tuple([(value,) for value in inputs])
        else:
            made.operands = tuple([
                inputs + tuple([ids[value.step.order, value.index] for value in body.captured])
                for body in step.bodies
            ])  # fmt: skip
        made.sizes = tuple(sorted(sizes))
        made.bits = tuple([1 << value for value in inputs])
        made.acts = tuple(_acts(made))
        if made.slot >= 0 and made.acts:
            assert isinstance(operand, Decision)
            numbers = {o: made.keys.get((type(o), o)) for o in operand.options}
            made.options = {o: made.acts[n] for o, n in numbers.items() if n is not None}
        part = (
            step.kind, name, inputs, tuple(texts), made.operation, made.operands,
            tuple([id(block) for block in bodies]), made.gates is None, step.arity,
        )  # fmt: skip
        return made, part

    def _open_arguments(self, body: Body) -> dict[str, Evaluator]:
        """Return the block's settings that decisions decide; they only name things in source."""
        found: dict[str, Evaluator] = {}
        for name, value in body.arguments.items():
            if isinstance(value, Expression) and all(id(d) in self.slots for d in leaves(value)):
                found[name] = _Function(to_python(value, lambda d: f"v[{self.slots[id(d)]}]"))
        return found

    def _leaf(
        self, leaf: Decision | Dimension, ids: dict[tuple[int, int], int], sizes: set[int]
    ) -> str:
        if isinstance(leaf, Decision):
            slot = self.slots[id(leaf)]
            self.mentioned.add(slot)
            return f"v[{slot}]"
        value = leaf.value
        number = ids[value.step.order, value.index]
        sizes.add(number)
        return f"t[{number}].size({leaf.axis!r})"


def _choose(made: Compiled, step: Step) -> None:
    """Set what the index of a switch, pick or repeat may be."""
    if step.kind == "switch":
        made.keys = {(type(key), key): i for i, key in enumerate(step.payload[1])}
        # A condition's branches go by its own name: `downsample`, not `downsample_true`.
        plain = {"true": made.name, "false": f"{made.name}_else"}
        made.names = tuple([plain.get(b.name) or f"{made.name}_{b.name}" for b in made.bodies])
    else:
        limit = len(made.bodies) + 1 if step.kind == "repeat" else len(made.inputs)
        made.keys = {(int, i): i for i in range(limit)}


def bits(values: Iterable[int]) -> int:
    """Return a set of values as the bits of an integer."""
    found = 0
    for value in values:
        found |= 1 << value
    return found


def _row(made: Compiled) -> Row:
    return (
        bits(range(made.first, made.first + made.arity)),
        _always(made),
        made.options,
        made.slot,
        made,
    )


def _always(made: Compiled) -> Act | None:
    """Return what a step does whatever is decided, as far as known; None where decisions tell."""
    if made.kind == "call":
        (entering,) = _entering(made)
        return made, 0, bits(made.operands[0]), entering
    if made.sizes or made.kind == "input" or (made.kind == "op" and made.gates is None):
        return made, None, bits([*made.inputs, *chain(*made.operands), *made.sizes]), None
    return None


def _acts(made: Compiled) -> Iterator[Act]:
    if made.kind == "switch":
        for number, entering in enumerate(_entering(made)):
            yield made, number, bits(made.operands[number]), entering
    elif made.kind == "pick":
        for number, value in enumerate(made.inputs):
            yield made, number, bits([value]), None
    elif made.kind == "repeat":
        for count in range(len(made.bodies) + 1):
            yield made, count, bits([*made.inputs, *chain(*made.operands[:count])]), None


def _entering(made: Compiled) -> list[Entering]:
    called = made.kind == "call"
    entered = zip(made.operands, made.bodies, made.names, strict=True)
    return [
        # Branches have no weights that others could share.
        (*_operands(values), block, called, name, made.weights if called else name)
        for values, block, name in entered
    ]


def _operands(
    values: tuple[int, ...],
) -> tuple[int, Callable[[Sequence[Any]], tuple[Any, ...]] | None]:
    if len(values) == 1:
        return values[0], None
    return -1, itemgetter(*values) if values else lambda _: ()


class _Function:
    """An expression compiled when it is first computed: most branches of a space never are."""

    __slots__ = ("code", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.code: Evaluator | None = None

    def __call__(self, values: Sequence[Scalar], types: Sequence[Type | None]) -> Any:
        if self.code is None:
            self.code = _function(self.text)
        return self.code(values, types)


@lru_cache(10_000)
def _function(text: str) -> Evaluator:
    # The text comes from to_python over the closed language only, never from stored data.
    code: Evaluator = eval(f"lambda v, t: {text}", {"F": FUNCTIONS, "__builtins__": {}})
    return code


def _unique_names(steps: Sequence[Step]) -> list[str]:
    """Return the steps' names, later ones of the same name numbered from 2."""
    seen: dict[str, int] = {}
    taken = {step.name for step in steps}
    names = []
    for step in steps:
        seen[step.name] = seen.get(step.name, 0) + 1
        name = step.name
        if seen[step.name] > 1:
            while (name := f"{step.name}_{seen[step.name]}") in taken:
                seen[step.name] += 1
        names.append(name)
    return names
