"""Evaluate one candidate after the other in this process: no overhead, and bit-identical runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nasflow.search.job import Evaluate, Work, by_point, construct, graph_for, perform

if TYPE_CHECKING:
    from nasflow.search.executors import Place, Run
    from nasflow.search.loop import Loop


def bring_up(place: Place, work: Work | None, evaluate: Evaluate | None) -> Run:
    """Return a function that runs a loop to its end here."""

    def run(loop: Loop) -> None:
        call = by_point(evaluate or construct(work.evaluator if work else None))
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(max(1, int(place.cpus)))
        while (job := loop.next()) is not None:
            outcome = perform(
                call,
                graph_for(call, job),
                job.point,
                job.seed,
                time_limit=place.time_limit,
                memory=place.memory,
            )
            loop.done(job, outcome)

    return run
