"""The paths that steps of one-shot training take through a space."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from nasflow.evaluate.paths import draw
from nasflow.ir import Decision, Point, Space


def sandwich(
    space: Space, rng: random.Random, children: int, biggest: Mapping[str, Any] | None = None
) -> list[Point]:
    """Return the biggest child, the smallest, and random ones (Yu and Huang, 2019).

    ``biggest`` sets decisions of the biggest alone, such as its dropout.
    """
    largest = space.complete({**space.largest(), **(biggest or {})})
    return [largest, space.smallest(), *(draw(space, rng) for _ in range(children))]


class Fair:
    """Give every option of every decision the same number of paths (Chu et al., 2021, "FairNAS").

    Each decision takes its options in random permutations, one after the other, and moves on
    whenever it is active: in any number of its activations no option has one more than another and
    one less than a third, and after each round of its options all have the same.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed
        self._taken: dict[str, int] = {}
        self._made = 0

    def paths(self, first: int, count: int) -> list[Point]:
        """Return the paths number ``first`` to ``first + count - 1`` of the sequence."""
        if first < self._made:
            self._taken, self._made = {}, 0
        while self._made < first:
            self._next()
        return [self._next() for _ in range(count)]

    def _next(self) -> Point:
        self._made += 1
        return self.space.decide(self._option)

    def _option(self, decision: Decision) -> Any:
        if not decision.searched:
            return decision.default
        number = self._taken.get(decision.name, 0)
        self._taken[decision.name] = number + 1
        turn, place = divmod(number, len(decision.options))
        order = list(decision.options)
        random.Random(f"{self.seed}/{decision.name}/{turn}").shuffle(order)
        return order[place]


class Shrinking:
    """Open decisions in phases, each from its last option downward (Cai et al., 2020, "OFA").

    Before the first phase, for the share ``full`` of all steps, only the biggest network is
    trained. ``phases`` name decisions by the last part of their names; those not named belong to the
    last phase, except ``always``, which are open from the beginning.
    """

    def __init__(
        self, space: Space, seed: int, phases: Sequence[str], always: Sequence[str], full: float
    ) -> None:
        self.space, self.seed, self.full = space, seed, full
        self.phases, self.always = tuple(phases), tuple(always)

    def begin(self, steps: int) -> int:
        """Return the first step of the first phase."""
        return round(self.full * steps)

    def phase(self, step: int, steps: int) -> tuple[int, float]:
        """Return the phase of a step, -1 before the first, and how much of it is done, 0 to 1."""
        begin = self.begin(steps)
        if step < begin:
            return -1, 0.0
        length = max(steps - begin, 1) / len(self.phases)
        number = min(int((step - begin) / length), len(self.phases) - 1)
        return number, (step - begin) / length - number

    def options(self, decision: Decision, step: int, steps: int) -> tuple[Any, ...]:
        """Return the options of a decision that are open at a step."""
        options = decision.offered
        name = kind(decision)
        if name in self.always:
            return options
        number, done = self.phase(step, steps)
        own = self.phases.index(name) if name in self.phases else len(self.phases) - 1
        if own > number:
            return options[-1:]
        if own < number:
            return options
        # A phase has as many parts as there are options to open.
        more = 1 + int(done * (len(options) - 1))
        return options[-(more + 1) :]

    def draw(self, step: int, steps: int, count: int) -> list[Point]:
        """Return ``count`` paths of a step, each decision drawn from its open options."""
        rng = random.Random(f"{self.seed}/{step}")

        def choose(decision: Decision) -> Any:
            return rng.choice(self.options(decision, step, steps))

        return [self.space.decide(choose) for _ in range(count)]


def kind(decision: Decision) -> str:
    """Return the last part of a decision's name, such as ``kernel``, which it shares with others."""
    return decision.name.rpartition("/")[2]
