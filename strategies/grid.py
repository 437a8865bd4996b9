"""Propose every point of a space once, in the order the space lists them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from nasflow.ir import Point, Space
from nasflow.search.strategy import Result
from strategies._points import Seen


class Grid:
    """Enumerate a space; for spaces small enough to be searched whole. The seed changes nothing."""

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.space = space
        self.seen = Seen(space)
        self.listed = 0  # points taken from the enumeration
        self.left: Iterator[Point] = space.enumerate()

    def ask(self) -> Point | None:
        """Propose the next point that is not known; None at the end."""
        for point in self.left:
            self.listed += 1
            if self.seen.add(point):
                return point
        return None

    def tell(self, point: Point, result: Result) -> None:
        """Note that a point is known; its result changes nothing."""
        self.seen.add(point)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on identically, as JSON."""
        return {"listed": self.listed, "seen": self.seen.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.listed = state["listed"]
        self.seen.restore(state["seen"])
        self.left = islice(self.space.enumerate(), self.listed, None)
