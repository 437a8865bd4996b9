"""Evolve a population in which the oldest die, as AmoebaNet was found."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from nasflow.discovery import models
from nasflow.errors import ConfigError, PointError, nearest
from nasflow.ir import Point, Space
from nasflow.options import check_share, check_whole
from nasflow.search.strategy import Result
from strategies._points import Seen, dump_random, load_random, thaw

TRIES = 100  # mutations of mutations before a uniform draw


class Evolution:
    """Mutate the best of a random sample of the youngest points (regularised evolution).

    Real et al., 2019, "Regularized evolution for image classifier architecture search", with two
    changes: no point is proposed twice (a known child is mutated further), and the population is
    smaller than the paper's 100 (of 20,000 networks), for budgets of hundreds. `start` names points
    of the space to begin with; a `crossover` share of the children has a second parent.
    Failed candidates do not join the population.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        population: int = 20,
        sample: int = 10,
        crossover: float = 0.0,
        start: tuple[str, ...] = (),
    ) -> None:
        check_whole("strategy.population", population)
        check_whole("strategy.sample", sample)
        check_share("strategy.crossover", crossover)
        if sample > population:
            raise ConfigError(
                f"strategy.sample: expected 1 to strategy.population ({population}), got {sample}"
            )
        self.space, self.sample, self.crossover = space, sample, crossover
        self.rng = random.Random(seed)
        self.seen = Seen(space)
        self.founders = [named(space, name) for name in start]  # known points yet to be proposed
        self.orphans = max(population - len(start), 0)  # random points yet to be proposed
        self.alive: deque[tuple[Point, float]] = deque(maxlen=population)

    def ask(self) -> Point | None:
        """Propose a founder, a random point, then children; None when the space is exhausted."""
        return self.seen.take(self._next())

    def _next(self) -> Point | None:
        while self.founders:
            point = dict(self.founders.pop(0))
            if point not in self.seen:
                return point
        if self.orphans > 0 or not self.alive:
            self.orphans -= 1
            return self.seen.fresh(self.rng)
        point = self._parent()
        if self.rng.random() < self.crossover:
            point = self.space.crossover(point, self._parent(), self.rng)
        for _ in range(TRIES if self.space.size > 1 else 0):
            point = self.space.mutate(point, self.rng)
            if point not in self.seen:
                return point
        return self.seen.fresh(self.rng)

    def _parent(self) -> Point:
        rivals = self.rng.sample(range(len(self.alive)), min(self.sample, len(self.alive)))
        return max((self.alive[i] for i in rivals), key=lambda each: each[1])[0]

    def tell(self, point: Point, result: Result) -> None:
        """Add a point to the population; the oldest one leaves."""
        self.seen.add(point)
        if result.reward is not None:
            self.alive.append((thaw(point), result.reward))

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on identically, as JSON."""
        return {
            "random": dump_random(self.rng),
            "seen": self.seen.state(),
            "founders": self.founders,
            "orphans": self.orphans,
            "alive": [list(each) for each in self.alive],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        load_random(self.rng, state["random"])
        self.seen.restore(state["seen"])
        self.founders = [thaw(point) for point in state["founders"]]
        self.orphans = state["orphans"]
        self.alive.clear()
        self.alive.extend((thaw(point), reward) for point, reward in state["alive"])


def named(space: Space, name: str) -> Point:
    """Return a named point of the space or of its family; raises ConfigError where there is none."""
    if name in space.points:
        return space.complete(space.points[name])
    known = {m: entry for m, (family, entry) in models().items() if family == space.name}
    if name not in known:
        hint = nearest(name, [*space.points, *known])
        raise ConfigError(f"strategy.start: {space.name} has no point {name!r}{hint}")
    try:
        return space.complete(known[name].point)
    except PointError as error:
        raise ConfigError(f"strategy.start: {name} is no point of this space: {error}") from error
