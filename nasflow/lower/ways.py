"""Walk a template once with all options of its choices live, for their mixture."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from torch import nn

from nasflow.errors import SpaceError
from nasflow.ir.bind import Binder
from nasflow.ir.compile import Block, Compiled
from nasflow.ir.expression import Scalar
from nasflow.ir.graph import Graph, Node
from nasflow.ir.operation import Applied, applied
from nasflow.ir.space import Space
from nasflow.ir.types import Type
from nasflow.lower.module import to_torch

MOST_WAYS: Final = 256
"""Combinations of decisions that one value may depend on."""

When = tuple[tuple[str, Scalar], ...]
"""Decisions and the options they have."""


class Way(NamedTuple):
    """One of the values that a place has, with the decisions that make it this one."""

    when: When
    value: int
    type: Type


Value = tuple[Way, ...]


@dataclass(frozen=True)
class Step:
    """Run module number ``module`` on values."""

    module: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Mix:
    """Sum ways by the weights of their options; with ``edges``, by those of that group of edges."""

    ways: tuple[tuple[When, int], ...]
    output: int
    edges: int = -1


@dataclass(frozen=True)
class Edges:
    """Alike pairs of an input pick and an operation choice whose results are added.

    As in DARTS every input is there once, through a mixture of all operations and of none; a point
    takes the inputs whose strongest operation is strongest, one for each pair of ``slots``.
    """

    slots: tuple[tuple[str, str], ...]
    inputs: tuple[Scalar, ...]
    options: tuple[Scalar, ...]


class Builder:
    """Walk a template and write down what to run."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed
        self.rng = random.Random(0)
        self.count = 0
        self.inputs: list[int] = []
        self.modules: list[nn.Module] = []
        self.shared: dict[tuple[str, Any], int] = {}
        self.program: list[Step | Mix] = []
        self.mixes: dict[int, Mix] = {}
        self.edges: list[Edges] = []

    # -- decisions ------------------------------------------------------------------------------

    def values(self, when: When) -> list[Any]:
        """Return decisions' values by slot; None where open."""
        known = dict(when)
        return [known.get(d.name, None if d.searched else d.default) for d in self.space.decisions]

    def open(self, function: Any, slot: int, when: When) -> list[int]:
        """Return the slots that an expression mentions and that are open."""
        slots = {slot} if slot >= 0 else set()
        if function is not None:
            slots |= {int(number) for number in re.findall(r"\bv\[(\d+)\]", function.text)}
        known = self.values(when)
        return sorted(s for s in slots if known[s] is None)

    def ways(self, where: str, function: Any, slot: int, when: When) -> Iterator[When]:
        """Yield every combination of options of what is open in an expression."""
        decisions = [self.space.decisions[s] for s in self.open(function, slot, when)]
        count = 1
        for decision in decisions:
            count *= len(decision.options)
        if count > MOST_WAYS:
            names = ", ".join(d.name for d in decisions[:3])
            raise self._unfit(where, f"{count:,} combinations of {names} ... decide here")
        for options in itertools.product(*(d.options for d in decisions)):
            yield tuple(zip((d.name for d in decisions), options, strict=True))

    def _unfit(self, where: str, reason: str) -> SpaceError:
        return SpaceError(
            f"space {self.space.name!r} has no mixture of its networks: {where}: {reason}; darts is for "
            "choices of operations and inputs"
        )

    # -- values ---------------------------------------------------------------------------------

    def fresh(self) -> int:
        """Return a new value's number."""
        self.count += 1
        return self.count - 1

    def one(self, value: Value, where: str) -> Way:
        """Return a single value: the mixture, where there are several ways."""
        if len(value) == 1 and not value[0].when:
            return value[0]
        types = {way.type for way in value}
        if len(types) > 1:
            shown = " and ".join(sorted(map(repr, types))[:2])
            names = ", ".join(dict.fromkeys(n for way in value for n, _ in way.when))
            raise self._unfit(where, f"{names}: options give different types, {shown}")
        mix = Mix(tuple((way.when, way.value) for way in value), self.fresh())
        self.program.append(mix)
        self.mixes[mix.output] = mix
        return Way((), mix.output, value[0].type)

    def run(self, key: str, weights: str, graph: Graph, inputs: Sequence[Way]) -> list[Way]:
        """Add a module and return what it gives."""
        number = self.shared.get((weights, tuple(graph.inputs)))
        if number is None:
            digest = hashlib.blake2b(f"{self.seed}/{key}".encode(), digest_size=7).digest()
            number = self.shared[weights, tuple(graph.inputs)] = len(self.modules)
            self.modules.append(to_torch(graph, seed=int.from_bytes(digest)))
        outputs = tuple(self.fresh() for _ in graph.results)
        self.program.append(Step(number, tuple(way.value for way in inputs), outputs))
        return [Way((), v, t) for v, t in zip(outputs, graph.outputs, strict=True)]

    def live(self, results: Sequence[int]) -> list[Step | Mix]:
        """Return the steps that results need."""
        needed, kept = set(results), []
        for step in reversed(self.program):
            made = (step.output,) if isinstance(step, Mix) else step.outputs
            if needed.isdisjoint(made):
                continue
            kept.append(step)
            needed |= {v for _, v in step.ways} if isinstance(step, Mix) else set(step.inputs)
        used = sorted({step.module for step in kept if isinstance(step, Step)})
        renumber = {old: new for new, old in enumerate(used)}
        self.modules = [self.modules[old] for old in used]
        return [
            step
            if isinstance(step, Mix)
            else Step(renumber[step.module], step.inputs, step.outputs)
            for step in reversed(kept)
        ]

    # -- blocks and their steps; `context` is what is decided where they stand ---------------------

    def block(
        self, block: Block, inputs: Sequence[Value], path: str, context: When = ()
    ) -> list[Value]:
        """Return the results of a block."""
        values: list[Any] = [*inputs, *[None] * (block.count - len(inputs))]
        for step in reversed(block.backward):
            run = getattr(self, f"_{step.kind}")
            made = run(step, values, f"{path}/{step.name}", context)
            values[step.first : step.first + len(made)] = made
        return [values[result] for result in block.results]

    def _input(self, step: Compiled, values: list[Any], path: str, context: When) -> list[Value]:
        assert step.attributes is not None
        if self.open(step.attributes, -1, context):
            raise self._unfit(path, "a decision sets the input's size")
        axes, dtype = step.operation
        shape = step.attributes(self.values(context), _types(values))
        self.inputs.append(self.fresh())
        return [(Way((), self.inputs[-1], Type(axes, shape, dtype)),)]

    def _op(self, step: Compiled, values: list[Any], path: str, context: When) -> list[Value]:
        given = [values[i] for i in step.inputs]
        if step.gates is not None:
            opened = self._gates(step, values, context)
            given = [value for value, passes in zip(given, opened, strict=True) if passes]
        if len(given) == 1 and len({way.type for way in given[0]}) > 1:
            made = [self._apply(step, [way], path, context + way.when) for way in given[0]]
            return [
                tuple(Way(way.when + w.when, w.value, w.type) for way, w in pairs)
                for pairs in (
                    [
                        (way, w)
                        for way, results in zip(given[0], made, strict=True)
                        for w in results[n]
                    ]
                    for n in range(step.arity)
                )
            ]
        singles = [self.one(value, path) for value in given]
        if step.operation.__name__ == "Add":
            singles = self._paired(singles)
        return self._apply(step, singles, path, context)

    def _apply(
        self, step: Compiled, inputs: Sequence[Way], path: str, context: When
    ) -> list[Value]:
        """Return the results of an operation, mixed over what its attributes leave open."""
        found: list[list[Way]] = [[] for _ in range(step.arity)]
        types = tuple(way.type for way in inputs)
        for more in self.ways(path, step.attributes, -1, context):
            if step.constants is not None:
                attributes = step.constants
            else:
                assert step.attributes is not None
                attributes = step.attributes(self.values(context + more), list(types))
            content = applied(step.operation, tuple(attributes), types)
            for results, way in zip(found, self._place(content, inputs, path, step), strict=True):
                results.append(Way(more, way.value, way.type))
        return [(self.one(tuple(ways), path),) for ways in found]

    def _place(
        self, content: Applied, inputs: Sequence[Way], path: str, step: Compiled
    ) -> list[Way]:
        if content.idle:
            return [Way((), inputs[0].value, inputs[0].type)]
        count = len(inputs)
        node = Node("layer", content, tuple(range(count)), "layer")
        results = range(count, count + len(content.outputs))
        graph = Graph("layer", content.inputs, [node], tuple(results))
        weights = f"{path.rpartition('/')[0]}/{step.weights}"
        return self.run(path, f"{weights} {content.key}", graph, inputs)

    def _gates(self, step: Compiled, values: list[Any], context: When) -> list[bool]:
        """Return which inputs may be open, whatever is still to be decided."""
        assert step.gates is not None
        slots = self.open(step.gates, -1, context)
        options = [self.space.decisions[s].options for s in slots]
        known, types = self.values(context), _types(values)
        opened = [False] * len(step.inputs)
        for _ in range(MOST_WAYS):
            for slot, choices in zip(slots, options, strict=True):
                known[slot] = self.rng.choice(choices)
            passes = step.gates(known, types)
            opened = [a or bool(b) for a, b in zip(opened, passes, strict=True)]
            if all(opened) or not slots:
                break
        return opened

    def _pick(self, step: Compiled, values: list[Any], path: str, context: When) -> list[Value]:
        found: list[Way] = []
        for more in self.ways(path, step.index, step.slot, context):
            chosen = values[step.inputs[self._number(step, values, context + more)]]
            found += [Way(more + way.when, way.value, way.type) for way in chosen]
        return [tuple(found)]

    def _number(self, step: Compiled, values: list[Any], when: When) -> int:
        known = self.values(when)
        if step.slot >= 0:
            return step.options[known[step.slot]]
        assert step.index is not None
        value = step.index(known, _types(values))
        return step.keys[type(value), value]

    def _switch(self, step: Compiled, values: list[Any], path: str, context: When) -> list[Value]:
        ways = self._joint(step.operands, values, path)
        found: list[list[Way]] = [[] for _ in range(step.arity)]
        for when, own in ways:
            known: dict[int, list[Value]] = {}  # options that take one branch share it
            for more in self.ways(path, step.index, step.slot, context + when):
                number = self._number(step, own, context + when + more)
                if number not in known:
                    inputs = [own[i] for i in step.operands[number]]
                    tag = ".".join(str(option) for _, option in when)
                    place = f"{path}_{step.names[number]}" + (f"@{tag}" if when else "")
                    known[number] = self._enter(
                        step.bodies[number], inputs, place, context + when + more
                    )
                for results, value in zip(found, known[number], strict=True):
                    way = self.one(value, path)
                    results.append(Way(when + more, way.value, way.type))
        return [tuple(results) if self._plain(results) else (self.one(tuple(results), path),)
                for results in found]  # fmt: skip

    def _plain(self, results: Sequence[Way]) -> bool:
        """Tell whether these are ways of a pick that cannot be summed yet: their types differ."""
        return len({way.type for way in results}) > 1

    def _joint(
        self, operands: Sequence[Sequence[int]], values: list[Any], path: str
    ) -> list[tuple[When, list[Any]]]:
        """Return for each way of the operand that has several what the values are then."""
        taken = dict.fromkeys(i for group in operands for i in group)
        several = [i for i in taken if len(values[i]) > 1 or values[i][0].when]
        own = list(values)
        for i in several[1:]:
            own[i] = (self.one(values[i], path),)
        if not several:
            return [((), own)]
        found = []
        for way in values[several[0]]:
            given = list(own)
            given[several[0]] = (Way((), way.value, way.type),)
            found.append((way.when, given))
        return found

    def _call(self, step: Compiled, values: list[Any], path: str, context: When) -> list[Value]:
        ((body,), (group,)) = step.bodies, step.operands
        place = f"{path.rpartition('/')[0]}/{step.weights}"
        return self._enter(body, [values[i] for i in group], place, context)

    def _enter(
        self, block: Block, inputs: Sequence[Value], path: str, context: When
    ) -> list[Value]:
        """Return an inner block's results: of one module, where nothing is open in it."""
        singles = [self.one(value, path) for value in inputs]
        known = self.values(context)
        if any(known[slot] is None for slot in block.slots):
            return self.block(block, [(way,) for way in singles], path, context)
        binder = Binder()
        binder.values = known
        graph, kept, _ = binder.bind(block, tuple(way.type for way in singles))
        given = singles if kept is None else [singles[i] for i in kept]
        if not graph.nodes:
            return [(given[result],) for result in graph.results]
        return [(way,) for way in self.run(path, path, graph, given)]

    def _repeat(self, step: Compiled, values: list[Any], path: str, context: When) -> list[Value]:
        if self.open(step.index, step.slot, context):
            raise self._unfit(path, "a decision counts repeats")
        carried = [(self.one(values[i], path),) for i in step.inputs]
        width = len(carried)
        for i in range(self._number(step, values, context)):
            captured = [values[v] for v in step.operands[i][width:]]
            inputs = [*carried, *captured]
            carried = [
                (self.one(value, path),)
                for value in self._enter(step.bodies[i], inputs, f"{path}/{i}", context)
            ]
        return list(carried)

    # -- edges -----------------------------------------------------------------------------------

    def _paired(self, inputs: list[Way]) -> list[Way]:
        """Put mixtures of alike pairs of a pick and a choice into one: DARTS's edges of a node."""
        alike: dict[Any, list[Way]] = {}
        for way in inputs:
            kind = self._pair(way)
            alike.setdefault(("alone", way.value) if kind is None else kind[1:], []).append(way)
        found = []
        for kind, ways in alike.items():
            if kind[0] == "alone" or len(ways) == 1:
                found += ways
                continue
            slots = tuple(pair[0] for way in ways if (pair := self._pair(way)))
            group = Edges(slots, *kind)
            if group not in self.edges:
                self.edges.append(group)
            mix = Mix(self.mixes[ways[0].value].ways, self.fresh(), self.edges.index(group))
            self.program.append(mix)
            found.append(Way((), mix.output, ways[0].type))
        return found

    def _pair(self, way: Way) -> tuple[tuple[str, str], Any, Any] | None:
        """Return the pick, the choice and their options that a mixture is over; None for others."""
        mix = self.mixes.get(way.value)
        names = {tuple(name for name, _ in when) for when, _ in mix.ways} if mix else set()
        if mix is None or len(names) != 1 or len(next(iter(names))) != 2:
            return None
        ((first, second),) = names
        inputs = tuple(dict.fromkeys(when[0][1] for when, _ in mix.ways))
        options = tuple(dict.fromkeys(when[1][1] for when, _ in mix.ways))
        if len(mix.ways) != len(inputs) * len(options) or first == second:
            return None
        return (first, second), inputs, options


def _types(values: Sequence[Any]) -> list[Type | None]:
    return [value[0].type if value else None for value in values]
