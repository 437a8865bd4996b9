"""Let an ensemble of predictors choose among mutations of the best points and random ones."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Container, Iterator
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr  # type: ignore[import-untyped,unused-ignore]

from nasflow.ir import Point, Space
from nasflow.options import check_option, check_share, check_whole
from nasflow.search.strategy import Result
from strategies._points import Keys, Seen, dump_random, key, load_random, thaw
from strategies._surrogate import Array, Codes, Surrogate, scores

ACQUISITIONS = ("improvement", "thompson")
PREFERENCES = ("params", "macs")
STEPS = 2  # of each member's chain before each proposal
CLIMBS, CHILDREN = 8, 4  # most rounds in which the most promising candidate is mutated; how often
PATIENCE = 2  # rounds in a row without a more promising one that end this
EQUALS = 50  # uniform draws of known networks before one is proposed again
HISTORY = 300  # results the predictors learn from: of more, the best half and the latest half
DRAWS = 32  # of each member's predictions, where several objectives are made one
IDEAL = 3.0  # a score that hardly any result exceeds: shortfalls of it are weighed
IN_FLIGHT = 50  # proposals without a result that are reckoned with


class Predictor:
    """Propose the candidate of which an ensemble of predictors expects the largest improvement.

    As in BANANAS (White et al., 2021): an ensemble with uncertainty, and candidates near the
    `parents` best points; as in BRP-NAS (Dudziak et al., 2020) what is learnt is the order of
    rewards. The members are Gaussian processes (`strategies._surrogate`) in place of neural networks:
    they learn from five results, in milliseconds. As in NAS-BOWL (Ru et al., 2021) they look at the
    network as well as at its decisions. A `random_share` of the first candidates are uniform draws;
    the most promising so far is mutated again and again. Proposals without a result yet count as
    average ones (Ginsbourger et al., 2010), so that workers do not crowd. ``acquisition="thompson"``
    takes the best of values drawn from one member, each by itself, as BANANAS does.

    The first `warmup` points are each the largest of four uniform draws by `prefer`, the simplest
    score that needs no training; with None they are uniform. With `grow` above 0 points begin small
    and reach full size after so many results, as in PNAS (Liu et al., 2018): what grows is the number
    of active decisions (layers, blocks). Each of several objectives has its own ensemble; for a
    proposal they are made one by random weights, as in ParEGO (Knowles, 2006). No network is proposed
    twice (by fingerprint) unless 50 draws find no other; a failure counts as the worst so far, and
    points that cannot be bound are no candidates.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        warmup: int = 5,
        prefer: Literal["params", "macs"] | None = "macs",
        members: int = 4,
        candidates: int = 10,
        random_share: float = 0.3,
        parents: int = 5,
        acquisition: Literal["improvement", "thompson"] = "improvement",
        grow: int = 0,
    ) -> None:
        check_option("strategy.acquisition", acquisition, ACQUISITIONS)
        if prefer is not None:
            check_option("strategy.prefer", prefer, PREFERENCES)
        for option, number, least in (
            ("members", members, 1),
            ("candidates", candidates, 1),
            ("parents", parents, 1),
            ("warmup", warmup, 0),
            ("grow", grow, 0),
        ):
            check_whole(f"strategy.{option}", number, least)
        check_share("strategy.random_share", random_share)
        self.space, self.warmup, self.prefer, self.grow = space, max(warmup, 1), prefer, grow
        self.candidates, self.parents, self.random_share = candidates, parents, random_share
        self.acquisition = acquisition
        self.rng = random.Random(seed)
        self.seen = Seen(space)
        self.codes = Codes(space)
        self.members = members
        self.surrogates: list[Surrogate] = []  # one for each objective, from the first result on
        self.networks = Keys()  # of what was proposed or told
        self.told: list[tuple[Point, tuple[float, ...]]] = []  # with its values, oldest first
        self.count = 0  # of results, those forgotten too
        self.open: dict[int, Point] = {}  # proposals without a result, by their keys

    def _numbers(self) -> np.random.Generator:
        return np.random.default_rng(self.rng.getrandbits(64))

    def ask(self) -> Point | None:
        """Propose a point; None when the space is exhausted."""
        mostly_known = 2 * len(self.seen) >= self.space.size  # candidates would be in vain
        trained = self.count >= self.warmup and self.codes.width > 0
        point = None
        if trained and not mostly_known:
            point = self._best()
        elif not mostly_known:
            point = self._first()
        point = point or self._another()
        if point is not None:
            self._note(point)
            self.open[key(point)] = point
        return point

    def _best(self) -> Point | None:
        """Return the most promising candidate whose network is new."""
        return next(filter(self._new, self._ranked()), None)

    def _another(self) -> Point | None:
        """Return a uniform draw whose network is new, or one that is not where draws find none."""
        for _ in range(EQUALS):
            point = self.seen.fresh(self.rng)
            if point is None or self._new(point):
                break
        return point

    def _new(self, point: Point) -> bool:
        return self.codes.bound(point) and self._network(point) not in self.networks

    def _note(self, point: Point) -> None:
        if self.seen.add(point) and self.codes.bound(point):
            self.networks.add(self._network(point))

    def _network(self, point: Point) -> int:
        return int(self.space.fingerprint(point)[:16], 16)

    def _first(self) -> Point | None:
        drawn = [self._small() if self.grow else self.seen.fresh(self.rng) for _ in range(4)]
        fresh = [p for p in drawn if p is not None and p not in self.seen and self._new(p)]
        if self.prefer is None or not fresh:
            return fresh[0] if fresh else None
        return max(fresh, key=lambda point: getattr(self.space.bind(point), str(self.prefer)))

    def _ranked(self) -> Iterator[Point]:
        """Yield candidates, the most promising first."""
        numbers, targets = self._numbers(), self._targets()
        weights = np.array([self.rng.expovariate(1.0) for _ in targets])
        rewards = blended(targets, weights)
        best = [self.told[i][0] for i in np.argsort(-rewards, kind="stable")[: self.parents]]
        waiting = [*filter(self.codes.bound, self.open.values())][-IN_FLIGHT:]
        rows = self.codes.rows([*(point for point, _ in self.told), *waiting])
        targets = np.pad(targets, ((0, 0), (0, len(waiting))))  # with zeros, which are the means
        judge = self._judge(rows, targets, weights, float(rewards.max()), numbers)
        pool, worth = self._climbed(best, judge)
        yield from (pool[i] for i in np.argsort(-worth, kind="stable"))

    def _judge(
        self,
        rows: Array,
        targets: Array,
        weights: Array,
        top: float,
        numbers: np.random.Generator,
    ) -> Callable[[list[Point]], Array]:
        """Return a function from candidates to their worth: the improvement expected on ``top``."""
        standard = self.codes.standard(rows, rows)
        pairs = self.codes.pairs(standard, standard)
        each = zip(self.surrogates, targets, strict=True)
        fits = [surrogate.fits(pairs, target, numbers) for surrogate, target in each]
        luck = numbers.standard_normal((len(targets), DRAWS, 1))
        one = numbers.integers(self.members)

        def worth(points: list[Point]) -> Array:
            asked = self.codes.standard(self.codes.rows(points), rows)
            across = self.codes.pairs(standard, asked)
            found = [fit.predict(across) for row in fits for fit in row]
            means, deviations = (
                np.array(part).reshape(len(fits), -1, len(points))
                for part in zip(*found, strict=True)
            )
            if self.acquisition == "thompson":
                drawn = means[:, one] + deviations[:, one] * numbers.standard_normal(len(points))
                return blended(drawn, weights)
            if len(fits) == 1:
                return expected(means[0], deviations[0], top)
            drawn = means[:, :, None] + deviations[:, :, None] * luck[:, None]
            gain = blended(drawn, weights) - top
            # far from any improvement no draw shows one: there the mean decides
            return np.asarray((np.maximum(gain, 0.0) + 1e-3 * gain).mean(axis=(0, 1)))

        return worth

    def _climbed(
        self, best: list[Point], judge: Callable[[list[Point]], Array]
    ) -> tuple[list[Point], Array]:
        """Return candidates and their worth: the first ones, and mutations of the most promising."""
        found, idle = self._candidates(best), 0
        pool = list(found.values())
        if not pool:
            return pool, np.zeros(0)
        worth = judge(pool)
        for _ in range(CLIMBS):
            top = int(worth.argmax())
            children = (self.space.mutate(pool[top], self.rng) for _ in range(CHILDREN))
            if new := self._fresh(children, found):
                found |= new
                pool += new.values()
                worth = np.append(worth, judge(list(new.values())))
            idle = idle + 1 if int(worth.argmax()) == top else 0
            if idle == PATIENCE:
                break
        return pool, worth

    def _targets(self) -> Array:
        """Return the scores of all results, (objectives, results)."""
        return np.array([scores(np.array(c)) for c in zip(*(v for _, v in self.told), strict=True)])

    def _candidates(self, best: list[Point]) -> dict[int, Point]:
        def points() -> Iterator[Point]:
            for _ in range(self.candidates):
                if self.rng.random() < self.random_share:
                    yield self._small()
                else:
                    point = self.rng.choice(best)
                    for _ in range(self.rng.choice((1, 1, 1, 2, 2, 2, 3, 3))):
                        point = self.space.mutate(point, self.rng)
                    yield point

        return self._fresh(points(), ())

    def _fresh(self, points: Iterator[Point], known: Container[int]) -> dict[int, Point]:
        """Return the distinct points that are new and small enough, by their keys."""
        cap, found = self._cap(), dict[int, Point]()
        for point in points:
            name = key(point)
            new = len(point) <= cap and name not in self.seen.keys and name not in known
            if new and self.codes.bound(point):
                found[name] = point
        return found

    def _cap(self) -> float:
        """Return how many decisions may be active by now."""
        if self.count >= self.grow:
            return float("inf")
        least, most = len(self.space.smallest()), len(self.space.largest())
        return least + self.count / self.grow * (most - least)

    def _small(self) -> Point:
        """Return a random point of no more active decisions than there may be by now."""
        cap = self._cap()
        if cap == float("inf"):
            return self.space.sample(self.rng)
        point = self.space.smallest()
        for _ in range(2 * self.codes.width):
            moved = self.space.mutate(point, self.rng)
            point = moved if len(moved) <= cap else point
        return point

    def tell(self, point: Point, result: Result) -> None:
        """Learn a result; a failure as the worst so far, and nothing before any success.

        Nor is anything learnt of a point that cannot be bound: such ones are no candidates.
        """
        self._note(point)
        self.open.pop(key(point), None)
        if not self.codes.bound(point) or (result.reward is None and not self.told):
            return
        if result.reward is None:
            values = tuple(min(column) for column in zip(*(v for _, v in self.told), strict=True))
        else:
            values = tuple(result.values) or (result.reward,)
        self.told.append((thaw(point), values))
        while len(self.surrogates) < len(values):
            self.surrogates.append(Surrogate(self.codes, self.members, STEPS, self._numbers()))
        self.count += 1
        if len(self.told) > HISTORY:
            self._forget()

    def _forget(self) -> None:
        """Drop the worst of the older half: by the reward, or the sum of several's scores."""
        older = np.array([values for _, values in self.told[: HISTORY // 2 + 1]])
        worth = np.sum([scores(column) for column in older.T], axis=0)
        del self.told[int(worth.argmin())]

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on identically, as JSON."""
        return {
            "random": dump_random(self.rng),
            "seen": self.seen.state(),
            "networks": self.networks.state(),
            "told": [[point, list(values)] for point, values in self.told],
            "count": self.count,
            "open": list(self.open.values()),
            "surrogates": [surrogate.state() for surrogate in self.surrogates],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        load_random(self.rng, state["random"])
        self.seen.restore(state["seen"])
        self.networks.restore(state["networks"])
        self.told = [(thaw(point), tuple(values)) for point, values in state["told"]]
        self.count = state["count"]
        self.open = {key(point): thaw(point) for point in state["open"]}
        self.surrogates = []
        for each in state["surrogates"]:
            self.surrogates.append(
                Surrogate(self.codes, self.members, STEPS, np.random.default_rng(0))
            )
            self.surrogates[-1].restore(each)


def expected(means: Array, deviations: Array, best: float) -> Array:
    """Return by how much normal variables, (members, points), exceed `best` on the average."""
    above = (means - best) / deviations
    density = np.exp(-0.5 * above * above) / math.sqrt(2 * math.pi)
    return np.asarray((deviations * (above * ndtr(above) + density)).mean(axis=0))


def blended(values: Array, weights: Array) -> Array:
    """Return one value in place of several, the first axis, by augmented Chebyshev weights."""
    if len(values) == 1:
        return np.asarray(values[0])
    short = (values - IDEAL) * weights.reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(short.min(axis=0) + 0.05 * short.sum(axis=0))
