"""Search by gradients in a mixture of all networks, then propose what it holds most of: DARTS."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from nasflow.ir import Decision, Point, Space
from nasflow.search.remarks import Remarks
from nasflow.search.strategy import Result
from strategies._points import Seen, dump_random, load_random, thaw

DRAWS = 200  # noisy points in a row that were known already, before a fresh one is drawn


class Darts:
    """Propose the strongest options of a trained mixture (Liu et al., 2019, section 2.4).

    `nasflow.evaluate.mixture` trains it and calls `learn`. Each decision takes its strongest option;
    where nodes add operations on picked inputs (the darts space), a node takes the inputs whose
    strongest operation, none left out, is strongest, and that operation on each. Decisions that
    cannot be mixed keep the value that the mixture had. Further proposals are drawn from the shares
    (by Gumbel noise), as all are before anything was learned.
    """

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.space, self.rng, self.seen = space, random.Random(seed), Seen(space)
        self.shares: dict[str, Any] | None = None

    def learn(self, shares: Mapping[str, Any]) -> None:
        """Take in the shares of a trained mixture (`nasflow.evaluate.mixture.Mixture.search`)."""
        self.shares = {
            "decisions": dict(shares["decisions"]),
            "edges": [dict(thaw(group)) for group in shares["edges"]],
            "held": thaw(dict(shares["held"])),
        }

    def ask(self) -> Point | None:
        """Propose the strongest point, then points drawn from the shares, none twice."""
        shares = self.shares or {"decisions": {}, "edges": [], "held": {}}
        point = discretise(self.space, shares) if self.shares else None
        for _ in range(DRAWS):
            if point is not None and point not in self.seen:
                break
            point = discretise(self.space, shares, self.rng)
        else:
            point = self.seen.fresh(self.rng)
        return self.seen.take(point)

    def tell(self, point: Point, result: Result) -> None:
        """Note that a point is known; its result changes nothing."""
        self.seen.add(point)

    def remarks(self) -> Remarks:
        """Say what was not mixed, and why."""
        held = (self.shares or {}).get("held", {})
        rows = [[name, value, why] for name, (value, why) in held.items()]
        text = (
            f"{len(rows)} decisions were not mixed but held:"
            if rows
            else "all decisions were mixed"
        )
        return Remarks(text, ["decision", "held at", "because"] if rows else (), rows)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on identically, as JSON."""
        return {
            "random": dump_random(self.rng),
            "seen": self.seen.state(),
            "shares": self.shares,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        load_random(self.rng, state["random"])
        self.seen.restore(state["seen"])
        if state["shares"] is not None:
            self.learn(state["shares"])


def discretise(space: Space, shares: Mapping[str, Any], rng: random.Random | None = None) -> Point:
    """Return the point of the strongest options, or with ``rng`` one drawn by their shares.

    ``shares``: ``decisions`` has options' shares by name (equal ones where absent), ``edges`` has
    groups of ``slots`` (names of a pick and of a choice), ``inputs``, ``options``, and ``shares`` by
    input, those of none last, ``held`` the values, and why, of those that are not mixed.
    """
    wanted: Point = {name: value for name, (value, _) in shares["held"].items()}
    for group in shares["edges"]:
        wanted |= strongest(group, rng)

    def choose(decision: Decision) -> Any:
        if not decision.searched:
            return decision.default
        if decision.name in wanted:
            return wanted[decision.name]
        count = len(decision.options)
        scores = shares["decisions"].get(decision.name, [1 / count] * count)
        noisy = [_score(share, rng) for share in scores]
        return decision.options[noisy.index(max(noisy))]

    return space.decide(choose)


def strongest(group: Mapping[str, Any], rng: random.Random | None = None) -> Point:
    """Return what the slots of a node take: as many of its inputs, by their strongest operation."""
    best = []
    for source, row in zip(group["inputs"], group["shares"], strict=True):
        scores = [_score(share, rng) for share in row[: len(group["options"])]]  # none is last
        best.append((max(scores), source, group["options"][scores.index(max(scores))]))
    # With fewer inputs than slots some are taken twice.
    ranked = sorted(best, key=lambda edge: -edge[0])
    chosen = [ranked[i % len(ranked)] for i in range(len(group["slots"]))]
    point: Point = {}
    for (pick, choice), (_, source, option) in zip(group["slots"], chosen, strict=True):
        point |= {pick: source, choice: option}
    return point


def _score(share: float, rng: random.Random | None) -> float:
    """Return the logarithm of a share, with noise by which the largest is drawn by the shares."""
    score = math.log(max(share, 1e-30))
    return score if rng is None else score - math.log(-math.log(rng.random() or 1e-30))
