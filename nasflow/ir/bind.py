"""Compile traced blocks once, then close their decisions for any point quickly.

Equal blocks of a space become one object. Binding a block at given input types and decision values
is remembered: blocks of few decisions for the life of the space, others for one point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import compress
from typing import Any, Final

from nasflow.errors import NasflowError, SpaceError, TypeRuleError
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
from nasflow.ir.graph import BLOCK, REPEAT, Graph, Node, check_sharing, prune
from nasflow.ir.operation import Applied, applied
from nasflow.ir.trace import Body, Step, operands
from nasflow.ir.types import Type

Evaluator = Callable[[Sequence[Scalar], Sequence[Type | None]], Any]
Bound = tuple[Graph, tuple[int, ...]]  # the graph and which of the block's inputs it uses
Kept = tuple[Graph, tuple[int, ...], Node | None]  # and its only node, where it is nothing else
MEMO_LIMIT: Final = 200_000
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
    gates: tuple[Evaluator | None, ...] = ()  # of the inputs; () when none is gated
    operation: Any = None
    constants: tuple[Scalar, ...] | None = None
    attributes: Evaluator | None = None
    index: Evaluator | None = None  # which value, branch, or how many iterations
    slot: int = -1  # where that is simply a decision's value
    names: tuple[str, ...] = ()  # of a switch's node, for each branch
    keys: dict[tuple[type, Scalar], int] = field(default_factory=dict)
    bodies: tuple[Block, ...] = ()
    operands: tuple[tuple[int, ...], ...] = ()  # for each body, the values it takes
    sizes: tuple[int, ...] = ()  # values whose sizes its expressions mention
    weights: str = ""


@dataclass(slots=True, eq=False)
class Block:
    """A compiled body. ``slots`` are the decisions that it and its inner blocks mention."""

    name: str
    formals: int
    steps: tuple[Compiled, ...]
    results: tuple[int, ...]
    count: int  # number of value ids
    slots: tuple[int, ...]
    arguments: dict[str, Scalar]
    typed: bool  # whether sizes choose between its steps
    input_names: tuple[str, ...]
    open_arguments: dict[str, Evaluator]  # decisions they mention need not be among the slots
    shares: bool  # whether some of its steps share weights


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
            compiled, part = self._step(step, name, first, ids)
            compiled.weights = weights
            steps.append(compiled)
            key.append((*part, weights))
        results = tuple(ids[value.step.order, value.index] for value in body.outputs)
        key.append(results)
        mentioned, self.mentioned = self.mentioned, outer
        found = self.blocks.get(tuple(key))
        if found is None:
            typed = any(step.sizes and step.kind != "op" for step in steps)
            found = Block(
                body.name, formals, tuple(steps), results, len(ids), tuple(sorted(mentioned)),
                plain, typed, body.input_names, self._open_arguments(body),
                any(step.weights != step.name for step in steps),
            )  # fmt: skip
            self.blocks[tuple(key)] = found
        return found

    def _step(
        self, step: Step, name: str, first: int, ids: dict[tuple[int, int], int]
    ) -> tuple[Compiled, tuple[Any, ...]]:
        inputs = tuple(ids[value.step.order, value.index] for value, _ in step.inputs)
        bodies = tuple(self.block(body) for body in step.bodies)
        compiled = Compiled(step.kind, name, first, step.arity, inputs, bodies=bodies)
        sizes: set[int] = set()
        texts: list[str] = []

        def text(operand: Operand) -> str:
            texts.append(to_python(operand, lambda leaf: self._leaf(leaf, ids, sizes)))
            return texts[-1]

        if any(gate is not None for _, gate in step.inputs):
            compiled.gates = tuple(
                None if gate is None else _Function(text(gate)) for _, gate in step.inputs
            )
        if step.kind == "op":
            compiled.operation = type(step.payload)
            attributes = step.payload.attributes()
            if operands(step):
                compiled.attributes = _Function(text(attributes))
            else:
                compiled.constants = attributes
                texts.append(repr(attributes))
        elif step.kind == "input":
            axes, shape, dtype = step.payload
            compiled.attributes, compiled.operation = _Function(text(tuple(shape))), (axes, dtype)
            texts.append(repr((axes, dtype)))
        elif step.kind != "call":
            (operand,) = operands(step)
            compiled.index = _Function(text(operand))
            if isinstance(operand, Decision):
                compiled.slot = self.slots[id(operand)]
        if step.kind == "switch":
            compiled.keys = {(type(k), k): i for i, k in enumerate(step.payload[1])}
            texts.append(repr(step.payload[1]))
            # A condition's branches go by its own name: `downsample`, not `downsample_true`.
            plain = {"true": name, "false": f"{name}_else"}
            compiled.names = tuple(plain.get(b.name) or f"{name}_{b.name}" for b in bodies)
        compiled.operands = tuple(
            inputs + tuple(ids[value.step.order, value.index] for value in body.captured)
            for body in step.bodies
        )
        compiled.sizes = tuple(sorted(sizes))
        part = (
            step.kind, name, inputs, tuple(texts), compiled.operation, compiled.operands,
            tuple(map(id, bodies)), tuple(gate is None for _, gate in step.inputs), step.arity,
        )  # fmt: skip
        return compiled, part

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


class Binder:
    """Bind blocks to values and types; ``values`` holds a decision's value at its slot."""

    def __init__(self) -> None:
        self.lasting: dict[tuple[Any, ...], Kept] = {}
        self.passing: dict[tuple[Any, ...], Kept] = {}
        self.values: list[Scalar] = []

    def root(self, block: Block, values: list[Scalar], name: str) -> Graph:
        """Return the graph of the outermost block, whose first steps are the network's inputs."""
        self.values = values
        self.passing.clear()
        if len(self.lasting) > MEMO_LIMIT:  # bounds memory in searches of many days
            self.lasting.clear()
        return self._run(block, (), name)[0]

    def bind(self, block: Block, types: tuple[Type, ...]) -> Kept:
        """Return the block's graph at these input types."""
        values = self.values
        memo = self.passing
        key: tuple[Any, ...] = (block, types)
        if len(block.slots) <= LASTING_SLOTS:
            memo = self.lasting
            key = (block, types, tuple([values[slot] for slot in block.slots]))
        found = memo.get(key)
        if found is None:
            graph, kept = self._run(block, types, block.name)
            found = memo[key] = graph, kept, _single(graph)
        return found

    def _run(self, block: Block, types: tuple[Type, ...], name: str) -> Bound:
        run = _Run(self, block, types)
        try:
            return run.graph(name)
        except NasflowError as error:
            if not isinstance(error, TypeRuleError) and not isinstance(error, SpaceError):
                raise
            if run.at is None:
                raise
            separator = "/" if run.inner else ": "
            raise type(error)(f"{run.at}{separator}{error}") from None


