"""Draw the paths through a space that shared weights are trained along."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nasflow.ir import Point, Space


def draw(space: Space, rng: random.Random) -> Point:
    """Return a point with each decision drawn uniformly, in order.

    Unlike `Space.sample`, which is uniform over all points: most of those are deep networks where
    every layer has decisions of its own.
    """
    return space.decide(lambda decision: rng.choice(decision.offered))


class Uniform:
    """Train one path a step, drawn uniformly: single-path one-shot (Guo et al., 2020)."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed

    def paths(self, step: int, steps: int) -> list[Point]:
        """Return the path of a step."""
        return [draw(self.space, random.Random(f"{self.seed}/{step}"))]
