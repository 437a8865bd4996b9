"""Read what a run has found, while it goes on or after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasflow.errors import RunError
from nasflow.search import ledger, pareto, store
from nasflow.search.job import thaw
from nasflow.search.loop import read_result
from nasflow.search.strategy import Result

if TYPE_CHECKING:
    from nasflow.ir import Point


@dataclass(frozen=True)
class Entry:
    """Hold one evaluated candidate: proposal `n`, the `seconds` it took, and the run's time `at` its end."""

    n: int
    point: Point
    fingerprint: str
    result: Result
    seconds: float = 0.0
    at: float = 0.0


@dataclass
class Run:
    """Hold a run as its ledger tells it.

    `plan` is the configuration it began with, `entries` the finished evaluations in the order they ended, failed ones
    too; `refused` and `duplicates` count proposals that cost nothing; `reason` says why the search ended, None while it
    has not; `interrupted` tells that several drivers worked on it.
    """

    out: Path
    plan: dict[str, Any]
    entries: list[Entry] = field(default_factory=list)
    refused: int = 0
    duplicates: int = 0
    in_flight: int = 0
    seconds: float = 0.0
    reason: str | None = None
    interrupted: bool = False

    @property
    def failed(self) -> list[Entry]:
        """Return the candidates that failed; each result says why."""
        return [e for e in self.entries if e.result.error is not None]

    @property
    def utilisation(self) -> float | None:
        """Return the share of their time that workers spent on candidates, until the last one was handed out.

        What follows, when workers have nothing left to begin, does not count. None where the number of workers was
        left to the cluster, or a run was interrupted: then it is not known who was working.
        """
        workers = self.plan.get("executor", {}).get("workers")
        until = max((e.at - e.seconds for e in self.entries), default=0.0)
        if not workers or self.interrupted or until <= 0:
            return None
        busy = sum(max(0.0, min(e.at, until) - (e.at - e.seconds)) for e in self.entries)
        return busy / (workers * until)

    @property
    def ranked(self) -> list[Entry]:
        """Return the candidates with a reward, best first; of equals the earlier one first."""
        scored = [e for e in self.entries if e.result.reward is not None]
        return sorted(scored, key=lambda e: (-(e.result.reward or 0.0), e.n))

    @property
    def best(self) -> Entry | None:
        """Return the candidate of the highest reward; None while there is none."""
        return next(iter(self.ranked), None)

    @property
    def front(self) -> list[Entry]:
        """Return the candidates that no other one dominates, best in the first objective first."""
        scored = [e for e in self.entries if e.result.values]
        return [scored[i] for i in pareto.front([e.result.values for e in scored])]

    def hypervolume(self, reference: Sequence[float]) -> float:
        """Measure the volume the run dominates above `reference`, one number for each objective, all maximised."""
        return pareto.hypervolume(
            [e.result.values for e in self.entries if e.result.values], reference
        )

    def rank(self, number: int) -> Entry:
        """Return the candidate at a rank, counted from 1; raises RunError where there is none."""
        ranked = self.ranked
        if not isinstance(number, int) or not 1 <= number <= len(ranked):
            has = f"ranks 1 to {len(ranked)}" if ranked else "no candidate that succeeded"
            raise RunError(
                f"{store.named(self.out)}: expected a rank it has, got {number!r}; it has {has}"
            )
        return ranked[number - 1]


def load(out: Path | str) -> Run:
    """Read the run in folder `out`.

    Raises RunError for a folder that holds no run and for a damaged ledger.
    """
    folder = store.copy_of(str(out), again=True) if "://" in str(out) else Path(out)
    records = ledger.read(folder)
    run = Run(folder, plan=next(records)["plan"])
    asked: dict[int, ledger.Record] = {}
    for record in records:
        _add(run, asked, record)
    run.in_flight = len(asked)
    return run


def _add(run: Run, asked: dict[int, ledger.Record], record: ledger.Record) -> None:
    kind = record["t"]
    run.seconds = record.get("at", run.seconds)
    if kind == "ask":
        asked[record["n"]] = record
    elif kind == "result":
        ask = asked.pop(record["n"])
        point = thaw(ask["point"]) or {}
        result = read_result(record)
        run.entries.append(
            Entry(record["n"], point, ask["fp"], result, record["seconds"], record["at"])
        )
    run.refused += kind == "refused"
    run.duplicates += kind == "dup"
    run.interrupted |= kind == "start"
    if kind in ("start", "end"):
        run.reason = record.get("reason")