class _Run:
    """One binding of one block: which steps are live, then their types in order."""

    def __init__(self, binder: Binder, block: Block, types: tuple[Type, ...]) -> None:
        self.binder = binder
        self.block = block
        self.values = binder.values
        self.types: list[Type | None] = [*types, *[None] * (block.count - len(types))]
        self.ids: list[int] = list(range(len(types))) + [-1] * (block.count - len(types))
        self.inputs = list(types)
        self.input_names: list[str] = []
        self.nodes: list[Node] = []
        self.next = len(types)
        self.at: str | None = None
        self.inner = False
        self.choices: dict[int, int] = {}  # of picks and switches, by their first result

    def graph(self, name: str) -> Bound:
        needed = self._needed()
        for step in self.block.steps:
            first, arity = step.first, step.arity
            if needed[first] or (arity > 1 and any(needed[first : first + arity])):
                self.at = step.name
                RUN[step.kind](self, step)
        self.at = None
        results = [self.ids[value] for value in self.block.results]
        settings: dict[str, Any] = {"arguments": self.block.arguments}
        if self.block.open_arguments:
            settings["arguments"] = partial(_arguments, self.block, self.values)
        settings["input_names"] = self.block.input_names or tuple(self.input_names)
        bound = prune(name, self.inputs, self.nodes, results, kind=BLOCK, **settings)
        if self.block.shares:
            check_sharing(bound[0])
        return bound

    def _needed(self) -> bytearray:
        """Mark the values that the results need; where sizes decide, all that may be needed."""
        needed = bytearray(self.block.count)
        for value in self.block.results:
            needed[value] = 1
        for step in reversed(self.block.steps):
            first, arity = step.first, step.arity
            if not (needed[first] or (arity > 1 and any(needed[first : first + arity]))):
                continue
            if step.sizes:
                for value in step.sizes:
                    needed[value] = 1
            elif step.kind == "pick":
                chosen = self.choices[first] = self._index(step)
                needed[step.inputs[chosen]] = 1
                continue
            for value in self._reads(step):
                needed[value] = 1
        return needed

    def _reads(self, step: Compiled) -> Sequence[int]:
        kind = step.kind
        if kind == "op" or kind == "call":
            if step.gates and not step.sizes:
                return list(compress(step.inputs, self._open(step)))
            return step.operands[0] if kind == "call" else step.inputs
        if kind == "input":
            return ()
        if step.sizes:
            return [value for group in (step.inputs, *step.operands) for value in group]
        if kind == "switch":
            chosen = self.choices[step.first] = self._branch(step)
            return step.operands[chosen]
        count = self._index(step)
        return [value for group in (step.inputs, *step.operands[:count]) for value in group]

    def _open(self, step: Compiled) -> list[bool]:
        values, types = self.values, self.types
        return [gate is None or bool(gate(values, types)) for gate in step.gates]

    def _choice(self, step: Compiled) -> Any:
        if step.slot >= 0:
            return self.values[step.slot]
        assert step.index is not None
        return step.index(self.values, self.types)

    def _index(self, step: Compiled) -> int:
        index = self._choice(step)
        limit = len(step.bodies) + 1 if step.kind == "repeat" else len(step.inputs)
        if type(index) is not int or not 0 <= index < limit:
            raise SpaceError(f"{step.name}: expected an index from 0 to {limit - 1}, got {index!r}")
        return index

    def _branch(self, step: Compiled) -> int:
        key = self._choice(step)
        try:
            return step.keys[type(key), key]
        except KeyError:
            options = [option for _, option in step.keys]
            raise SpaceError(f"{step.name}: expected one of {options}, got {key!r}") from None

    # -- one method for each kind of step ---------------------------------------------------------

    def _add(self, step: Compiled, node: Node) -> None:
        self.nodes.append(node)
        value = step.first
        for output in node.content.outputs:
            self.types[value] = output
            self.ids[value] = self.next
            self.next += 1
            value += 1

    def _alias(self, step: Compiled, position: int, value: int) -> None:
        self.types[step.first + position] = self.types[value]
        self.ids[step.first + position] = self.ids[value]

    def _input(self, step: Compiled) -> None:
        assert step.attributes is not None
        axes, dtype = step.operation
        type_ = Type(axes, step.attributes(self.values, self.types), dtype)
        if self.nodes:
            raise SpaceError("inputs must be declared before anything is computed")
        self.inputs.append(type_)
        self.input_names.append(step.name)
        self.types[step.first] = type_
        self.ids[step.first] = self.next
        self.next += 1

    def _op(self, step: Compiled) -> None:
        inputs = step.inputs
        taken: tuple[int, ...] = ()
        if step.gates:
            opened = self._open(step)
            if not all(opened):
                taken = tuple(compress(range(len(inputs)), opened))
                inputs = tuple([inputs[i] for i in taken])
        if step.constants is not None:
            attributes = step.constants
        else:
            assert step.attributes is not None
            try:
                attributes = step.attributes(self.values, self.types)
            except (ArithmeticError, TypeError) as error:
                raise SpaceError(f"cannot compute its attributes: {error}") from None
        types, ids = self.types, self.ids
        content = applied(step.operation, attributes, tuple([types[i] for i in inputs]))  # type: ignore[misc]
        if content.idle:
            self._alias(step, 0, inputs[0])
            return
        values = tuple([ids[i] for i in inputs])
        self._add(step, Node(step.name, content, values, step.weights, "", taken))

    def _call(self, step: Compiled) -> None:
        self._enter(step, step.bodies[0], step.operands[0], step.name, keep=True)

    def _pick(self, step: Compiled) -> None:
        chosen = self.choices.get(step.first)
        value = step.inputs[self._index(step) if chosen is None else chosen]
        self.types[step.first] = self.types[value]
        self.ids[step.first] = self.ids[value]

    def _switch(self, step: Compiled) -> None:
        chosen = self.choices.get(step.first)
        if chosen is None:
            chosen = self._branch(step)
        block = step.bodies[chosen]
        self._enter(step, block, step.operands[chosen], step.names[chosen], keep=False)

    def _enter(
        self, step: Compiled, block: Block, operands: tuple[int, ...], name: str, *, keep: bool
    ) -> None:
        """Bind an inner block and add it; a branch of one node or none needs no sub-graph."""
        self.inner = True
        types = self.types
        graph, kept, single = self.binder.bind(block, tuple([types[i] for i in operands]))  # type: ignore[misc]
        self.inner = False
        values = [operands[i] for i in kept] if len(kept) < len(operands) else operands
        if not graph.nodes:
            for position, result in enumerate(graph.results):
                self._alias(step, position, values[result])
            return
        ids = self.ids
        inputs = tuple([ids[i] for i in values])
        if keep or single is None:
            self._add(step, Node(name, graph, inputs, step.weights if keep else name))
        else:
            taken = tuple([inputs[i] for i in single.inputs])
            origin = f"{name}/{single.origin or single.name}"
            self._add(step, Node(name, single.content, taken, name, origin, single.taken))

    def _repeat(self, step: Compiled) -> None:
        """Bind the first iterations as a sub-graph that chains them."""
        count = self._index(step)
        width = len(step.inputs)
        outer: dict[int, int] = {}  # captured value -> input of the sub-graph
        for group in step.operands[:count]:
            for value in group[width:]:
                outer.setdefault(value, width + len(outer))
        types = [self.types[i] for i in (*step.inputs, *outer)]
        carry = list(range(width))
        carried = types[:width]
        nodes: list[Node] = []
        total = len(types)
        for i, (block, group) in enumerate(zip(step.bodies[:count], step.operands, strict=False)):
            captured = [outer[value] for value in group[width:]]
            arguments = carried + [types[value] for value in captured]
            try:
                graph, kept, _ = self.binder.bind(block, tuple(arguments))  # type: ignore[arg-type]
            except (TypeRuleError, SpaceError) as error:
                raise type(error)(f"{i}/{error}") from None
            operands = [(carry + captured)[k] for k in kept]
            if not graph.nodes:
                carry, carried = (
                    [operands[r] for r in graph.results],
                    [graph.inputs[r] for r in graph.results],
                )
                continue
            content: Applied | Graph = graph
            taken, origin = operands, ""
            positions: tuple[int, ...] = ()
            made = [*operands, *range(total, total + len(graph.results))]
            carry = made[len(operands) :]
            if len(graph.nodes) == 1:  # one node, beside values that are only passed on
                (single,) = graph.nodes
                content, taken = single.content, [operands[k] for k in single.inputs]
                origin, positions = f"{i}/{single.origin or single.name}", single.taken
                made = [*operands, *range(total, total + len(content.outputs))]
                carry = [made[result] for result in graph.results]
            nodes.append(Node(str(i), content, tuple(taken), str(i), origin, positions))
            carried = list(graph.outputs)
            total += len(content.outputs)
        if not nodes:
            for position, result in enumerate(carry):
                self._alias(step, position, (*step.inputs, *outer)[result])
            return
        called = list(step.bodies[0].input_names[:width])
        called += [name for i in range(len(types)) if (name := f"x{i}") not in called]
        settings: dict[str, Any] = {"kind": REPEAT, "input_names": called[: len(types)]}
        graph, kept = prune(step.name, types, nodes, carry, **settings)  # type: ignore[arg-type]
        values = (*step.inputs, *outer)
        used = tuple([self.ids[values[i]] for i in kept])
        self._add(step, Node(step.name, graph, used, step.weights))


RUN: Final[dict[str, Callable[[_Run, Compiled], None]]] = {
    "call": _Run._call,
    "input": _Run._input,
    "op": _Run._op,
    "pick": _Run._pick,
    "repeat": _Run._repeat,
    "switch": _Run._switch,
}


def _arguments(block: Block, values: Sequence[Scalar]) -> dict[str, Scalar]:
    """Return the settings that a block was built with, at a point's values."""
    found = dict(block.arguments)
    for name, evaluate in block.open_arguments.items():
        try:
            value = evaluate(values, ())
        except (ArithmeticError, LookupError, TypeError):  # a decision that is inactive here
            continue
        if isinstance(value, (bool, int, float, str)):
            found[name] = value
    return found


def _single(graph: Graph) -> Node | None:
    """Return the only node of a graph that is nothing but that node, else None."""
    if len(graph.nodes) != 1:
        return None
    node = graph.nodes[0]
    start = len(graph.inputs)
    results = tuple(range(start, start + len(node.content.outputs)))
    return node if graph.results == results else None
