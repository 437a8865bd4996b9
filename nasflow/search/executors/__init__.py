"""Where candidates are evaluated: in this process, on Ray actors, as Ray Tune trials, or in simulated time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from nasflow.errors import ConfigError, nearest
from nasflow.search.executors import cluster
from nasflow.search.job import Evaluate, Work

if TYPE_CHECKING:
    from nasflow.search.loop import Loop

NAMES = ("inline", "actors", "tune", "simulated")
PAUSING = ("HyperBandScheduler", "HyperBandForBOHB", "PopulationBasedTraining", "PB2")
Run = Callable[["Loop"], None]


@dataclass(frozen=True)
class Place:
    """Say where and how candidates are evaluated.

    `name`: ``inline`` (one after the other, in this process), ``actors`` (in batches on Ray actors, for evaluations
    of milliseconds), ``tune`` (each a Ray Tune trial, for training) or ``simulated`` (evaluated at once, taking times
    made up by `durations`, see `nasflow.search.executors.simulated`; `overhead` are its driver's seconds). `workers`
    run at once (null: as many as fit), each with `cpus` and `gpus`, which may be fractions, and with `resources` of the
    cluster's own (``{"phone": 1}``: on machines that Ray was started on with ``--resources='{"phone": 1}'``). Each
    candidate may take `time_limit` seconds and `memory` bytes, and is tried again up to `retries` times when its worker
    dies. `batch` is for actors, `scheduler` for tune
    (``{"_target_": "ray.tune.schedulers.ASHAScheduler", "metric": ..., "mode": ...}``). `address` is a Ray
    cluster's (``auto``, ``host:port``; null: RAY_ADDRESS if set, else this machine alone).
    """

    name: str = "tune"
    workers: int | None = None
    cpus: float = 1
    gpus: float = 0
    resources: Mapping[str, float] | None = None
    time_limit: float | None = None
    memory: float | None = None
    retries: int = 2
    batch: int = 8
    scheduler: Mapping[str, Any] | None = None
    address: str | None = None
    durations: Mapping[str, Any] | None = None
    overhead: float = 0.001

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(
                f"unknown executor {self.name!r}{nearest(self.name, NAMES)}; there are: {', '.join(NAMES)}"
            )
        for name in ("workers", "cpus", "time_limit", "memory", "batch"):
            _must(name, getattr(self, name), positive=True)
        for name in ("gpus", "retries", "overhead"):
            _must(name, getattr(self, name), positive=False)
        for name, amount in (self.resources or {}).items():
            _must(f"resources.{name}", amount, positive=True)
        if self.name == "inline" and self.workers not in (None, 1):
            raise ConfigError(
                f"executor.workers: inline has one worker, got {self.workers}; use tune or actors"
            )
        _check_scheduler(self.name, self.scheduler)


def create(spec: Mapping[str, Any]) -> Place:
    """Read a place from configuration; raises ConfigError for an unknown field, with the nearest valid one."""
    names = [f.name for f in fields(Place)]
    for name in spec:
        if name not in names:
            raise ConfigError(
                f"executor has no field {name!r}{nearest(name, names)}; it has: {', '.join(names)}"
            )
    return Place(**spec)


def describe(place: Place) -> dict[str, Any]:
    """Return the configuration that `create` reads back, as JSON."""
    return asdict(place)


def bring_up(place: Place, work: Work | None, evaluate: Evaluate | None) -> Run:
    """Return a function that runs a loop to its end at `place`.

    `work` describes the evaluator as configuration, `evaluate` is one that exists in this process already; Ray needs
    the former, and actors take a copy of the latter too if it is ``portable``. Raises ConfigError where it is missing,
    RunError where the place's cluster does not answer.
    """
    if place.name == "inline":
        from nasflow.search.executors import inline

        return inline.bring_up(place, work, evaluate)
    if place.name == "simulated":
        from nasflow.search.executors import simulated

        return simulated.bring_up(place, work, evaluate)
    if work is None:
        raise ConfigError(
            f"executor {place.name}: expected the evaluator as an import path (_target_), which Ray workers can "
            "build; got a live object, which only the inline executor takes"
        )
    cluster.check(place)
    if place.name == "actors":
        from nasflow.search.executors import actors

        return actors.bring_up(place, work, evaluate)
    from nasflow.search.executors import tune

    return tune.bring_up(place, work)


def _check_scheduler(executor: str, scheduler: Mapping[str, Any] | None) -> None:
    if scheduler is None:
        return
    if executor != "tune":
        raise ConfigError(
            f"scheduler: candidates are stopped early on executor=tune only, got executor={executor}"
        )
    kind = str(scheduler.get("_target_", "")).rpartition(".")[2]
    if kind in PAUSING:
        raise ConfigError(
            f"scheduler: {kind} pauses trainings or copies them, which candidates here cannot; use scheduler=asha or "
            "scheduler=hyperband, its asynchronous form"
        )


def _must(name: str, value: Any, positive: bool) -> None:
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or value < 0 or (positive and value == 0):
        expected = "a positive number" if positive else "a number that is not negative"
        raise ConfigError(f"executor.{name}: expected {expected}, got {value!r}")
