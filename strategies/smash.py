"""Train a network that makes other networks' weights, rank by it, then train the best: SMASH."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from nasflow.evaluate.paths import Uniform
from nasflow.ir import Decision, Point, Space
from nasflow.options import check_share, check_whole
from nasflow.search.remarks import Remarks
from nasflow.search.strategy import Result
from strategies._points import Seen, dump_random, key, load_random, thaw, within

Score = Callable[[Point], float | None]
KEPT = 100  # points of the ranking that are proposed, the best first


class Smash:
    """Propose what is best with weights that a hypernetwork makes (Brock et al., 2018, section 3).

    `nasflow.evaluate.hypernet` trains that network on one random point a step, and lets this rank by
    it: ``explore`` random points, then ``perturb`` changed versions of the best of them, each decision
    drawn anew with probability ``chance``, then as many steps of a chain (``chain``), which moves
    whenever the changed version is better. Proposed are the best of all, in order, then random ones.
    Under hard limits the random points and changed versions that go beyond give way to others within.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        explore: int = 100,
        perturb: int = 20,
        chain: int = 20,
        chance: float = 0.05,
    ) -> None:
        for name, value, least in (
            ("explore", explore, 1),
            ("perturb", perturb, 0),
            ("chain", chain, 0),
        ):
            check_whole(f"strategy.{name}", value, least)
        check_share("strategy.chance", chance)
        self.space, self.seed, self.chance = space, seed, chance
        self.counts = explore, perturb, chain
        self.rng, self.seen = random.Random(seed), Seen(space)
        self.uniform = Uniform(space, seed)
        self.ranking: list[tuple[float, Point]] = []
        self.told: dict[int, float | None] = {}

    def paths(self, step: int, steps: int) -> list[Point]:
        """Return one random point, each decision uniform."""
        return self.uniform.paths(step, steps)

    def rank(self, score: Score) -> list[tuple[float, Point]]:
        """Return (score, point), best first, of all that were tried."""
        rng = random.Random(f"{self.seed}/rank")
        explore, perturb, chain = self.counts
        found: dict[str, tuple[float, Point]] = {}  # points of one network are one

        def tried(point: Point) -> float:
            value = score(point)
            if value is None:
                return -1.0  # below any accuracy
            found.setdefault(self.space.fingerprint(point), (value, point))
            return value

        for number in range(explore):
            point = self.uniform.paths(-1 - number, 0)[0]
            tried(point if within(self.space, point) else self.space.sample(rng))
        if not found:
            return []
        worth, base = max(found.values(), key=lambda pair: pair[0])
        for number in range(perturb + chain):
            if number == perturb:
                worth, base = max(found.values(), key=lambda pair: pair[0])
            point = self.changed(base, rng)
            new = tried(point)
            if number >= perturb and new > worth:
                worth, base = new, point
        return sorted(found.values(), key=lambda pair: -pair[0])

    def changed(self, base: Point, rng: random.Random) -> Point:
        """Return a point with some decisions of ``base`` drawn anew, at least one."""

        def choose(decision: Decision) -> Any:
            keep = decision.name in base and rng.random() >= self.chance
            return base[decision.name] if keep else rng.choice(decision.offered)

        point = self.space.decide(choose)
        fit = point != base and within(self.space, point)
        return point if fit else self.space.mutate(base, rng)

    def learn(self, ranking: Sequence[Sequence[Any]]) -> None:
        """Take in a ranking (`rank`), of which the best are proposed."""
        self.ranking = [(float(value), thaw(point)) for value, point in ranking[:KEPT]]

    def ask(self) -> Point | None:
        """Propose the next best point of the ranking, then random ones, none twice."""
        waiting = (point for _, point in self.ranking if point not in self.seen)
        return self.seen.take(next(waiting, None) or self.seen.fresh(self.rng))

    def tell(self, point: Point, result: Result) -> None:
        """Note what a point is worth trained from scratch; it changes nothing."""
        self.seen.add(point)
        self.told[key(point)] = result.reward

    def remarks(self) -> Remarks:
        """Set what trained networks are worth beside what they are with weights made for them."""
        rows = [
            [number, f"{value:.4f}", self.told[key(point)]]
            for number, (value, point) in enumerate(self.ranking, 1)
            if key(point) in self.told
        ]
        text = "the networks that were trained, by their rank with weights made for them:"
        return Remarks(text, ["rank", "accuracy then", "reward trained"], rows)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on identically, as JSON."""
        return {
            "random": dump_random(self.rng),
            "seen": self.seen.state(),
            "ranking": self.ranking,
            "told": sorted(self.told.items()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        load_random(self.rng, state["random"])
        self.seen.restore(state["seen"])
        self.learn(state["ranking"])
        self.told = dict(state["told"])
