"""A network with decisions left open, and everything that follows from knowing them all."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from nasflow.errors import NasflowError, PointError, SpaceError, nearest
from nasflow.ir.bind import Binder
from nasflow.ir.compile import Compiler
from nasflow.ir.expression import Decision, Scalar, same
from nasflow.ir.gates import gates_of, ordered, uses_of
from nasflow.ir.graph import Graph
from nasflow.ir.plan import Plan, Planner, active, gate_parents
from nasflow.ir.redraw import Redraw
from nasflow.ir.trace import Body, Value, check_name, close

if TYPE_CHECKING:
    from nasflow.lower.elastic import Supernet

Point = dict[str, Scalar]
"""Decision name -> value; decisions that are inactive are absent. Plain JSON (tuples as lists)."""

TRIALS: Final = 8
"""Random points that are bound when a space is made, beside its smallest and largest."""


class Space:
    """A typed graph with open decisions. Make one from the value(s) that the network gives.

    Args:
        outputs: the network's result, or several.
        name: the space's name, and that of the graphs it binds.
        points: named points: networks that were published.

    Raises:
        SpaceError: two decisions share a name, nothing was built, or a point does not type-check.

    >>> from nasflow import ir
    >>> x = ir.image(3, 32)
    >>> width = ir.choice("width", 16, 32, ordered=True)
    >>> space = ir.Space(ir.Conv2d(width, 3, padding=1)(x), name="tiny")
    >>> space.size, space.bind({"width": 32}).params
    (2, 896)
    """

    def __init__(
        self,
        outputs: Value | Sequence[Value],
        *,
        name: str = "space",
        points: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        results = (outputs,) if isinstance(outputs, Value) else tuple(outputs)
        if not results or not all(isinstance(value, Value) for value in results):
            raise SpaceError(
                f"space {name!r}: expected the values a network gives, got {outputs!r}"
            )
        captured, steps = close(results, None)
        if captured:
            raise SpaceError(f"space {name!r}: a result was made inside a block and not returned")
        body = Body(name, (), (), steps, results, {})
        self.name = check_name(name)
        uses = uses_of(body)
        self._gates = gates_of(name, uses)
        self.decisions: tuple[Decision, ...] = ordered(uses, self._gates)
        self._by_name = {decision.name: decision for decision in self.decisions}
        self._slots = {d.name: slot for slot, d in enumerate(self.decisions)}
        self._legal = {
            d.name: {(isinstance(o, bool), o): o for o in d.options} for d in self.decisions
        }
        self._names = frozenset(self._slots)
        self._rows = tuple(
            (
                d.name,
                None if self._gates[d.name] == ((),) else self._gates[d.name],
                {o: o for o in d.options if o.__class__ in _PLAIN},
                d,
            )
            for d in self.decisions
        )
        compiler = Compiler({id(d): slot for slot, d in enumerate(self.decisions)})
        self._block = compiler.block(body)
        self._binder = Binder()
        self.points: dict[str, Point] = {}
        for label, point in (points or {}).items():
            self.points[label] = self.complete(point)

    def __repr__(self) -> str:
        return f"<Space {self.name}: {len(self.decisions)} decisions, {self.size:,} points>"

    # -- decisions ----------------------------------------------------------------------------

    @cached_property
    def _plan(self) -> Plan:
        fixed = {d.name: d.default for d in self.decisions if not d.searched}
        values: dict[str, Scalar] = {}
        for decision in self.decisions:
            if decision.name in fixed:
                state = active(self._gates[decision.name], values, frozenset(fixed))
                if state is not False:
                    values[decision.name] = decision.default
        searched = [d for d in self.decisions if d.searched]
        return Planner(self._gates).plan(searched, values, frozenset(fixed))

    @cached_property
    def _usual(self) -> Point | None:
        """A point, where every drawn one has the same decisions; None where some gate others."""
        searched = {decision.name for decision in self.decisions if decision.searched}
        if any(gate_parents(gate) & searched for gate in self._gates.values()):
            return None
        drawn: Point = {}
        self._plan.sample(random.Random(0), drawn)
        return self.complete(drawn)

    @property
    def size(self) -> int:
        """Exact number of points over the decisions that are searched."""
        return self._plan.size

    def decision(self, name: str) -> Decision:
        """Return the decision of that name; raises PointError with the nearest name."""
        try:
            return self._by_name[name]
        except KeyError:
            hint = nearest(name, self._by_name)
            raise PointError(f"space {self.name!r} has no decision {name!r}{hint}") from None

    def active(self, decision: Decision, partial: Mapping[str, Scalar]) -> bool:
        """Whether a decision exists, given the values of the active decisions before it."""
        gate = self._gates[decision.name]
        if gate == ((),):
            return True
        return bool(active(gate, partial, frozenset(self._by_name)))

    # -- points -------------------------------------------------------------------------------

    def decide(self, choose: Callable[[Decision], Scalar]) -> Point:
        """Return the point in which each active decision, in order, takes what ``choose`` gives."""
        point: Point = {}
        for decision in self.decisions:
            if self.active(decision, point):
                point[decision.name] = choose(decision)
        return point

    def complete(self, point: Mapping[str, Any]) -> Point:
        """Return the point with unsearched decisions at their defaults, in order of declaration.

        Raises:
            PointError: a decision is unknown, missing, inactive, or has a value it does not offer.
        """
        if not isinstance(point, Mapping):
            raise PointError(f"a point: expected a mapping, got {type(point).__name__}")
        if not point.keys() <= self._names:
            for name in point:
                if name not in self._names:
                    self.decision(str(name))
        full: Point = {}
        known: dict[int, bool | None] = {}  # whether a gate holds; its decisions come before it
        for name, gate, options, decision in self._rows:
            if gate is not None:
                if (key := id(gate)) not in known:
                    known[key] = active(gate, full, self._names)
                if not known[key]:
                    if name in point:
                        raise PointError(
                            f"decision {name!r} is inactive here: expected no value, got "
                            f"{point[name]!r}"
                        )
                    continue
            if name in point:
                value = point[name]
                if value.__class__ in _PLAIN and value in options:
                    full[name] = options[value]
                else:
                    full[name] = self._value(decision, value)
            elif not decision.searched:
                full[name] = decision.default
            else:
                raise PointError(f"decision {name!r} is missing: expected {_options(decision)}")
        return full

    def check(self, point: Mapping[str, Any]) -> None:
        """Raise PointError unless ``point`` gives every active searched decision a legal value."""
        self.complete(point)

    def _value(self, decision: Decision, value: Any) -> Scalar:
        if isinstance(value, list):
            value = _as_tuple(value)
        try:
            return self._legal[decision.name][isinstance(value, bool), value]
        except (KeyError, TypeError):
            raise PointError(
                f"decision {decision.name!r}: expected {_options(decision)}, got {value!r}"
            ) from None

    def bind(self, point: Mapping[str, Any]) -> Graph:
        """Return the network that a point describes, type-checked.

        Raises:
            PointError: the point does not fit the space.
            TypeRuleError: the types do not fit; the message names the node.
        """
        full = self.complete(point)
        values = list(map(full.get, self._slots))
        return self._binder.root(self._block, values, self.name)

    def to_supernet(self, seed: int = 0, points: Iterable[Mapping[str, Any]] = ()) -> Supernet:
        """Return one module whose weights every network of the space is a part of.

        ``points`` are networks that must fit beside those it finds itself; see
        :class:`nasflow.lower.Supernet`.

        Raises:
            SpaceError: an operation cannot follow what part of a weight a child has.
        """
        from nasflow.lower.elastic import Supernet

        return Supernet(self, seed, points)

    def fingerprint(self, point: Mapping[str, Any]) -> str:
        """Return the fingerprint of the network that a point describes."""
        return self.bind(point).fingerprint

    def sample(self, seed: int | random.Random | None = None) -> Point:
        """Return a point drawn uniformly from all points."""
        rng = seed if isinstance(seed, random.Random) else random.Random(seed)
        drawn: dict[str, Scalar] = {}
        self._plan.sample(rng, drawn)
        return self._arrange(drawn)

    def _arrange(self, values: Mapping[str, Scalar]) -> Point:
        """Return drawn values in the order of the decisions, unsearched ones at their defaults."""
        usual = self._usual
        return self.complete(values) if usual is None else {**usual, **values}

    def enumerate(self) -> Iterator[Point]:
        """Yield every point once."""
        return map(self._arrange, self._plan.enumerate())

    def _repair(self, wanted: Mapping[str, Scalar], rng: random.Random) -> Point:
        """Return a valid point that agrees with ``wanted`` wherever that is possible."""
        point: Point = {}
        for decision in self.decisions:
            if not self.active(decision, point):
                continue
            if decision.name in wanted:
                point[decision.name] = wanted[decision.name]
            elif decision.searched:
                point[decision.name] = rng.choice(decision.options)
            else:
                point[decision.name] = decision.default
        return point

    def mutate(self, point: Mapping[str, Scalar], rng: random.Random) -> Point:
        """Return a point that differs in one decision, and in what that decision opens or closes.

        An ordered decision moves to an adjacent option half of the time, otherwise anywhere.
        """
        names = [n for n in point if (d := self.decision(n)).searched and len(d.options) > 1]
        if not names:
            raise PointError(f"space {self.name!r}: nothing to mutate, it has a single point")
        decision = self.decision(rng.choice(names))
        options = [o for o in decision.options if not same(o, point[decision.name])]
        if decision.ordered and rng.random() < 0.5:
            options = _adjacent(decision, point[decision.name])
        return self._repair({**point, decision.name: rng.choice(options)}, rng)

    @cached_property
    def _redraw(self) -> Redraw:
        return Redraw(self.decisions, self._gates)

    def redraw(
        self, point: Mapping[str, Scalar], names: Collection[str], rng: random.Random
    ) -> Point:
        """Return the point with these decisions, and all they gate, drawn uniformly given the rest.

        Names of decisions that are inactive are fine: what is inactive stays so.
        """
        return self.complete(self._redraw(point, names, rng))

    def crossover(
        self, first: Mapping[str, Scalar], second: Mapping[str, Scalar], rng: random.Random
    ) -> Point:
        """Return a point that takes each decision from one parent or the other."""
        wanted = {}
        for decision in self.decisions:
            parents = [p for p in (first, second) if decision.name in p]
            if parents:
                wanted[decision.name] = rng.choice(parents)[decision.name]
        return self._repair(wanted, rng)

    def neighbours(self, point: Mapping[str, Scalar]) -> Iterator[Point]:
        """Yield every point that differs in one decision; decisions it opens take first options.

        An ordered decision moves to adjacent options only.
        """
        for name, value in point.items():
            decision = self.decision(name)
            if not decision.searched:
                continue
            others = [option for option in decision.options if not same(option, value)]
            for option in _adjacent(decision, value) if decision.ordered else others:
                yield self._first({**point, name: option})

    def _first(self, wanted: Mapping[str, Scalar]) -> Point:
        return self.decide(lambda d: wanted[d.name] if d.name in wanted else d.offered[0])

    def encode(self, point: Mapping[str, Scalar]) -> list[float]:
        """Return a vector of fixed length: a one-hot block per decision, zeros where inactive."""
        vector: list[float] = []
        for decision in self.decisions:
            chosen = point.get(decision.name) if decision.name in point else _ABSENT
            vector.extend(float(same(option, chosen)) for option in decision.options)
        return vector

    def decode(self, vector: Sequence[float]) -> Point:
        """Return the point whose encoding is nearest: the largest entry of each active block."""
        width = sum(len(decision.options) for decision in self.decisions)
        if len(vector) != width:
            raise PointError(f"expected an encoding of {width} numbers, got {len(vector)}")
        point: Point = {}
        start = 0
        for decision in self.decisions:
            block = list(vector[start : start + len(decision.options)])
            start += len(block)
            if self.active(decision, point):
                point[decision.name] = decision.options[block.index(max(block))]
        return point

    def smallest(self) -> Point:
        """Return the point with the first option of every decision."""
        return self._first({})

    def largest(self) -> Point:
        """Return the point with the last option of every decision."""
        return self.decide(lambda decision: decision.offered[-1])

    def verify(self, trials: int = TRIALS, seed: int = 0) -> Space:
        """Bind the smallest, the largest, every named and some random points; return the space.

        Raises:
            SpaceError: one of them does not type-check; the message has the point and the node.
        """
        rng = random.Random(seed)
        points = [self.smallest(), self.largest(), *self.points.values()]
        for point in [*points, *(self.sample(rng) for _ in range(trials))]:
            try:
                self.bind(point)
            except NasflowError as error:
                raise SpaceError(f"space {self.name!r}: {error}; at the point {point}") from None
        return self


_ABSENT: Final = object()
_PLAIN: Final = frozenset((int, float, str))  # values that no equal value of another kind mimics


def _adjacent(decision: Decision, value: Scalar) -> list[Scalar]:
    position = next(i for i, option in enumerate(decision.options) if same(option, value))
    return [
        decision.options[i] for i in (position - 1, position + 1) if 0 <= i < len(decision.options)
    ]


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


def _options(decision: Decision) -> str:
    options = decision.options
    if len(options) > 3 and isinstance(options[0], int) and decision.ordered:
        return f"one of {options[0]}, {options[1]}, ... {options[-1]}"
    shown = ", ".join(map(repr, options[:20])) + (", ..." if len(options) > 20 else "")
    return f"one of {shown}"
