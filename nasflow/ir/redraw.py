"""Draw some decisions of a point again, uniformly given all others."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from nasflow.ir.expression import Decision, Scalar
from nasflow.ir.plan import Gate, Plan, Planner, active, gate_parents

KEPT: Final = 10_000
"""Plans that are kept; they depend on the values that gates look at."""


class Redraw:
    """Draw blocks of decisions again: those named, with all that they gate.

    Given the decisions outside, each completion of a block is equally likely, and which decisions a
    block has does not depend on the point. So a chain of such draws is reversible with respect to
    the uniform distribution over the space's points: the Metropolis chain that takes a draw only
    where a condition holds has the points that meet it, uniformly, as its stationary distribution.
    """

    def __init__(self, decisions: Sequence[Decision], gates: Mapping[str, Gate]) -> None:
        self.decisions = {d.name: d for d in decisions}
        self.gates = gates
        self.blocks: dict[str, frozenset[str]] = {}
        parents = {name: gate_parents(gate) for name, gate in gates.items()}
        for first in self.decisions:
            block = {first}
            for name in self.decisions:  # each comes after those that gate it
                if parents[name] & block:
                    block.add(name)
            self.blocks[first] = frozenset(block)
        self.planner = Planner(gates)

    def __call__(
        self, point: Mapping[str, Scalar], names: Collection[str], rng: random.Random
    ) -> dict[str, Scalar]:
        """Return the values kept and the values drawn; decisions that are not searched left out."""
        block = frozenset().union(*(self.blocks[name] for name in names))
        kept = {name: value for name, value in point.items() if name not in block}
        drawn = dict(kept)
        self._plan(kept, block).sample(rng, drawn)
        return drawn

    def _plan(self, kept: Mapping[str, Scalar], block: frozenset[str]) -> Plan:
        if len(self.planner.memo) > KEPT:
            self.planner.memo.clear()
        searched = [d for d in self.decisions.values() if d.name in block and d.searched]
        if not searched:
            return Plan((), 1)
        closed = frozenset(self.decisions) - {d.name for d in searched}
        values = dict(kept)
        for name in sorted(block & closed):  # held at their defaults, where they can be active
            if active(self.gates[name], values, closed) is not False:
                values[name] = self.decisions[name].default
        return self.planner.plan(searched, values, closed)
