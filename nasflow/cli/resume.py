"""Go on with a search that was interrupted or killed, or that shall go on for longer.

    python -m nasflow resume run=outputs/...
    python -m nasflow resume run=outputs/... budget.trials=100 executor.workers=4

What was in flight comes first, nothing is evaluated twice, and the proposals are those of a run never killed.
Fields of budget, executor and ray replace those the run began with; everything else stays as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nasflow.cli import configuration
from nasflow.cli.files import named, read_run, run_folder
from nasflow.cli.search import watched

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from nasflow.search.events import Observer
    from nasflow.search.results import Run


def run(config: DictConfig) -> int:
    """Go on with the run in the folder ``run=``."""
    from nasflow.search import budget
    from nasflow.search.run import resume, whole_plan

    plan = configuration.plain(config)
    folder = run_folder(plan.pop("run"))
    address = plan.pop("ray")["address"]
    changed = {
        name: {k: v for k, v in part.items() if v is not None} for name, part in plan.items()
    }
    if address is not None:
        changed["executor"]["address"] = address
    began = whole_plan(read_run(folder).plan, named(folder))

    def go(observer: Observer) -> Run:
        return resume(
            folder, budget=changed["budget"], executor=changed["executor"], observer=observer
        )

    return watched(folder, budget.create({**began["budget"], **changed["budget"]}), go)
