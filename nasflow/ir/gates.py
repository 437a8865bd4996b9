"""Find the decisions of a traced network, and when each of them is active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasflow.errors import SpaceError
from nasflow.ir.expression import Decision, Expression, Operand, leaves
from nasflow.ir.plan import Gate, gate_parents
from nasflow.ir.trace import Body, Step, operands

Uses = dict[int, tuple[Decision, list[tuple[Expression, ...]]]]
"""Every decision by its id, with the conditions under which it is used."""


def uses_of(body: Body) -> Uses:
    """Return every decision that live steps mention, with the gates of those steps."""
    uses: Uses = {}

    def note(operand: Operand, gate: tuple[Expression, ...]) -> None:
        for leaf in leaves(operand):
            if isinstance(leaf, Decision):
                uses.setdefault(id(leaf), (leaf, []))[1].append(gate)

    visited: set[int] = set()

    def visit(inner: Body) -> None:
        if id(inner) in visited:  # the iterations of a repeat may be one body
            return
        visited.add(id(inner))
        for step in inner.steps:
            _note_step(step, note)
            for nested in step.bodies:
                visit(nested)

    visit(body)
    return uses


def _note_step(step: Step, note: Any) -> None:
    """Note the decisions of a step; those of its gate are noted at the switch that made it."""
    for operand in operands(step):
        note(operand, step.here.gate)
    for _, gate in step.inputs:
        if gate is not None:
            note(gate, step.here.gate)


def gates_of(space: str, uses: Uses) -> dict[str, Gate]:
    """Return for each decision when it is active: wherever one of its uses is reached."""
    gates: dict[str, Gate] = {}
    same_gate: dict[str, Gate] = {}
    for decision, found in uses.values():
        if decision.name in gates:
            raise SpaceError(
                f"space {space!r}: two decisions are named {decision.name!r}; put each in an "
                "ir.scope of its own, or make one decision and use it twice"
            )
        gate = _smallest(found)
        # Equal gates become one object, so that a point asks each of them once.
        gates[decision.name] = same_gate.setdefault(repr(gate), gate)
    return gates


def _smallest(found: Sequence[tuple[Expression, ...]]) -> Gate:
    """Return the conjunctions that no other one already contains: a, or a and b, is just a."""
    distinct = {frozenset(map(repr, gate)): gate for gate in found}
    kept: dict[frozenset[str], tuple[Expression, ...]] = {}
    for conditions in sorted(distinct, key=len):
        if not any(fewer <= conditions for fewer in kept):
            kept[conditions] = distinct[conditions]
    return tuple(gate for conditions, gate in distinct.items() if conditions in kept)


def ordered(uses: Uses, gates: Mapping[str, Gate]) -> tuple[Decision, ...]:
    """Return the decisions as they appear in the network, each after those that gate it."""
    by_name = {decision.name: decision for decision, _ in uses.values()}
    found: dict[str, Decision] = {}

    def place(name: str) -> None:
        if name not in found:
            for parent in sorted(gate_parents(gates[name])):
                place(parent)
            found[name] = by_name[name]

    for name in by_name:
        place(name)
    return tuple(found.values())
