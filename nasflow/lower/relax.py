"""Walk a template once with all options of its choices live, for their mixture."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from torch import nn

from nasflow.errors import NasflowError, SpaceError
from nasflow.ir.bind import Binder
from nasflow.ir.compile import Block, Compiled
from nasflow.ir.expression import Scalar
from nasflow.ir.graph import Graph, alone
from nasflow.ir.operation import Applied, applied
from nasflow.ir.space import Space
from nasflow.ir.types import Type
from nasflow.lower.edges import paired
from nasflow.lower.module import to_torch
from nasflow.lower.program import Edges, Mix, Run, Value, Way, When, differ, tag, telling, together

MOST_WAYS: Final = 256
"""Combinations of decisions that one value may depend on."""
MOST_APART: Final = 16
"""Combinations that make values' types differ, for each of which what follows is there once."""


class Unmixable(SpaceError):
    """Options that are not of one type would have to be summed."""


class Builder:
    """Walk a template and write down what to run.

    ``held`` are decisions that have one value for good. With ``hold``, which says what value, a
    decision whose options cannot be summed is held where this shows, for ``reasons``, and the walk goes on;
    another walk is needed then, and no module is made.

    Raises:
        Unmixable: options of a decision cannot be summed.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        held: Mapping[str, Scalar] | None = None,
        hold: Callable[[str], Scalar] | None = None,
    ) -> None:
        self.space, self.seed, self.hold = space, seed, hold
        self.fixed = {d.name: d.default for d in space.decisions if not d.searched}
        self.fixed |= held or {}
        self.reasons: dict[str, str] = {}
        self.slots = {d.name: slot for slot, d in enumerate(space.decisions)}
        self.base = [self.fixed.get(name) for name in self.slots]
        self.rng = random.Random(0)
        self.count = 0
        self.inputs: list[int] = []
        self.types: list[Type] = []  # of the inputs
        self.modules: list[nn.Module] = []
        self.shared: dict[tuple[str, Any], int] = {}
        self.program: list[Run | Mix] = []
        self.mixes: dict[int, Mix] = {}
        self.edges: list[Edges] = []

    # -- decisions ------------------------------------------------------------------------------

    def values(self, when: When) -> list[Any]:
        """Return decisions' values by slot; None where open."""
        known: list[Any] = list(self.base)
        for name, option in when:
            known[self.slots[name]] = option
        return known

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
            names = [d.name for d in decisions]
            shown = ", ".join(names[:3])
            self._unfit(where, f"{count:,} combinations of {shown} ... decide here", names)
            decisions = []
        for options in itertools.product(*(d.options for d in decisions)):
            yield tuple(zip((d.name for d in decisions), options, strict=True))

    def _unfit(self, where: str, reason: str, names: Sequence[str]) -> None:
        """Hold decisions whose options cannot be summed; raise where none is left to hold."""
        new = [name for name in names if name not in self.fixed]
        if self.hold is None or not new:
            raise Unmixable(
                f"space {self.space.name!r} has no mixture of its networks: {where}: {reason}; darts is "
                "for choices of operations and inputs"
            )
        for name in new:
            self.fixed[name] = self.base[self.slots[name]] = self.hold(name)
        self.reasons |= dict.fromkeys(new, reason)

    def _agrees(self, when: When) -> bool:
        return all(self.fixed.get(name, option) == option for name, option in when)

    def _left(self, value: Value, where: str) -> Value:
        """Return the ways that agree with what is held."""
        ways = tuple(way for way in value if self._agrees(way.when))
        if not ways:  # held in one of its own branches
            raise Unmixable(f"space {self.space.name!r} has no mixture of its networks: {where}")
        return ways

    def _names(self, slots: Sequence[int]) -> list[str]:
        return [self.space.decisions[slot].name for slot in slots]

    def _sizes(self, function: Any, values: Sequence[Any], where: str) -> list[Type | None]:
        """Return the types of a block's values, each of one type where the expression reads it."""
        types = [value[0].type if value else None for value in values]
        for number in {int(found) for found in re.findall(r"\bt\[(\d+)\]", function.text)}:
            value = values[number]
            if value and differ(value):
                names = telling(value)
                self._unfit(where, f"{', '.join(names)}: a size depends on them", names)
                types[number] = self._left(value, where)[0].type
        return types

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
            names = telling(value)
            reason = f"{', '.join(names)}: options give different types, {shown}"
            self._unfit(where, reason, names)
            return self.one(self._left(value, where), where)
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
            made = nn.Identity() if self.hold else to_torch(graph, seed=int.from_bytes(digest))
            self.modules.append(made)
        outputs = tuple(self.fresh() for _ in graph.results)
        self.program.append(Run(number, tuple(way.value for way in inputs), outputs))
        return [Way((), v, t) for v, t in zip(outputs, graph.outputs, strict=True)]

    def live(self, results: Sequence[int]) -> list[Run | Mix]:
        """Return the steps that results need."""
        needed, kept = set(results), []
        for step in reversed(self.program):
            made = (step.output,) if isinstance(step, Mix) else step.outputs
            if needed.isdisjoint(made):
                continue
            kept.append(step)
            needed |= {v for _, v in step.ways} if isinstance(step, Mix) else set(step.inputs)
        used = sorted({step.module for step in kept if isinstance(step, Run)})
        renumber = {old: new for new, old in enumerate(used)}
        self.modules = [self.modules[old] for old in used]
        return [
            step if isinstance(step, Mix) else Run(renumber[step.module], step.inputs, step.outputs)
            for step in reversed(kept)
        ]

    # -- blocks and their steps; `context` is what is decided where they stand ---------------------

    def block(
        self, block: Block, inputs: Sequence[Value], path: str, context: When = ()
    ) -> list[Value]:
        """Return the results of a block."""
        values: list[Any] = [*inputs, *[None] * (block.count - len(inputs))]
        for *_, step in reversed(block.backward):
            run = getattr(self, f"_{step.kind}")
            made = run(step, values, f"{path}/{step.name}", context)
            values[step.first : step.first + len(made)] = made
        return [values[result] for result in block.results]

    def _input(self, step: Compiled, values: list[Any], path: str, context: When) -> list[Value]:
        assert step.attributes is not None
        if slots := self.open(step.attributes, -1, context):
            self._unfit(path, "a decision sets the input's size", self._names(slots))
        axes, dtype = step.operation
        shape = step.attributes(self.values(context), self._sizes(step.attributes, values, path))
        self.inputs.append(self.fresh())
        self.types.append(Type(axes, shape, dtype))
        return [(Way((), self.inputs[-1], self.types[-1]),)]

    def _op(self, step: Compiled, values: list[Any], path: str, context: When) -> list[Value]:
        given = list(step.inputs)
        if step.gates is not None:
            given, values = self._gated(step, values, path, context)
        made = []
        for when, own in self._joint(given, values, path):
            singles = [self.one(own[i], path) for i in given]
            if step.operation.__name__ == "Add":
                singles = paired(self, singles)
            made.append((when, self._apply(step, singles, own, path, context + when)))
        return self._gather(step.arity, made, path)

    def _apply(
        self, step: Compiled, inputs: Sequence[Way], values: list[Any], path: str, context: When
    ) -> list[Value]:
        """Return the results of an operation for each option of what its attributes leave open."""
        made = []
        types = tuple(way.type for way in inputs)
        for more in self.ways(path, step.attributes, -1, context):
            if step.constants is not None:
                attributes = step.constants
            else:
                assert step.attributes is not None
                sizes = self._sizes(step.attributes, values, path)
                attributes = step.attributes(self.values(context + more), sizes)
            try:
                content = applied(step.operation, tuple(attributes), types)
            except NasflowError as error:  # an option that others rule out
                self._unfit(path, str(error), [n for n, _ in context + more])
                continue
            made.append((more, [(way,) for way in self._place(content, inputs, path, step)]))
        if not made:
            raise Unmixable(f"space {self.space.name!r} has no mixture of its networks: {path}")
        return self._gather(step.arity, made, path)

    def _gather(
        self, arity: int, made: Sequence[tuple[When, Sequence[Value]]], path: str
    ) -> list[Value]:
        """Return results by what makes them these: their mixture, where they are of one type."""
        found: list[Value] = []
        for number in range(arity):
            ways = tuple(
                Way(when + way.when, way.value, way.type)
                for when, results in made
                for way in results[number]
            )
            found.append(ways if differ(ways) else (self.one(ways, path),))
        return found

    def _joint(
        self, taken: Sequence[int], values: list[Any], path: str, first: bool = False
    ) -> list[tuple[When, list[Any]]]:
        """Return what the values are for each combination of options that makes their types differ.

        Values whose ways are of one type are mixed, except, with ``first``, the first of them
        where no types differ: what follows then is there once for each of its ways.
        """
        several = [i for i in dict.fromkeys(taken) if len(values[i]) > 1 or values[i][0].when]
        apart = [i for i in several if differ(values[i])] or several[:first]
        own = list(values)
        for i in several:
            if i not in apart:
                own[i] = (self.one(values[i], path),)
        found: list[tuple[When, list[Any]]] = [((), own)]
        for i in apart:
            found = [
                (both, [*given[:i], (Way((), way.value, way.type),), *given[i + 1 :]])
                for when, given in found
                for way in values[i]
                if (both := together(when, way.when)) is not None
            ]
            if len(found) > MOST_APART and differ(values[i]):
                names = telling(values[i])
                reason = f"{', '.join(names)}: over {MOST_APART} combinations of types follow"
                self._unfit(path, reason, names)
                found = [pair for pair in found if self._agrees(pair[0])]
        return found

    def _place(
        self, content: Applied, inputs: Sequence[Way], path: str, step: Compiled
    ) -> list[Way]:
        if content.idle:
            return [Way((), inputs[0].value, inputs[0].type)]
        weights = f"{path.rpartition('/')[0]}/{step.weights}"
        return self.run(path, f"{weights} {content.key}", alone(content, "layer"), inputs)

    def _gated(
        self, step: Compiled, values: list[Any], path: str, context: When
    ) -> tuple[list[int], list[Any]]:
        """Return which inputs may be open, and the values, those that may be shut by their share.

        What is added or concatenated is multiplied by the share of the options that let it in;
        where too many options decide, all is let in.
        """
        assert step.gates is not None
        types = self._sizes(step.gates, values, path)
        slots = self.open(step.gates, -1, context)
        count = math.prod(len(self.space.decisions[s].options) for s in slots)
        if count > MOST_WAYS or step.operation.__name__ not in ("Add", "Concat"):
            opened = self._ever_open(step, slots, types, context)
            return [i for i, passes in zip(step.inputs, opened, strict=True) if passes], values
        ways = [
            (more, step.gates(self.values(context + more), types))
            for more in self.ways(path, step.gates, -1, context)
        ]
        given, own = [], list(values)
        for number, i in enumerate(step.inputs):
            letting = [more for more, passes in ways if passes[number]]
            if not letting:
                continue
            given.append(i)
            if len(letting) < len(ways):
                way = self.one(values[i], path)
                mix = Mix(tuple((more, way.value) for more in letting), self.fresh())
                self.program.append(mix)
                given[-1] = len(own)
                own.append((Way((), mix.output, way.type),))
        return given, own

    def _ever_open(
        self, step: Compiled, slots: Sequence[int], types: list[Type | None], context: When
    ) -> list[bool]:
        """Return which inputs may be open, whatever is still to be decided."""
        assert step.gates is not None
        known = self.values(context)
        opened = [False] * len(step.inputs)
        for _ in range(MOST_WAYS):
            for slot in slots:
                known[slot] = self.rng.choice(self.space.decisions[slot].options)
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
        assert step.index is not None
        value = (
            known[step.slot]
            if step.slot >= 0
            else step.index(known, self._sizes(step.index, values, step.name))
        )
        return step.keys[type(value), value]

    def _switch(self, step: Compiled, values: list[Any], path: str, context: When) -> list[Value]:
        made: list[tuple[When, list[Value]]] = []
        taken = [i for group in step.operands for i in group]
        for when, own in self._joint(taken, values, path, first=True):
            known: dict[Any, list[Value]] = {}  # options that take one branch share it
            for more in self.ways(path, step.index, step.slot, context + when):
                number = self._number(step, own, context + when + more)
                body = step.bodies[number]
                inside = {self.space.decisions[slot].name for slot in body.slots}
                key = (number, tuple(pair for pair in more if pair[0] in inside))
                if key not in known:
                    inputs = [own[i] for i in step.operands[number]]
                    place = f"{path}_{step.names[number]}{tag(when)}"
                    known[key] = self._enter(body, inputs, place, context + when + more)
                made.append((when + more, known[key]))
        return self._gather(step.arity, made, path)

    def _call(self, step: Compiled, values: list[Any], path: str, context: When) -> list[Value]:
        ((body,), (group,)) = step.bodies, step.operands
        place = f"{path.rpartition('/')[0]}/{step.weights}"
        made = [
            (when, self._enter(body, [own[i] for i in group], place + tag(when), context + when))
            for when, own in self._joint(group, values, path)
        ]
        return self._gather(step.arity, made, path)

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
        _, graph, kept = binder.bind(block, tuple(way.type for way in singles))
        given = singles if kept is None else [singles[i] for i in kept]
        if not graph.nodes:
            return [(given[result],) for result in graph.results]
        return [(way,) for way in self.run(path, f"{path} {graph.fingerprint}", graph, given)]

    def _repeat(self, step: Compiled, values: list[Any], path: str, context: When) -> list[Value]:
        if slots := self.open(step.index, step.slot, context):
            self._unfit(path, "a decision counts repeats", self._names(slots))
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
