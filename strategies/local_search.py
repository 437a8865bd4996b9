"""Climb from neighbour to better neighbour; start anew where none is better."""

from __future__ import annotations

import random
from typing import Any

from nasflow.ir import Point, Space
from nasflow.search.strategy import Result
from strategies._points import Seen, dump_random, load_random, thaw


class LocalSearch:
    """Propose the neighbours of the best point since the last start, in random order.

    White et al., 2021, "Exploring the loss landscape in neural architecture search", the variant
    that moves as soon as a neighbour is better, which needs no waiting when many are in flight.
    """

    def __init__(self, space: Space, seed: int = 0, *, start: int = 10) -> None:
        self.space, self.start = space, start
        self.rng = random.Random(seed)
        self.seen = Seen(space)
        self.draws = start  # random points yet to be proposed before climbing
        self.best: tuple[Point, float] | None = None
        self.order = 0  # seed of the order in which the best point's neighbours are visited
        self.visited = 0
        self.around: list[Point] = []

    def ask(self) -> Point | None:
        """Propose an unseen neighbour, or a random point; None when the space is exhausted."""
        return self.seen.take(self._neighbour() or self.seen.fresh(self.rng))

    def _neighbour(self) -> Point | None:
        if self.draws > 0 or self.best is None:
            self.draws -= 1
            return None
        while self.visited < len(self.around):
            self.visited += 1
            if self.around[self.visited - 1] not in self.seen:
                return self.around[self.visited - 1]
        self.best, self.around, self.draws = None, [], self.start - 1
        return None

    def tell(self, point: Point, result: Result) -> None:
        """Move to the point if it is better than the best since the last start."""
        self.seen.add(point)
        if result.reward is None or (self.best is not None and result.reward <= self.best[1]):
            return
        self.best = (thaw(point), result.reward)
        self.order, self.visited = self.rng.getrandbits(32), 0
        self._look_around()

    def _look_around(self) -> None:
        assert self.best is not None
        self.around = list(self.space.neighbours(self.best[0]))
        random.Random(self.order).shuffle(self.around)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on identically, as JSON."""
        return {
            "random": dump_random(self.rng),
            "seen": self.seen.state(),
            "draws": self.draws,
            "best": self.best and list(self.best),
            "order": self.order,
            "visited": self.visited,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        load_random(self.rng, state["random"])
        self.seen.restore(state["seen"])
        self.draws, self.order, self.visited = state["draws"], state["order"], state["visited"]
        self.best, self.around = None, []
        if state["best"] is not None:
            self.best = (thaw(state["best"][0]), state["best"][1])
            self._look_around()
