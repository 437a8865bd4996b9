"""Evaluate candidates in batches on Ray actors, for evaluations far cheaper than a Tune trial is itself."""

from __future__ import annotations

import json
from collections import Counter, deque
from itertools import islice
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from nasflow.errors import RunError
from nasflow.search.executors.cluster import connected, death, last_line, mention_gpus
from nasflow.search.job import Evaluate, Job, Outcome, Work, run_remote

if TYPE_CHECKING:
    from nasflow.search.executors import Place, Run
    from nasflow.search.loop import Loop

DEPTH = 2  # batches at each actor, so that none waits for the driver
Batch = list[Job]


class Evaluating:
    """Evaluate batches in an actor's process.

    `shared` is an evaluator out of Ray's object store: its arrays are not copied, and read-only.
    """

    def __init__(self, shared: Evaluate | None = None) -> None:
        self.shared = shared

    def evaluate(self, work: str, batch: list[str]) -> list[str]:
        """Return the outcomes of jobs, all as JSON."""
        return [run_remote(work, job, shared=self.shared) for job in batch]


def bring_up(place: Place, work: Work, evaluate: Evaluate | None = None) -> Run:
    """Return a function that runs a loop to its end on Ray actors.

    An `evaluate` that is ``portable`` goes to the object store once, from where all actors read it.
    """
    portable = evaluate if getattr(evaluate, "portable", False) else None

    def run(loop: Loop) -> None:
        with connected(place, *((None,) if portable else ())) as workers:
            mention_gpus(place, work.evaluator)
            pool = Pool(place, work, workers, ray.put(portable) if portable else None)
            try:
                pool.run(loop)
            finally:
                pool.close()

    return run


class Pool:
    """Keep actors busy with batches; replace those that die, and give their candidates another chance, one by one."""

    def __init__(self, place: Place, work: Work, workers: int, shared: Any = None) -> None:
        self.place, self.order, self.work, self.shared = place, work, work.to_json(), shared
        self.actor = ray.remote(
            num_cpus=place.cpus, num_gpus=place.gpus, resources=dict(place.resources or {})
        )(Evaluating)
        # One worker takes one candidate at a time: then a run is bit-identical, whatever the timing.
        self.depth, self.size = (1, 1) if workers == 1 else (DEPTH, place.batch)
        self.queues: dict[Any, deque[Any]] = {
            self.actor.remote(shared): deque() for _ in range(workers)
        }
        self.pending: dict[Any, tuple[Any, Batch]] = {}
        self.again: deque[Batch] = deque()
        self.deaths: Counter[int] = Counter()

    def run(self, loop: Loop) -> None:
        """Evaluate until the loop has nothing more to give and nothing is in flight."""
        while True:
            self._fill(loop)
            if not self.pending:
                return
            loop.settle()
            ready, _ = ray.wait(list(self.pending), num_returns=1)
            self._collect(ready[0], loop)

    def close(self) -> None:
        """End the actors."""
        for actor in self.queues:
            ray.kill(actor)

    def _fill(self, loop: Loop) -> None:
        for depth in range(self.depth):
            for actor, queue in self.queues.items():
                if len(queue) > depth:
                    continue
                batch = (
                    self.again.popleft()
                    if self.again
                    else list(islice(iter(loop.next, None), self.size))
                )
                if not batch:
                    return
                reference = actor.evaluate.remote(
                    self.work, [self.order.parcel(job) for job in batch]
                )
                queue.append(reference)
                self.pending[reference] = (actor, batch)

    def _collect(self, reference: Any, loop: Loop) -> None:
        actor, batch = self.pending.pop(reference)
        queue = self.queues[actor]
        try:
            outcomes = [Outcome(**json.loads(text)) for text in ray.get(reference)]
        except RayTaskError as error:
            raise RunError(f"a Ray worker cannot evaluate: {last_line(error)}") from error
        except RayError as error:
            self._replace(actor, reference, batch, loop, error)
            return
        queue.remove(reference)
        for job, outcome in zip(batch, outcomes, strict=True):
            loop.done(job, outcome)

    def _replace(
        self, actor: Any, reference: Any, batch: Batch, loop: Loop, cause: RayError
    ) -> None:
        """Put a new actor in the place of a dead one; only what it was working on counts as tried."""
        lost = [(reference, batch)] + [(r, b) for r, (a, b) in self.pending.items() if a is actor]
        working = next((r for r in self.queues[actor] if r in dict(lost)), reference)
        del self.queues[actor]
        self.queues[self.actor.remote(self.shared)] = deque()
        for other, jobs in lost:
            self.pending.pop(other, None)
            if other is working:
                self.deaths.update(job.n for job in jobs)
            for job in jobs:
                if self.deaths[job.n] > self.place.retries:
                    error = death(cause, self.deaths[job.n], self.place)
                    loop.done(job, Outcome(error=error))
                else:
                    self.again.append([job])
