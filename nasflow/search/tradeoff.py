"""What a run's networks trade against each other: its Pareto front and the volume that it dominates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nasflow.search import pareto
from nasflow.search.objective import Goal
from nasflow.search.results import Entry, Run

COSTS = ("macs", "params", "latency_ms")  # a single measure is set against the first that is known


@dataclass(frozen=True)
class Tradeoff:
    """Hold the measures that are traded, with their goals, and what the run found.

    `front` are the networks that no other one dominates, best in the first measure first. The
    `hypervolume` is that of the measures, in the product of their units, between the front and the
    `corner`.
    """

    measures: Mapping[str, Goal]
    entries: list[Entry]
    front: list[Entry]
    corner: Mapping[str, float]
    hypervolume: float

    def describe(self) -> str:
        """Say in one line how many networks are on the front, and the hypervolume."""
        names = ", ".join(f"{name} {value:.6g}" for name, value in self.corner.items())
        return (
            f"{len(self.front):,} of {len(self.entries):,} networks are on the Pareto front of "
            f"{' and '.join(self.measures)}; hypervolume {self.hypervolume:.6g} from the corner {names}"
        )


def tradeoff(run: Run) -> Tradeoff | None:
    """Return what a run's networks trade: the objective's measures, or its one against a cost.

    The corner is the objective's reference, or the worst of each measure among the networks. None
    where no network has at least two measures.
    """
    plan = run.plan.get("objective") or {}
    measures = _measures(plan.get("measures") or {"accuracy": "max"}, run.ranked)
    if measures is None:
        return None
    signs = [1 if goal == "max" else -1 for goal in measures.values()]
    entries = [e for e in run.ranked if all(name in e.result.measures for name in measures)]
    vectors = [
        [sign * e.result.measures[name] for sign, name in zip(signs, measures, strict=True)]
        for e in entries
    ]
    given = plan.get("reference") or {}
    worst = [min(column) for column in zip(*vectors, strict=True)]
    corner = [
        sign * given[name] if name in given else low
        for sign, name, low in zip(signs, measures, worst, strict=True)
    ]
    return Tradeoff(
        measures,
        entries,
        [entries[i] for i in pareto.front(vectors)],
        {name: sign * x for sign, name, x in zip(signs, measures, corner, strict=True)},
        pareto.hypervolume(vectors, corner),
    )


def summary(run: Run, best: int = 10) -> dict[str, Any]:
    """Return a run's results as JSON: why it ended, its counts, best networks, front and hypervolume."""
    found = tradeoff(run)
    pareto_front = found and {
        "measures": dict(found.measures),
        "front": [_row(entry) for entry in found.front],
        "corner": dict(found.corner),
        "hypervolume": found.hypervolume,
    }
    return {
        "ended": run.reason,
        "seconds": run.seconds,
        "evaluated": len(run.entries),
        "failed": len(run.failed),
        "duplicates": run.duplicates,
        "refused": run.refused,
        "best": [_row(entry) for entry in run.ranked[:best]],
        "pareto": pareto_front,
    }


def _measures(named: Mapping[str, Goal], ranked: list[Entry]) -> dict[str, Goal] | None:
    """Return the measures to trade: those of the objective, with a cost where it has only one."""

    def known(name: str) -> bool:
        return bool(ranked) and all(name in entry.result.measures for entry in ranked)

    measures = {name: goal for name, goal in named.items() if known(name)}
    if len(measures) == 1:
        cost = next((name for name in COSTS if name not in measures and known(name)), None)
        measures |= {cost: "min"} if cost else {}
    return measures if len(measures) > 1 else None


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "proposal": entry.n,
        "reward": entry.result.reward,
        "measures": entry.result.measures,
        "point": entry.point,
        "fingerprint": entry.fingerprint,
    }
