"""Search, and go on with a search that was ended or killed.

A run's folder holds ``ledger.jsonl`` (everything that happened, see `nasflow.search.ledger`) and ``strategy.json`` (the
strategy's state, so that a resume is quick). What a run is made of is given as configuration, mappings as they stand in
``conf/``; then the ledger's first line tells `resume` all it needs:

* space: ``{"name": "nasnet", **settings}``, strategy: ``{"name": "rl", **options}``; ``_target_`` gives an import path
* evaluator: ``{"_target_": "nasflow.evaluate.train.Train", ...}``, inner mappings with a ``_target_`` are built first
* objective: the fields of `nasflow.search.objective.Objective`, budget: of `nasflow.search.budget.Budget`,
  executor: of `nasflow.search.executors.Place`
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nasflow.errors import ConfigError, RunError
from nasflow.search import budget as budgets
from nasflow.search import executors, results, shared, store
from nasflow.search import objective as objectives
from nasflow.search import strategy as strategies
from nasflow.search.budget import Budget
from nasflow.search.events import Event, Observer, Started
from nasflow.search.executors import Place
from nasflow.search.executors.cluster import in_job_copy
from nasflow.search.job import Evaluate, Work, space_of
from nasflow.search.ledger import SNAPSHOT, Ledger, Record
from nasflow.search.limited import Limited
from nasflow.search.loop import Loop
from nasflow.search.objective import Objective
from nasflow.search.results import Run
from nasflow.search.steer import Steered
from nasflow.search.strategy import Strategy

if TYPE_CHECKING:
    from nasflow.ir import Space

Spec = Mapping[str, Any]
INLINE: Spec = {"name": "inline"}
ACCURACY: Spec = {"measures": {"accuracy": "max"}}


def search(
    *,
    space: Spec | Space,
    strategy: Spec | Strategy,
    evaluator: Spec | Evaluate,
    budget: Spec | Budget,
    out: Path | str,
    objective: Spec | Objective = ACCURACY,
    executor: Spec | Place = INLINE,
    seed: int = 0,
    observer: Observer | None = None,
) -> Run:
    """Search `space` until the budget is spent, and return the run.

    Each part is configuration (see this module) or the object itself. `out` is the run's folder, which must not hold
    a run yet. `observer` is called with each event (`nasflow.search.events`). Everything is checked before anything
    is written. Raises ConfigError and RunError, one line each; whatever was measured before is in the ledger.
    """
    folder = run_folder(out)
    plan = {
        "space": _spec(space),
        "strategy": _spec(strategy),
        "evaluator": _spec(evaluator),
        "objective": _objective_spec(objective),
        "budget": _budget_spec(budget),
        "executor": _place_spec(executor),
        "seed": seed,
    }
    _refuse_infinite(plan)
    parts = Parts(plan, {"space": space, "strategy": strategy, "evaluator": evaluator}, folder)
    versions = {"nasflow": _version(), "python": sys.version.split()[0]}
    ledger = Ledger.create(folder, {**versions, "seed": seed, "plan": plan})
    return _drive(parts, ledger, observer or _ignore)


def resume(
    out: Path | str,
    *,
    budget: Spec | None = None,
    executor: Spec | None = None,
    observer: Observer | None = None,
    space: Space | None = None,
    strategy: Strategy | None = None,
    evaluator: Evaluate | None = None,
) -> Run:
    """Go on with the run in folder `out`, and return it.

    Proposals that were in flight come first. Fields in `budget` and `executor` replace those the run began with.
    `space`, `strategy` (as newly constructed) and `evaluator` must be given again where the run began with objects.
    Raises RunError for a folder that holds no run or that another driver is writing, and where the strategy does not
    repeat its proposals.
    """
    folder = run_folder(out)
    ledger, records = Ledger.open(folder)
    try:
        plan = whole_plan(next(records)["plan"], store.named(folder))
        plan["budget"] = {**plan["budget"], **(budget or {})}
        plan["executor"] = {**plan["executor"], **(executor or {})}
        parts = Parts(plan, {"space": space, "strategy": strategy, "evaluator": evaluator}, folder)
        return _drive(parts, ledger, observer or _ignore, records)
    finally:
        ledger.close()


def run_folder(out: Path | str) -> Path:
    """Return the folder that `out` names: a path, a ``file://`` URI, or one of a store (`nasflow.search.store`).

    A run in a store is worked on in a copy of it, which lasts as long as this process. Raises RunError for a store that
    is not known or does not answer, and for a relative path inside a submitted Ray job, whose working directory is a
    temporary copy.
    """
    text = str(out)
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme not in ("", "file"):
        return store.copy_of(text)
    folder = Path(urlsplit(text).path if scheme else text)
    if not folder.is_absolute() and in_job_copy():
        raise RunError(
            f"out={text}: inside a Ray job the working directory is a temporary copy; "
            "give an absolute path or a URI"
        )
    return folder


class Parts:
    """Build what a run is made of; objects that exist already are taken as they are."""

    def __init__(self, plan: Spec, given: Spec, folder: Path) -> None:
        self.plan, self.seed, self.folder = plan, int(plan["seed"]), folder
        self.space: Space = _space(given["space"], plan["space"])
        self.objective = objectives.create(plan["objective"])
        self.limited = Limited(self.space, self.objective) if self.objective.limits else None
        self.strategy = self._strategy(given["strategy"])
        self.budget = budgets.create(plan["budget"])
        self.place = executors.create(plan["executor"])
        live = given["evaluator"]
        self.evaluate: Evaluate | None = None if live is None or isinstance(live, Mapping) else live
        if self.evaluate is None and plan["evaluator"] is None:
            raise _missing("evaluator")
        self.evaluate = self.evaluate or shared.built(plan["evaluator"], plan["space"])
        self.run = executors.bring_up(self.place, self._work(), self.evaluate)

    def _strategy(self, given: Any) -> Strategy:
        made: Strategy = given
        if given is None or isinstance(given, Mapping):
            if self.plan["strategy"] is None:
                raise _missing("strategy")
            space: Any = self.limited or self.space
            made = strategies.create(self.plan["strategy"], space, self.seed)
        for method in ("ask", "tell", "state", "restore"):
            if not callable(getattr(made, method, None)):
                raise ConfigError(
                    f"strategy {type(made).__name__} has no method {method}(); "
                    "docs/writing-a-strategy.md says what each does"
                )
        if self.limited is None or getattr(made, "exact_proposals", False):
            return made
        return Steered(made, self.limited, self.seed)

    def _work(self) -> Work | None:
        if self.plan["evaluator"] is None:
            return None
        return Work(
            evaluator=shared.wired(self.plan["evaluator"], self.plan["space"], self.folder),
            space=self.plan["space"],
            paths=[os.getcwd(), *(path for path in sys.path if path)],
            time_limit=self.place.time_limit,
            memory=self.place.memory,
            threads=max(1, int(self.place.cpus)),
            run=uuid.uuid4().hex,
        )


def _drive(parts: Parts, ledger: Ledger, observer: Observer, records: Any = None) -> Run:
    loop = Loop(
        parts.space,
        parts.strategy,
        parts.objective,
        parts.budget,
        ledger,
        seed=parts.seed,
        observer=observer,
    )
    folder = ledger.path.parent
    try:
        shared.recall(parts.evaluate, parts.strategy, folder)
        if records is not None:
            loop.replay(records, _snapshot(folder))
            if loop.spent():
                return results.load(folder)
            ledger.append({"t": "start", "at": round(loop.elapsed, 3)})
        note = parts.limited.describe() if parts.limited else ""
        shared.prepare(parts.evaluate, parts.strategy, parts.plan, parts.place, folder, observer)
        loop.begin()
        observer(Started(folder, loop.evaluated, len(loop.reissue), note))
        gc.freeze()  # what a run is made of stays; looking through it again and again takes a tenth of the time
        parts.run(loop)
        loop.finish()
    finally:
        gc.unfreeze()
        ledger.close()
    return results.load(folder)


def _snapshot(folder: Path) -> Record | None:
    """Read the strategy's saved state, unless the ledger does not reach as far as it does."""
    path = folder / SNAPSHOT
    try:
        snapshot: Record = json.loads(path.read_text())
        if not isinstance(snapshot, dict) or not isinstance(snapshot.get("records"), int):
            raise ValueError("expected the state of a strategy")
        with (folder / "ledger.jsonl").open("rb") as file:
            lines = sum(1 for line in file if line.endswith(b"\n"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path}: cannot be read ({error}); remove it, and the resume replays the whole run instead"
        ) from error
    return snapshot if snapshot["records"] <= lines else None


