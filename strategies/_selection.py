"""Find the best children under several budgets: a coarse grid first, then around the best."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from nasflow.errors import ConfigError, NasflowError
from nasflow.evaluate.paths import draw
from nasflow.ir import Decision, Point, Space
from nasflow.options import check_number, check_option, check_whole
from nasflow.search.objective import EXACT
from nasflow.search.remarks import Remarks
from nasflow.search.strategy import Result
from strategies._paths import kind
from strategies._points import Seen, dump_random, load_random, thaw

SHARES = (0.25, 0.5, 0.75)  # of random children that are cheaper than the budgets by default
DRAWN = 200  # children that the default budgets are taken from
LEVELS = (0.0, 0.5, 1.0)  # of a decision's options, first to last, that the grid has
GRID = 500  # points of the grid that are costed at most


class Selecting:
    """Propose children coarse to fine (Yu et al., 2020, "BigNAS", section 3.2).

    In the coarse grid decisions of one kind (those whose names end alike, such as each stage's
    ``kernel``) stand at the same level of their options: first, middle or last. Of these points the
    ``coarse`` with the highest ``cost`` under each budget are proposed, then, in turn for each
    budget, the neighbours of the best child under it, and random points where there are none left.

    ``cost`` is an exact one (macs, params, ...), ``budgets`` are its upper bounds; None: such that a
    quarter, half and three quarters of random children are within.
    """

    def __init__(
        self, space: Space, seed: int, cost: str, budgets: Sequence[float] | None, coarse: int
    ) -> None:
        check_option("strategy.cost", cost, EXACT)
        check_whole("strategy.coarse", coarse, 0)
        self.space, self.seed, self.cost, self.coarse = space, seed, cost, coarse
        self.asked_for = self._checked(budgets)
        self.rng = random.Random(seed)
        self.seen = Seen(space)
        self.place = 0  # in the grid
        self.turn = 0  # of the budgets
        self.best: dict[int, tuple[Point, float, float]] = {}  # by budget: reward, negated cost
        self.visited: dict[int, int] = {}  # how many neighbours of that were looked at
        self._around: dict[int, list[Point]] = {}

    def _checked(self, budgets: Sequence[float] | None) -> tuple[float, ...] | None:
        if budgets is None:
            return None
        if isinstance(budgets, str | int | float) or not budgets:
            raise ConfigError(f"strategy.budgets: expected a list of numbers, got {budgets!r}")
        for budget in budgets:
            check_number("strategy.budgets", budget, above=0)
        least = self._cost(self.space.smallest())
        if (
            min(budgets) < least
        ):  # the first options of a choice of operations need not be the cheapest
            least = min([least, *self._drawn[:1]])
        if min(budgets) < least:
            raise ConfigError(
                f"strategy.budgets: expected {self.cost} of at least {least:,.0f}, the least that was found "
                f"among the smallest child and {DRAWN} random ones; got {min(budgets)!r}"
            )
        return tuple(sorted(budgets))

    @cached_property
    def budgets(self) -> tuple[float, ...]:
        """Return the upper bounds on the cost, ascending."""
        if self.asked_for is not None:
            return self.asked_for
        costs = self._drawn
        return tuple(sorted({costs[int(share * (len(costs) - 1))] for share in SHARES}))

    @cached_property
    def _drawn(self) -> list[float]:
        """Return what random children cost, ascending."""
        rng = random.Random(0)
        costs = (self._cost(draw(self.space, rng)) for _ in range(DRAWN))
        return sorted(filter(math.isfinite, costs))

    def ask(self) -> Point | None:
        """Propose the next point of the grid, a neighbour, or a random point; None: all are seen."""
        return self.seen.take(self._coarse() or self._fine() or self.seen.fresh(self.rng))

    def _coarse(self) -> Point | None:
        while self.place < len(self._grid):
            self.place += 1
            if self._grid[self.place - 1] not in self.seen:
                return self._grid[self.place - 1]
        return None

    def _fine(self) -> Point | None:
        for _ in self.budgets:
            number = self.turn % len(self.budgets)
            self.turn += 1
            point = self._neighbour(number)
            if point is not None:
                return point
        return None

    def _neighbour(self, number: int) -> Point | None:
        if number not in self.best:
            return None
        around = self._around.get(number)
        if around is None:
            around = self._around[number] = list(self.space.neighbours(self.best[number][0]))
            random.Random(f"{self.seed}/{self.best[number][1:]}").shuffle(around)
        while self.visited[number] < len(around):
            point = around[self.visited[number]]
            self.visited[number] += 1
            if point not in self.seen and self._cost(point) <= self.budgets[number]:
                return point
        return None

    @cached_property
    def _grid(self) -> list[Point]:
        """Return the coarse grid's points under each budget, dearest first."""
        costs = [(self._cost(point), point) for point in self._levelled()]
        chosen: list[Point] = []
        for budget in self.budgets:
            within = sorted((c for c in costs if c[0] <= budget), key=lambda c: -c[0])
            chosen += [point for _, point in within[: self.coarse] if point not in chosen]
        return chosen

    def _levelled(self) -> Iterator[Point]:
        searched = [d for d in self.space.decisions if d.searched and len(d.options) > 1]
        kinds: dict[str, int] = {}
        for decision in searched:
            name = kind(decision)
            kinds[name] = max(kinds.get(name, 0), len(decision.options))
        levels: list[tuple[float, ...]] = [
            LEVELS if count > 2 else (0.0, 1.0) for count in kinds.values()
        ]
        known: set[str] = set()
        for combination in self._combinations(levels):
            point = self._at(dict(zip(kinds, combination, strict=True)))
            if repr(point) not in known:
                known.add(repr(point))
                yield point

    def _combinations(self, levels: list[tuple[float, ...]]) -> Iterator[tuple[float, ...]]:
        if math.prod(map(len, levels)) <= GRID:
            yield from itertools.product(*levels)
            return
        rng = random.Random(f"{self.seed}/grid")
        for _ in range(GRID):
            yield tuple(rng.choice(each) for each in levels)

    def _at(self, levels: dict[str, float]) -> Point:
        def choose(decision: Decision) -> Any:
            options = decision.offered
            return options[int(levels.get(kind(decision), 0.0) * (len(options) - 1))]

        return self.space.decide(choose)

    def _cost(self, point: Point) -> float:
        try:
            return float(getattr(self.space.bind(point).cost(), self.cost))
        except NasflowError:  # valid decisions that make no network
            return math.inf

    def tell(self, point: Point, result: Result) -> None:
        """Take a result in; the best child under a budget is what is looked around next."""
        self.seen.add(point)
        if result.reward is None:
            return
        cost = result.measures.get(self.cost)
        cost = self._cost(point) if cost is None else cost
        for number, budget in enumerate(self.budgets):
            known = self.best.get(number)
            if cost <= budget and (known is None or (result.reward, -cost) > known[1:]):
                self.best[number] = (thaw(point), result.reward, -cost)
                self.visited[number] = 0
                self._around.pop(number, None)

    def remarks(self) -> Remarks:
        """Name the best child under each budget: it is exported with its part of the weights."""
        rows = [
            [f"{self.budgets[n]:,.0f}", f"{-less:,.0f}", reward, f"budget{n + 1}/"]
            for n, (_, reward, less) in sorted(self.best.items())
        ]
        networks = {f"budget{n + 1}": best[0] for n, best in sorted(self.best.items())}
        text = f"the best child under each budget of {self.cost}, ready to use:"
        return Remarks(text, ["budget", self.cost, "reward", "exported to"], rows, networks)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on identically, as JSON."""
        return {
            "random": dump_random(self.rng),
            "seen": self.seen.state(),
            "place": self.place,
            "turn": self.turn,
            "best": [[n, *best] for n, best in sorted(self.best.items())],
            "visited": sorted(map(list, self.visited.items())),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        load_random(self.rng, state["random"])
        self.seen.restore(state["seen"])
        self.place, self.turn = state["place"], state["turn"]
        self.best = {n: (thaw(point), reward, less) for n, point, reward, less in state["best"]}
        self.visited = dict(state["visited"])
        self._around = {}
