"""Close the decisions of compiled blocks for any point, quickly.

Binding a block at given input types and decision values is remembered: blocks of few decisions for
the life of the space, others for one point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import compress
from operator import or_
from typing import Any, Final

from nasflow.errors import NasflowError, SpaceError, TypeRuleError
from nasflow.ir.compile import Act, Block, Compiled
from nasflow.ir.expression import Scalar
from nasflow.ir.graph import REPEAT, Graph, Node, check_sharing, new_node, prune
from nasflow.ir.operation import Applied, applied
from nasflow.ir.types import Type

Bound = tuple[Graph, tuple[int, ...]]  # the graph and which of the block's inputs it uses
Part = tuple[
    Applied | Graph | None, tuple[Type, ...], tuple[int, ...] | None, str, tuple[int, ...]
]  # fmt: skip
"""What a block adds to the graph around it: a node's content and the types of its results, which of
the block's inputs it takes unless all in order, the node's origin in the block, and ``taken``. Where a
block adds nothing: None, and for each of its results which input that is."""
Kept = tuple[tuple[Part, Part], Graph, tuple[int, ...] | None]
"""What it adds as a branch and when it is called; its graph, and which inputs that uses unless all."""
Iteration = tuple[
    Applied | Graph | None, tuple[int, ...], str, tuple[int, ...], tuple[int, ...]
]  # fmt: skip
"""What a block adds to a chain: a node's content (None: nothing), which of the operands it takes, the
node's origin in the block, its ``taken``, and which of operands and results the next iteration takes."""
MEMO_LIMIT: Final = 200_000


