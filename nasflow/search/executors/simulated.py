"""Evaluate in simulated time: discrete events stand for the hours of hundreds of workers.

Candidates are evaluated at once in this process, by a table for instance; only their durations are made up. The
strategy sees results in the order in which asynchronous workers would have brought them, and every time of the run
(`budget.seconds`, the ledger's ``at`` and ``seconds``) is a simulated one. One seed gives one run.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from nasflow.errors import ConfigError, RunError, nearest
from nasflow.search.job import Evaluate, Job, Outcome, Work, by_point, construct, graph_for, perform

if TYPE_CHECKING:
    from nasflow.search.executors import Place, Run
    from nasflow.search.loop import Loop


@dataclass(frozen=True)
class Durations:
    """Say how long candidates take: `scale` seconds, or `scale` times a `measure` of theirs, such as ``macs``.

    `sigma` spreads them log-normally around that median; 1.5 is a heavy tail, whose mean is three medians and of which
    one in a thousand takes a hundred. A candidate's draw depends on its network and the run's seed alone.
    """

    scale: float = 600.0
    measure: str | None = None
    sigma: float = 1.5

    def __post_init__(self) -> None:
        for name in ("scale", "sigma"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ConfigError(
                    f"executor.durations.{name}: expected a number that is not negative, got {value!r}"
                )

    def of(self, job: Job, outcome: Outcome) -> float:
        """Return a candidate's seconds; one that failed without the measure takes no time."""
        amount = 1.0
        if self.measure is not None:
            if self.measure not in outcome.measures and outcome.error is None:
                hint = nearest(self.measure, outcome.measures)
                raise RunError(
                    f"executor.durations.measure: the evaluator gives no {self.measure!r}{hint}; "
                    f"it gives: {', '.join(outcome.measures) or 'none'}"
                )
            amount = outcome.measures.get(self.measure, 0.0)
        return amount * self.scale * math.exp(self.sigma * random.Random(job.seed).gauss(0, 1))


def durations(spec: Mapping[str, Any] | None) -> Durations:
    """Read durations from configuration; raises ConfigError for an unknown field, with the nearest valid one."""
    names = [f.name for f in fields(Durations)]
    for name in spec or {}:
        if name not in names:
            raise ConfigError(
                f"executor.durations has no field {name!r}{nearest(name, names)}; it has: {', '.join(names)}"
            )
    return Durations(**(spec or {}))


def bring_up(place: Place, work: Work | None, evaluate: Evaluate | None) -> Run:
    """Return a function that runs a loop to its end in simulated time."""
    lasting = durations(place.durations)

    def run(loop: Loop) -> None:
        call = by_point(evaluate or construct(work.evaluator if work else None))
        Simulation(place, lasting, call).run(loop)

    return run


class Simulation:
    """Keep workers busy with one driver, which takes `overhead` seconds over each candidate and over each result."""

    def __init__(self, place: Place, lasting: Durations, evaluate: Evaluate) -> None:
        self.place, self.lasting, self.evaluate = place, lasting, evaluate
        self.now = 0.0
        self.running: list[tuple[float, int, Job, Outcome]] = []  # a heap, the first to end on top

    def run(self, loop: Loop) -> None:
        """Go from event to event until the loop has nothing more to give and nothing is running."""
        loop.begin(lambda: self.now)
        while True:
            self._fill(loop)
            if not self.running:
                return
            end, _, job, outcome = heapq.heappop(self.running)
            self.now = max(self.now, end) + self.place.overhead
            loop.done(job, outcome)

    def _fill(self, loop: Loop) -> None:
        while len(self.running) < (self.place.workers or 1):
            job = loop.next()
            if job is None:
                return
            self.now += self.place.overhead
            outcome = self._outcome(job)
            heapq.heappush(self.running, (self.now + outcome.seconds, job.n, job, outcome))

    def _outcome(self, job: Job) -> Outcome:
        graph = graph_for(self.evaluate, job)
        outcome = perform(self.evaluate, graph, job.point, job.seed, memory=self.place.memory)
        seconds = self.lasting.of(job, outcome)
        limit = self.place.time_limit
        if limit is not None and seconds > limit:
            return Outcome(error=f"time limit of {limit:g} s", seconds=limit)
        return replace(outcome, seconds=seconds)
