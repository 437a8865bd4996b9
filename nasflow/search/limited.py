"""See a space through hard limits on what its networks cost, so that what is drawn keeps to them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nasflow.errors import ConfigError, NasflowError
from nasflow.search.objective import Objective

if TYPE_CHECKING:
    from nasflow.ir import Point, Space
    from nasflow.ir.expression import Scalar

LISTED = 2_000  # spaces up to this size are listed whole
TESTED = 300  # random points that tell how much of a space is within the limits
DIRECT = 0.01  # share from which points are drawn until one is within
POOL = 16  # points within, from which chains begin
BURN_IN, BETWEEN, STEPS = (
    20,
    2,
    8,
)  # steps of a chain for each decision: first, for the pool, for a point
DESCENT = 60  # steps, for each decision, in which a first point within must be found
TRIES = 16  # of a mutation, before a chain takes over
REMEMBERED = 50_000  # points whose costs are known


class Limited:
    """A space of which only networks within an objective's hard limits are drawn.

    It has all that the space has; `sample`, `mutate`, `crossover`, `neighbours` and `enumerate`
    keep to the limits, and `repair` leads a point back inside.

    What `sample` draws is exactly uniform over the points within where the space has up to `LISTED`
    points, and where at least `DIRECT` of it is within: there it draws until a point is within.
    Otherwise it runs `STEPS` Metropolis steps for each decision from one of `POOL` points: each
    takes one decision, or two, or more with halving odds, either draws them again with all that
    they gate (`nasflow.ir.redraw`) or moves them to other options, and goes there if that is within.
    That is uniform in the limit of many steps, and near it after those: in a space of gated
    decisions with 45 points within, the odds of a point differed from equal by a third (one
    standard deviation); the worst was drawn a third as often as it should.
    Equal arguments and random states draw equal points, whatever was drawn before.

    Raises ConfigError where a bounded search finds no network within the limits; it has the
    smallest costs found.
    """

    def __init__(self, space: Space, objective: Objective) -> None:
        self.space, self.objective = space, objective
        self._names = [d.name for d in space.decisions if d.searched and len(d.options) > 1]
        self._known: dict[Any, float] = {}
        self._listed: list[Point] | None = None
        self._pool: list[Point] = []
        rng = random.Random(0)  # of its own: what is drawn later depends on the caller's alone
        if space.size <= LISTED:
            self._listed = [p for p in space.enumerate() if self.excess(p) == 0]
            self.share = len(self._listed) / max(1, space.size)
            if not self._listed:
                self._refuse(min(space.enumerate(), key=self.excess), space.size)
            return
        drawn = [space.sample(rng) for _ in range(TESTED)]
        self._pool = [point for point in drawn if self.excess(point) == 0]
        self.share = len(self._pool) / TESTED
        if self.share < DIRECT:
            self._pool = self._filled(drawn, rng)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.space, name)

    def __repr__(self) -> str:
        return f"<{self.space.name} within {dict(self.objective.limits)}>"

    @property
    def size(self) -> int:
        """Number of points within the limits where the space was listed; else of all points."""
        return self.space.size if self._listed is None else len(self._listed)

    def describe(self) -> str:
        """Say in one line how much of the space is within, and how points are drawn."""
        bounds = ", ".join(f"{name} {bound:,.10g}" for name, bound in self.objective.limits.items())
        if self._listed is not None:
            return (
                f"limits ({bounds}): {len(self._listed):,} of {self.space.size:,} points are within"
            )
        found = f"{round(self.share * TESTED)} of {TESTED} random points are within"
        how = "" if self.share >= DIRECT else "; points are drawn by chains that stay inside"
        return f"limits ({bounds}): {found}{how}"

    def excess(self, point: Point) -> float:
        """Return how far a point is beyond the limits, 0 within, infinite where it makes no network."""
        key = tuple(point.items())
        if key not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            try:
                graph = self.space.bind(point)
            except NasflowError:
                self._known[key] = float("inf")
            else:
                self._known[key] = self.objective.excess(self.objective.costs(graph))
        return self._known[key]

    def sample(self, seed: int | random.Random | None = None) -> Point:
        """Return a point within the limits; see the class for how uniform it is."""
        rng = seed if isinstance(seed, random.Random) else random.Random(seed)
        if self._listed is not None:
            return dict(rng.choice(self._listed))
        for _ in range(int(20 / DIRECT) if self.share >= DIRECT else 0):
            point = self.space.sample(rng)
            if self.excess(point) == 0:
                return point
        return self._walk(rng.choice(self._pool), STEPS, rng)

    def mutate(self, point: Mapping[str, Scalar], rng: random.Random) -> Point:
        """Return another point within that differs in one decision; in more where none was found."""
        for _ in range(TRIES):
            near = self.space.mutate(point, rng)
            if self.excess(near) == 0:
                return near
        here: Point = dict(point)
        if self.excess(here) == 0:
            for _ in range(STEPS * len(self._names)):
                near = self._step(here, rng)
                if near != here:
                    return near
        return self.sample(rng)

    def crossover(
        self, first: Mapping[str, Scalar], second: Mapping[str, Scalar], rng: random.Random
    ) -> Point:
        """Return a point within that takes decisions from both parents, repaired where needed."""
        for _ in range(TRIES):
            child = self.space.crossover(first, second, rng)
            if self.excess(child) == 0:
                return child
        return self.repair(child, rng)

    def neighbours(self, point: Mapping[str, Scalar]) -> Iterator[Point]:
        """Yield the space's neighbours of a point that are within."""
        return (near for near in self.space.neighbours(point) if self.excess(near) == 0)

    def enumerate(self) -> Iterator[Point]:
        """Yield every point within once."""
        if self._listed is not None:
            return map(dict, self._listed)
        return (point for point in self.space.enumerate() if self.excess(point) == 0)

    def repair(self, point: Mapping[str, Scalar], rng: random.Random) -> Point:
        """Return a point within that a descent from this one reaches; a drawn one where it fails."""
        reached = self._descend(dict(point), DESCENT, rng)
        return reached if self.excess(reached) == 0 else self.sample(rng)

    # -- finding points within ----------------------------------------------------------------------

    def _filled(self, drawn: list[Point], rng: random.Random) -> list[Point]:
        """Return a pool of points within, from a chain that begins at the first one found."""
        space = self.space
        starts = [*drawn, space.smallest(), *space.points.values()]
        point = min(starts, key=self.excess)
        tried = len(starts)
        for start in (point, space.smallest()):
            if self.excess(point) > 0:
                reached = self._descend(start, DESCENT, rng)
                point = min((point, reached), key=self.excess)
                tried += DESCENT * len(self._names)
        if self.excess(point) > 0:
            self._refuse(point, tried)
        point = self._walk(point, BURN_IN, rng)
        pool = []
        for _ in range(POOL):
            point = self._walk(point, BETWEEN, rng)
            pool.append(point)
        return pool

    def _descend(self, point: Point, steps: int, rng: random.Random) -> Point:
        """Return a point of least excess on a way that never goes up; steps are for each decision."""
        excess = self.excess(point)
        for _ in range(steps * len(self._names)):
            if excess == 0:
                break
            near = self.space.mutate(point, rng)
            there = self.excess(near)
            if there <= excess:
                point, excess = near, there
        return point

    def _walk(self, point: Point, steps: int, rng: random.Random) -> Point:
        for _ in range(steps * len(self._names)):
            point = self._step(point, rng)
        return point

    def _step(self, point: Point, rng: random.Random) -> Point:
        """Take one step that leaves the uniform distribution over the points within as it is."""
        count = 1
        while count < len(self._names) and rng.random() < 0.5:
            count += 1
        names = rng.sample(self._names, count)
        if rng.random() < 0.5:
            near, odds = self.space.redraw(point, names, rng), 1.0
        else:
            near, odds = self._varied(point, names, rng)
        taken = odds >= 1 or rng.random() < odds
        return near if taken and self.excess(near) == 0 else point

    def _varied(self, point: Point, names: list[str], rng: random.Random) -> tuple[Point, float]:
        """Return the point with each of these decisions at another option, and the odds to go there.

        What that opens is drawn, the rest stays. The odds (Hastings, 1970) are the number of ways to
        draw what it opens over that to draw what it closes, for that way back is as much less likely.
        """
        near: Point = {}
        odds = 1.0
        for decision in self.space.decisions:
            name = decision.name
            there, here = self.space.active(decision, near), name in point
            if name in names and not (there and here):
                return point, 1.0  # the way back would not be of this kind
            if not there:
                odds /= len(decision.options) if here and decision.searched else 1
            elif name in names:
                near[name] = rng.choice([o for o in decision.options if o != point[name]])
            elif here or not decision.searched:
                near[name] = point.get(name, decision.default)
            else:
                near[name] = rng.choice(decision.options)
                odds *= len(decision.options)
        return near, odds

    def _refuse(self, point: Point, tried: int) -> None:
        costs = self.objective.costs(self.space.bind(point))
        bounds = ", ".join(f"{name} {bound:,.10g}" for name, bound in self.objective.limits.items())
        nearest = ", ".join(f"{name} {costs[name]:,.10g}" for name in self.objective.limits)
        which = "smallest" if len(self.objective.limits) == 1 else "nearest"
        raise ConfigError(
            f"objective.limits: no network of space {self.space.name!r} within {bounds} in {tried:,} "
            f"tries; the {which} found has {nearest}"
        )
