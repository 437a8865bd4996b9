"""Let an ensemble of predictors choose among mutations of the best points and random ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from nasflow.errors import ConfigError, nearest
from nasflow.ir import Point, Space
from nasflow.search.strategy import Result
from strategies._points import Seen, dump_random, key, load_random, thaw
from strategies._surrogate import Codes, Surrogate

ACQUISITIONS = ("thompson", "ucb")
PREFERENCES = ("params", "macs")
STEPS = 6  # of a member's chain before each proposal
EQUALS = 20  # candidates that are known networks in other words, before a uniform draw
HISTORY = 400  # results the predictors learn from: of more, the best half and the latest half


class Predictor:
    """Propose the candidate of which a member of an ensemble, drawn at random, expects most.

    As in BANANAS (White et al., 2021): an ensemble with uncertainty, independent Thompson sampling,
    candidates near the `parents` best points; and as in BRP-NAS (Dudziak et al., 2020) what is learnt
    is the order of rewards. The members are Gaussian processes over decisions (`strategies._surrogate`)
    in place of neural networks: they learn from five results, in milliseconds. A `random` share of
    the candidates are uniform draws.

    The first `warmup` points are each the largest of four uniform draws by `prefer`, the simplest
    score that needs no training; with None they are uniform. With `grow` above 0 points begin small
    and reach full size after so many results, as in PNAS (Liu et al., 2018): what grows is the number
    of active decisions (layers, blocks). No network is proposed twice (by fingerprint) while others
    are left; a failure counts as the worst reward so far.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        warmup: int = 5,
        prefer: Literal["params", "macs"] | None = "macs",
        members: int = 4,
        candidates: int = 200,
        random_share: float = 0.5,
        parents: int = 10,
        acquisition: Literal["thompson", "ucb"] = "thompson",
        beta: float = 1.0,
        grow: int = 0,
    ) -> None:
        choose("acquisition", acquisition, ACQUISITIONS)
        if prefer is not None:
            choose("prefer", prefer, PREFERENCES)
        self.space, self.warmup, self.prefer, self.grow = space, max(warmup, 1), prefer, grow
        self.candidates, self.parents, self.random_share = candidates, parents, random_share
        self.acquisition, self.beta = acquisition, beta
        self.rng = random.Random(seed)
        self.seen = Seen(space)
        self.codes = Codes(space)
        self.surrogate = Surrogate(self.codes, members, STEPS, self._numbers())
        self.networks: set[str] = set()  # fingerprints of what was proposed or told
        self.rows: list[list[float]] = []  # what was told, oldest first, as the predictors read it
        self.rewards: list[float] = []
        self.best: list[tuple[float, Point]] = []  # the points to mutate, best last

    def _numbers(self) -> np.random.Generator:
        return np.random.default_rng(self.rng.getrandbits(64))

    def ask(self) -> Point | None:
        """Propose a point; None when the space is exhausted."""
        mostly_known = 2 * len(self.seen) >= self.space.size  # candidates would be in vain
        trained = len(self.rows) >= self.warmup and self.codes.width > 0
        point = None
        if trained and not mostly_known:
            point = next(filter(self._unlike, self._ranked()), None)
        elif not mostly_known:
            point = self._first()
        return self._note(point or self.seen.fresh(self.rng))

    def _note(self, point: Point | None) -> Point | None:
        if point is not None and self.seen.add(point):
            self.networks.add(self.space.fingerprint(point))
        return point

    def _unlike(self, point: Point) -> bool:
        return self.space.fingerprint(point) not in self.networks

    def _first(self) -> Point | None:
        drawn = [self._small() if self.grow else self.seen.fresh(self.rng) for _ in range(4)]
        fresh = [point for point in drawn if point is not None and point not in self.seen]
        if self.prefer is None or not fresh:
            return fresh[0] if fresh else None
        return max(fresh, key=lambda point: getattr(self.space.bind(point), str(self.prefer)))

    def _ranked(self) -> Iterator[Point]:
        points = self._candidates()
        if not points:
            return
        numbers, kept = self._numbers(), self._kept()
        rows, rewards = np.array([self.rows[i] for i in kept]), np.array(self.rewards)[kept]
        asked = np.array([self.codes.row(point) for point in points])
        fit, across = self.surrogate.fit(rows, rewards, numbers), self.codes.apart(rows, asked)
        if self.acquisition == "thompson":
            value = fit.draw(across, self.codes.apart(asked, asked), numbers)
        else:
            mean, deviation = fit.predict(across)
            value = mean + self.beta * deviation
        order = np.argsort(-value, kind="stable")
        yield from (points[i] for i in order[:EQUALS])

    def _kept(self) -> list[int]:
        count = len(self.rewards)
        if count <= HISTORY:
            return list(range(count))
        latest = range(count - HISTORY // 2, count)
        best = sorted(range(latest.start), key=self.rewards.__getitem__)[-HISTORY // 2 :]
        return [*sorted(best), *latest]

    def _candidates(self) -> list[Point]:
        cap, found = self._cap(), dict[int, Point]()
        for _ in range(self.candidates):
            if self.rng.random() < self.random_share:
                point = self._small() if self.grow else self.space.sample(self.rng)
            else:
                point = self.rng.choice(self.best)[1]
                for _ in range(self.rng.choice((1, 1, 1, 2, 2, 2, 3, 3))):
                    point = self.space.mutate(point, self.rng)
            name = key(point)
            if len(point) <= cap and name not in self.seen.keys:
                found[name] = point
        return list(found.values())

    def _cap(self) -> float:
        """Return how many decisions may be active by now."""
        least, most = len(self.space.smallest()), len(self.space.largest())
        share = min(len(self.rows) / self.grow, 1.0) if self.grow else 1.0
        return least + share * (most - least) if share < 1 else float("inf")

    def _small(self) -> Point:
        """Return a random point of no more active decisions than there may be by now."""
        point, cap = self.space.smallest(), self._cap()
        if cap == float("inf"):
            return self.space.sample(self.rng)
        for _ in range(2 * self.codes.width):
            moved = self.space.mutate(point, self.rng)
            point = moved if len(moved) <= cap else point
        return point

    def tell(self, point: Point, result: Result) -> None:
        """Learn a result; a failure as the worst reward so far, and nothing before any success."""
        self._note(point)
        if result.reward is None and not self.rewards:
            return
        self.rows.append(self.codes.row(point))
        self.rewards.append(min(self.rewards) if result.reward is None else result.reward)
        self.best.append((self.rewards[-1], thaw(point)))
        self.best = sorted(self.best, key=lambda each: each[0])[-self.parents :]

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on identically, as JSON."""
        return {
            "random": dump_random(self.rng),
            "seen": self.seen.state(),
            "networks": sorted(self.networks),
            "rows": self.rows,
            "rewards": self.rewards,
            "best": [list(each) for each in self.best],
            "surrogate": self.surrogate.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        load_random(self.rng, state["random"])
        self.seen.restore(state["seen"])
        self.networks = set(state["networks"])
        self.rows = [list(row) for row in state["rows"]]
        self.rewards = list(state["rewards"])
        self.best = [(reward, thaw(point)) for reward, point in state["best"]]
        self.surrogate.restore(state["surrogate"])


def choose(option: str, value: str, known: tuple[str, ...]) -> None:
    """Raise ConfigError unless an option has one of the known values."""
    if value not in known:
        names = " or ".join(known)
        raise ConfigError(
            f"strategy.{option}: expected {names}, got {value!r}{nearest(value, known)}"
        )