def whole_plan(plan: Mapping[str, Any], where: str) -> Record:
    """Return a copy of a plan read from a ledger; raises RunError where a part of it is missing."""
    for name in ("space", "strategy", "evaluator", "objective", "budget", "executor"):
        part = plan.get(name)
        live = part is None and name in plan and name in ("space", "strategy", "evaluator")
        if not live and not isinstance(part, dict):
            raise RunError(f"{where}: its plan has no {name}, got {part!r:.80}; restore its ledger")
    if not isinstance(plan.get("seed"), int):
        raise RunError(f"{where}: its plan has no seed; restore its ledger")
    return dict(plan)


def _space(given: Any, spec: Spec | None) -> Any:
    if given is not None and not isinstance(given, Mapping):
        return given
    if spec is None:
        raise _missing("space")
    return space_of(spec)


def _missing(part: str) -> RunError:
    return RunError(
        f"this run began with a live {part} object: give resume the same one as {part}="
    )


def _spec(part: Any) -> Record | None:
    """Return configuration as plain JSON; None for an object that exists only in this process."""
    if not isinstance(part, Mapping):
        return None
    try:
        plain: Record = json.loads(json.dumps(part))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"configuration must be plain JSON: {error}") from error
    return plain


def _refuse_infinite(part: Any, where: str = "") -> None:
    """Refuse NaN and infinity, which the ledger's JSON cannot hold, anywhere in a plan."""
    if isinstance(part, list):
        part = dict(enumerate(part))
    if isinstance(part, dict):
        for key, value in part.items():
            _refuse_infinite(value, f"{where}.{key}" if where else str(key))
    elif isinstance(part, float) and not math.isfinite(part):
        raise ConfigError(f"{where}: expected a finite number, got {part}")


def _objective_spec(part: Spec | Objective) -> Record:
    return objectives.describe(part if isinstance(part, Objective) else objectives.create(part))


def _budget_spec(part: Spec | Budget) -> Record:
    return budgets.describe(part if isinstance(part, Budget) else budgets.create(part))


def _place_spec(part: Spec | Place) -> Record:
    return executors.describe(part if isinstance(part, Place) else executors.create(part))


def _version() -> str:
    from nasflow import __version__

    return __version__


def _ignore(event: Event) -> None:
    """Watch nothing."""
