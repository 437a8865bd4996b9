"""Keep any strategy's proposals within hard limits, also where it draws by means of its own."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from nasflow.search.limited import Limited
from nasflow.search.strategy import Result, Strategy

if TYPE_CHECKING:
    from nasflow.ir import Point

MISSES = 4  # proposals beyond the limits, more than there were within, that are refused


class Steered:
    """A strategy whose proposals are led back inside when it keeps missing the limits.

    A few proposals beyond the limits reach the loop, which refuses them on record; the strategy is
    told, and may learn from it. Once they outnumber those within by `MISSES`, each further one is
    told as failed, and in its place the point within that a descent from it reaches is proposed
    and told.
    """

    def __init__(self, strategy: Strategy, space: Limited, seed: int) -> None:
        self.strategy, self.space = strategy, space
        self.rng = random.Random(f"steer {seed}")
        self.misses = 0

    def __getattr__(self, name: str) -> Any:
        if name == "strategy":  # while a copy is made
            raise AttributeError(name)
        return getattr(self.strategy, name)

    def ask(self) -> Point | None:
        """Propose what the strategy does, or the point within that is near it."""
        point = self.strategy.ask()
        if point is None:
            return None
        if self.space.excess(point) == 0:
            self.misses = max(0, self.misses - 1)
            return point
        if self.misses < MISSES:
            self.misses += 1
            return point
        self.strategy.tell(point, Result(error="over a hard limit; a network near it is proposed"))
        return self.space.repair(point, self.rng)

    def tell(self, point: Point, result: Result) -> None:
        """Pass a result on."""
        self.strategy.tell(point, result)

    def state(self) -> dict[str, Any]:
        """Return the strategy's state and this one's."""
        version, words, gauss = self.rng.getstate()
        own = {"random": [version, list(words), gauss], "misses": self.misses}
        return {"steered": own, "strategy": self.strategy.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`, or from one that the strategy had without limits."""
        if "steered" not in state:
            self.strategy.restore(state)
            return
        version, words, gauss = state["steered"]["random"]
        self.rng.setstate((version, tuple(words), gauss))
        self.misses = state["steered"]["misses"]
        self.strategy.restore(state["strategy"])
