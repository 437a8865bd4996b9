"""Propose points uniformly at random, none twice."""

from __future__ import annotations

import random
from typing import Any

from nasflow.ir import Point, Space
from nasflow.search.strategy import Result
from strategies._points import Seen, dump_random, load_random


class Random:
    """Draw from a space without replacement.

    The baseline to beat (Li and Talwalkar, 2019, "Random search and reproducibility for neural
    architecture search").
    """

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.seen = Seen(space)

    def ask(self) -> Point | None:
        """Propose a point neither proposed nor told before; None when the space is exhausted."""
        return self.seen.take(self.seen.fresh(self.rng))

    def tell(self, point: Point, result: Result) -> None:
        """Note that a point is known; its result changes nothing."""
        self.seen.add(point)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on identically, as JSON."""
        return {"random": dump_random(self.rng), "seen": self.seen.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        load_random(self.rng, state["random"])
        self.seen.restore(state["seen"])