class Binder:
    """Bind blocks to values and types; ``values`` holds a decision's value at its slot."""

    def __init__(self) -> None:
        self.lasting: list[dict[Any, Kept]] = []  # of blocks of few decisions, by what they took
        self.count = 0
        self.passing: dict[Any, Kept] = {}
        self.values: list[Scalar] = []

    def root(self, block: Block, values: list[Scalar], name: str) -> Graph:
        """Return the graph of the outermost block, whose first steps are the network's inputs."""
        self.values = values
        self.passing.clear()
        if self.count > MEMO_LIMIT:  # bounds memory in searches of many days
            for memo in self.lasting:
                memo.clear()
            self.lasting, self.count = [], 0
        return self._run(block, (), name)[0]

    def bind(self, block: Block, types: tuple[Type, ...]) -> Kept:
        """Return the block's graph at these input types."""
        memo: dict[Any, Kept] = self.passing
        given: Any = types[0] if len(types) == 1 else types
        key: Any = (block, given)
        if block.lasting:
            memo, select = block.known, block.select
            key = given if select is None else (given, select(self.values))
        found = memo.get(key)
        if found is None:
            found = _kept(*self._run(block, types, block.name), types)
            if memo is not self.passing:
                self.count += 1
                if not memo:
                    self.lasting.append(memo)
            memo[key] = found
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

    __slots__ = (
        "at", "binder", "block", "ids", "inner", "input_names", "inputs", "made", "needed", "nodes",
        "types", "values",
    )  # fmt: skip

    def __init__(self, binder: Binder, block: Block, types: tuple[Type, ...]) -> None:
        self.binder = binder
        self.block = block
        self.values = binder.values
        self.types: list[Type | None] = [*types, *[None] * (block.count - len(types))]
        self.ids: list[int] = list(range(len(types))) + [-1] * (block.count - len(types))
        self.inputs = list(types)
        self.input_names: list[str] = []
        self.nodes: list[Node] = []
        self.made = list(types)  # types of the graph's values: their ids are places in it
        self.needed = block.needed  # bits of the values that results need
        self.at: str | None = None
        self.inner = False  # whether an error has said already where in an inner block it is

    def graph(self, name: str) -> Bound:
        self._make(self._live())
        block, ids = self.block, self.ids
        arguments: Any = block.arguments
        if block.open_arguments:
            arguments = partial(_arguments, block, self.values)
        bound = prune(
            name, self.inputs, self.nodes, [ids[value] for value in block.results], self.made,
            arguments=arguments, input_names=block.input_names or self.input_names,
        )  # fmt: skip
        if block.shares:
            check_sharing(bound[0])
        else:
            bound[0].shared = frozenset()
        return bound

    def _live(self) -> list[Act]:
        """Return what is done by the steps that the results need, last one first.

        Where sizes decide, nothing is chosen yet, and all that may be needed is live.
        """
        needed, values = self.needed, self.values
        live: list[Act] = []
        for results, always, options, slot, step in self.block.backward:
            if needed & results:
                act = always
                if act is None:
                    act = options.get(values[slot]) if options else None
                    if act is None:
                        act = self._act(step)
                live.append(act)
                needed |= act[2]
        self.needed = needed
        return live

    def _act(self, step: Compiled) -> Act:
        """Return what a step does where decisions tell, but not one of them alone."""
        if step.acts:
            return step.acts[self._choice(step)]
        assert step.gates is not None
        opened = step.gates(self.values, self.types)
        return step, opened, reduce(or_, compress(step.bits, opened), 0), None

    def _choice(self, step: Compiled) -> int:
        """Return the number of the value or branch that is taken, or of iterations."""
        if step.slot >= 0:
            value = self.values[step.slot]
        else:
            assert step.index is not None
            value = step.index(self.values, self.types)
        found = step.keys.get((type(value), value))
        if found is not None:
            return found
        if step.kind == "switch":
            expected = f"one of {[option for _, option in step.keys]}"
        else:
            expected = f"an index from 0 to {len(step.keys) - 1}"
        raise SpaceError(f"{step.name}: expected {expected}, got {value!r}")

    def _make(self, live: list[Act]) -> None:
        """Do what the steps do, first ones first.

        Most enter an inner block; a branch of one node or none needs no sub-graph.
        """
        values, types, ids, made = self.values, self.types, self.ids, self.made
        passing, nodes = self.binder.passing, self.nodes
        given: Any
        inputs: tuple[int, ...]
        for step, chosen, _, entering in reversed(live):
            if entering is None:
                if chosen is None or step.kind != "pick":
                    self._do(step, chosen)
                else:
                    value, first = step.inputs[chosen], step.first
                    types[first] = types[value]
                    ids[first] = ids[value]
                continue
            operand, several, block, called, name, weights = entering
            if several is None:
                given, inputs = types[operand], (ids[operand],)
            else:
                given, inputs = several(types), several(ids)
            if block.lasting:
                select = block.select
                found = block.known.get(given if select is None else (given, select(values)))
            else:
                found = passing.get((block, given))
            if found is None:
                found = self._bind(step, block, (given,) if several is None else given)
            content, outputs, taken, origin, positions = found[0][called]
            if taken is not None:
                inputs = tuple([inputs[i] for i in taken])
            if content is None:
                self._pass_on(step, inputs)
                continue
            if origin:
                origin = f"{name}/{origin}"
            nodes.append(new_node((name, content, inputs, weights, origin, positions)))
            first = step.first
            if step.arity == 1:
                (types[first],) = outputs
                ids[first] = len(made)
                made += outputs
            else:
                self._results(first, outputs)

    def _do(self, step: Compiled, chosen: Any) -> None:
        try:
            RUN[step.kind](self, step, chosen)
        except NasflowError:
            self.at = step.name
            raise

    def _bind(self, step: Compiled, block: Block, given: tuple[Type, ...]) -> Kept:
        try:
            return self.binder.bind(block, given)
        except NasflowError:
            self.at, self.inner = step.name, True
            raise

    def _pass_on(self, step: Compiled, values: Sequence[int]) -> None:
        """Give values that there are already as a step's results."""
        for result, value in enumerate(values, start=step.first):
            self.types[result], self.ids[result] = self.made[value], value

    # -- what the kinds of steps do ---------------------------------------------------------------

    def _add(self, step: Compiled, node: Node) -> None:
        self.nodes.append(node)
        self._results(step.first, node.content.outputs)

    def _results(self, value: int, outputs: tuple[Type, ...]) -> None:
        types, ids, made = self.types, self.ids, self.made
        for output in outputs:
            types[value] = output
            ids[value] = len(made)
            made.append(output)
            value += 1

    def _input(self, step: Compiled, chosen: None) -> None:
        assert step.attributes is not None
        axes, dtype = step.operation
        try:
            shape = step.attributes(self.values, self.types)
        except (ArithmeticError, TypeError) as error:
            raise SpaceError(f"{step.name}: cannot compute its shape: {error}") from None
        type_ = Type(axes, shape, dtype)
        if self.nodes:
            raise SpaceError("inputs must be declared before anything is computed")
        self.inputs.append(type_)
        self.input_names.append(step.name)
        self._results(step.first, (type_,))

    def _op(self, step: Compiled, opened: tuple[Any, ...] | None) -> None:
        inputs = step.inputs
        taken: tuple[int, ...] = ()
        if step.gates is not None:
            if opened is None:
                opened = step.gates(self.values, self.types)
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
        if content.idle and (not any(taken[:1]) or content.op.commutative):
            self._pass_on(step, [ids[inputs[0]]])
            return  # one that is left of a concatenation stays, as where it stood is known there
        values = tuple([ids[i] for i in inputs])
        self._add(step, new_node((step.name, content, values, step.weights, "", taken)))

    def _choose(self, step: Compiled, chosen: None) -> None:
        """Take the value or branch that sizes choose."""
        self._make([step.acts[self._choice(step)]])

    def _repeat(self, step: Compiled, count: int | None) -> None:
        """Bind the first iterations as a sub-graph that chains them."""
        if count is None:
            count = self._choice(step)
        width = len(step.inputs)
        outer: dict[int, int] = {}  # captured value -> input of the sub-graph
        for group in step.operands[:count]:
            for value in group[width:]:
                outer.setdefault(value, width + len(outer))
        values = (*step.inputs, *outer)
        types: list[Any] = [self.types[i] for i in values]
        chain = _Chain(types, width)
        before: tuple[Block, tuple[Type, ...]] | None = None
        for i, (block, group) in enumerate(zip(step.bodies[:count], step.operands, strict=False)):
            operands = chain.carry + [outer[value] for value in group[width:]]
            given = tuple([chain.made[k] for k in operands])
            if (block, given) != before:  # equal blocks at equal types give equal graphs
                try:
                    found = self.binder.bind(block, given)
                except (TypeRuleError, SpaceError) as error:
                    raise type(error)(f"{i}/{error}") from None
                iteration, before = _iteration(found, len(given)), (block, given)
            chain.add(str(i), iteration, operands)
        # A value that nobody needs is no result: iterations that only feed it are not part either.
        needed = self.needed >> step.first
        wanted = [i for i in range(width) if needed >> i & 1]
        results = [chain.carry[position] for position in wanted]
        graph, used = prune(
            step.name, types, chain.nodes, results, chain.made, kind=REPEAT,
            input_names=_input_names(step, len(types)),
        )  # fmt: skip
        if not graph.nodes:  # what is needed was only passed on
            for position, result in zip(wanted, results, strict=True):
                value = self.ids[values[result]]
                self.types[step.first + position] = self.made[value]
                self.ids[step.first + position] = value
            return
        inputs = tuple([self.ids[values[i]] for i in used])
        self.nodes.append(Node(step.name, graph, inputs, step.weights))
        for position, output in zip(wanted, graph.outputs, strict=True):
            self._results(step.first + position, (output,))


