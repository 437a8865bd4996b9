"""Count and draw the points of a space exactly, whatever its decisions make conditional.

A plan is a product of independent parts. A part is one decision, or a decision that gates others
with a plan for what remains under each of its options.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasflow.ir.expression import Decision, Dimension, Expression, Scalar, evaluate, leaves

Gate = tuple[tuple[Expression, ...], ...]
"""When a decision is active: any of these conjunctions. ``((),)`` is always."""


class _Unknown(Exception):
    """A condition mentions a decision that is still open."""


class _Inactive(Exception):
    """A condition mentions a decision that is inactive, so it does not hold."""


def active(gate: Gate, values: Mapping[str, Scalar], closed: frozenset[str]) -> bool | None:
    """Return whether a gate holds, None while open decisions leave that undecided.

    ``values`` has the active decisions known so far; ``closed`` names all that are known, active
    or not.
    """

    def lookup(leaf: Decision | Dimension) -> Scalar:
        assert isinstance(leaf, Decision)
        if leaf.name in values:
            return values[leaf.name]
        raise _Inactive if leaf.name in closed else _Unknown

    undecided = False
    for conjunction in gate:
        state: bool | None = True
        for condition in conjunction:
            try:
                holds: bool | None = bool(evaluate(condition, lookup))
            except _Unknown:
                holds = None
            except _Inactive:
                holds = False
            if holds is False:
                state = False
                break
            if holds is None:
                state = None
        if state:
            return True
        undecided = undecided or state is None
    return None if undecided else False


@dataclass(frozen=True, slots=True)
class Leaf:
    """A decision that gates nothing still open."""

    decision: Decision
    size: int


@dataclass(frozen=True, slots=True)
class Branch:
    """A decision with a plan for what is left under each option."""

    decision: Decision
    plans: tuple[Plan, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Independent parts; ``size`` is the product of theirs."""

    parts: tuple[Leaf | Branch, ...]
    size: int

    def sample(self, rng: random.Random, point: dict[str, Scalar]) -> None:
        """Add to ``point`` one of the plan's assignments, each with equal probability."""
        for part in self.parts:
            options = part.decision.options
            if isinstance(part, Leaf):
                point[part.decision.name] = options[int(rng.random() * part.size)]
                continue
            ticket = rng.randrange(part.size)
            for option, plan in zip(options, part.plans, strict=True):
                if ticket < plan.size:
                    point[part.decision.name] = option
                    plan.sample(rng, point)
                    break
                ticket -= plan.size

    def enumerate(self, position: int = 0) -> Iterator[dict[str, Scalar]]:
        """Yield every assignment once; the first part varies slowest."""
        if position == len(self.parts):
            yield {}
            return
        part = self.parts[position]
        for number, option in enumerate(part.decision.options):
            heads: Iterator[dict[str, Scalar]]
            heads = iter(({},)) if isinstance(part, Leaf) else part.plans[number].enumerate()
            for head in heads:
                for rest in self.enumerate(position + 1):
                    yield {part.decision.name: option, **head, **rest}


class Planner:
    """Build the plan of a set of decisions with gates."""

    def __init__(self, gates: Mapping[str, Gate]) -> None:
        self.gates = gates
        self.parents = {name: gate_parents(gate) for name, gate in gates.items()}
        self.memo: dict[tuple[Any, ...], Plan] = {}

    def plan(
        self, decisions: Sequence[Decision], values: dict[str, Scalar], closed: frozenset[str]
    ) -> Plan:
        """Return the plan of ``decisions``, parents first, given what is already known."""
        relevant = frozenset().union(*(self.parents[d.name] for d in decisions)) & closed
        known = tuple((name, values.get(name)) for name in sorted(relevant))
        key = (tuple(d.name for d in decisions), known)
        if key not in self.memo:
            self.memo[key] = self._plan(decisions, values, closed)
        return self.memo[key]

    def _plan(
        self, decisions: Sequence[Decision], values: dict[str, Scalar], closed: frozenset[str]
    ) -> Plan:
        groups: dict[str, list[Decision]] = {}
        for decision in decisions:
            state = active(self.gates[decision.name], values, closed)
            if state is False:
                closed = closed | {decision.name}
                continue
            group = [decision]
            if state is None:
                for name in self.parents[decision.name]:
                    if name in groups and groups[name] is not group:
                        group = groups[name] + group
                        groups.update(dict.fromkeys([d.name for d in group], group))
            groups[decision.name] = group
        order = {decision.name: i for i, decision in enumerate(decisions)}
        distinct = {id(group): group for group in groups.values()}.values()
        parts = [
            self._part(sorted(group, key=lambda d: order[d.name]), values, closed)
            for group in distinct
        ]
        return Plan(tuple(parts), math.prod(part.size for part in parts))

    def _part(
        self, group: Sequence[Decision], values: dict[str, Scalar], closed: frozenset[str]
    ) -> Leaf | Branch:
        first, *rest = group
        if not rest:
            return Leaf(first, len(first.options))
        closed = closed | {first.name}
        plans = tuple(
            self.plan(rest, {**values, first.name: option}, closed) for option in first.options
        )
        return Branch(first, plans, sum(plan.size for plan in plans))


def gate_parents(gate: Gate) -> frozenset[str]:
    """Return the names of the decisions that a gate looks at."""
    return frozenset(
        leaf.name
        for conjunction in gate
        for condition in conjunction
        for leaf in leaves(condition)
        if isinstance(leaf, Decision)
    )
