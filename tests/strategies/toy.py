"""A small space with the surface of `nasflow.ir.Space`, for driving strategies without graphs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Point = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Decision:
    name: str
    options: tuple[Any, ...]
    gate: Callable[[Mapping[str, Any]], bool] | None = None
    ordered: bool = False
    searched: bool = True

    @property
    def default(self) -> Any:
        return self.options[0]


class Space:
    def __init__(self, *decisions: Decision, name: str = "toy") -> None:
        self.name = name
        self.decisions = decisions
        self.points: dict[str, Point] = {}
        self.size = self._size()

    def _size(self) -> int:
        if any(d.gate for d in self.decisions):
            return sum(1 for _ in self.enumerate())
        size = 1
        for d in self.decisions:
            size *= len(d.options)
        return size

    def active(self, decision: Decision, partial: Mapping[str, Any]) -> bool:
        return decision.gate is None or decision.gate(partial)

    def complete(self, partial: Mapping[str, Any], rng: random.Random) -> Point:
        point: Point = {}
        for d in self.decisions:
            if self.active(d, point):
                point[d.name] = partial[d.name] if d.name in partial else rng.choice(d.options)
        return point

    def check(self, point: Mapping[str, Any]) -> None:
        seen: Point = {}
        for d in self.decisions:
            if self.active(d, seen):
                assert point[d.name] in d.options
                seen[d.name] = point[d.name]
        assert seen == dict(point)

    def sample(self, seed: int | random.Random) -> Point:
        rng = seed if isinstance(seed, random.Random) else random.Random(seed)
        return self.complete({}, rng)

    def mutate(self, point: Point, rng: random.Random) -> Point:
        free = [d for d in self.decisions if d.name in point and len(d.options) > 1]
        d = rng.choice(free)
        value = rng.choice([o for o in d.options if o != point[d.name]])
        return self.complete({**point, d.name: value}, rng)

    def crossover(self, a: Point, b: Point, rng: random.Random) -> Point:
        names = {*a, *b}
        parents = {n: rng.choice([p[n] for p in (a, b) if n in p]) for n in sorted(names)}
        return self.complete(parents, rng)

    def neighbours(self, point: Point) -> Iterator[Point]:
        for d in self.decisions:
            if d.name in point:
                for value in d.options:
                    if value != point[d.name]:
                        yield self.complete({**point, d.name: value}, random.Random(0))

    def enumerate(self) -> Iterator[Point]:
        def grow(i: int, point: Point) -> Iterator[Point]:
            if i == len(self.decisions):
                yield dict(point)
                return
            d = self.decisions[i]
            if not self.active(d, point):
                yield from grow(i + 1, point)
                return
            for value in d.options:
                yield from grow(i + 1, {**point, d.name: value})

        return grow(0, {})