def _input_names(step: Compiled, count: int) -> list[str]:
    """Return what a repeat's inputs are called: as those of its first iteration."""
    called = list(step.bodies[0].input_names[: len(step.inputs)]) if step.bodies else []
    called += [name for i in range(count) if (name := f"x{i}") not in called]
    return called[:count]


class _Chain:
    """The iterations of a repeat so far: ``carry`` are the values that the next one takes."""

    def __init__(self, types: list[Any], width: int) -> None:
        self.nodes: list[Node] = []
        self.carry = list(range(width))
        self.made = list(types)  # types of all values, by their ids

    def add(self, name: str, iteration: Iteration, operands: list[int]) -> None:
        """Append an iteration; one without nodes only passes values on."""
        content, taken, origin, positions, results = iteration
        values = operands
        if content is not None:
            first = len(self.made)
            self.made += content.outputs
            values = [*operands, *range(first, len(self.made))]
            inputs = tuple([operands[k] for k in taken])
            origin = origin and f"{name}/{origin}"
            self.nodes.append(new_node((name, content, inputs, name, origin, positions)))
        self.carry = [values[result] for result in results]


def _iteration(found: Kept, count: int) -> Iteration:
    """Return what a block adds to a chain, of as many operands."""
    _, graph, used = found
    every = tuple(range(count)) if used is None else used
    content: Applied | Graph | None = graph
    taken, origin = every, ""
    positions: tuple[int, ...] = ()
    results: Sequence[int] = range(len(every), len(every) + len(graph.results))
    if len(graph.nodes) < 2:  # none, or one beside values that are only passed on
        content, taken, results = None, (), graph.results
        for node in graph.nodes:
            content, origin, positions = node.content, node.origin or node.name, node.taken
            taken = tuple([every[k] for k in node.inputs])
    made = count - len(every)  # results are numbered after all operands, not after those used
    given = tuple([every[r] if r < len(every) else r + made for r in results])
    return content, taken, origin, positions, given


RUN: Final[dict[str, Callable[[_Run, Compiled, Any], None]]] = {
    "input": _Run._input,
    "op": _Run._op,
    "pick": _Run._choose,
    "repeat": _Run._repeat,
    "switch": _Run._choose,
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


def _kept(graph: Graph, kept: tuple[int, ...], types: tuple[Type, ...]) -> Kept:
    """Return all that is remembered of a block's graph; ``kept`` are the inputs that it uses."""
    used = kept if len(kept) < len(types) else None
    called: Part = graph, graph.outputs, used, "", ()
    if not graph.nodes:
        called = None, (), tuple([kept[result] for result in graph.results]), "", ()
    return (_single(graph, kept, types) or called, called), graph, used


def _single(graph: Graph, kept: tuple[int, ...], types: tuple[Type, ...]) -> Part | None:
    """Return the only node of a graph that is nothing but that node, else None."""
    if len(graph.nodes) != 1:
        return None
    node = graph.nodes[0]
    start = len(graph.inputs)
    if graph.results != tuple(range(start, start + len(node.content.outputs))):
        return None
    taken = tuple([kept[i] for i in node.inputs])
    every = taken == tuple(range(len(types)))
    origin = node.origin or node.name
    return node.content, graph.outputs, None if every else taken, origin, node.taken
