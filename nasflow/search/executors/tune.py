"""Train candidates as Ray Tune trials.

Tune asks its search algorithm for trials and tells it of results, in one thread: ours passes both on to the loop,
so that no step waits for another process.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.search import Searcher

from nasflow.errors import RunError
from nasflow.evaluate import cost
from nasflow.search.executors.cluster import (
    ahead,
    connected,
    death,
    environment,
    last_line,
    mention_gpus,
)
from nasflow.search.job import Job, Outcome, Work, construct, finite, run_remote

if TYPE_CHECKING:
    from nasflow.search.executors import Place, Run
    from nasflow.search.loop import Loop

# Our ledger is the record of a run: Tune writes no logs of its own and leaves Ctrl-C alone.
SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a candidate that fails has no measure for a scheduler
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_AIR_NEW_OUTPUT": "0",
}


class Parcel:
    """Carry JSON in a trial's configuration without showing it in names and logs."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "..."


def bring_up(place: Place, work: Work) -> Run:
    """Return a function that runs a loop to its end as Ray Tune trials."""

    def run(loop: Loop) -> None:
        with connected(place) as workers, _quiet(workers), _scratch() as folder:
            mention_gpus(place, work.evaluator)
            feed = Feed(loop, place, work, workers, ahead(place, workers))
            if loop.over:
                return
            try:
                _fit(feed, place, folder)
            except BaseException as error:  # Tune wraps what the loop raised in errors of its own
                if feed.problem is None and isinstance(error, Exception):
                    raise RunError(
                        f"Ray Tune gave up: {last_line(error)}; all results are safe: resume"
                    ) from error
                raise feed.problem or error from error

    return run


class Feed(Searcher):
    """Hand the loop's candidates to Tune, and Tune's results to the loop."""

    def __init__(self, loop: Loop, place: Place, work: Work, workers: int, ahead: int) -> None:
        super().__init__()
        self.loop, self.place, self.order, self.work = loop, place, work, work.to_json()
        self.workers, self.ahead = workers, ahead
        self.problem: BaseException | None = None
        self.jobs: dict[str, Job] = {}
        self.again: deque[Job] = deque()
        self.deaths: Counter[int] = Counter()
        self.trials: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Tune stores a copy it never reads, and the loop may hold locks."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next candidate; None while all places are taken or a result must come first."""
        if self._has_room():
            job = self.again.popleft() if self.again else self._guarded(self.loop.next)
            if job is not None:
                self.jobs[trial_id] = job
                config = {
                    "n": job.n,
                    "job": Parcel(self.order.parcel(job)),
                    "work": Parcel(self.work),
                }
                return config | {"metric": (self.place.scheduler or {}).get("metric")}
        self._guarded(self.loop.settle)
        return None if self.jobs or self.again else Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass a trial's end on to the loop; a candidate whose worker died is tried again."""
        job, trial = self.jobs.pop(trial_id), self.trials.pop(trial_id, None)
        if not error:
            self._guarded(lambda: self.loop.done(job, _outcome(result or {}, job)))
            return
        self.deaths[job.n] += 1
        if self.deaths[job.n] <= self.place.retries:
            self.again.append(job)
            return
        reason = _reason(trial, self.deaths.pop(job.n), self.place)
        self._guarded(lambda: self.loop.done(job, reason))

    def _has_room(self) -> bool:
        """Tell whether to ask for a candidate: for a free worker, or ahead once none waits for its worker to begin."""
        begun = all(trial_id in self.trials for trial_id in self.jobs)
        return len(self.jobs) < self.workers + (self.ahead if begun else 0)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the ledger holds all there is."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the ledger holds all there is."""

    def _guarded(self, step: Any) -> Any:
        """Take a step of the loop; keep what it raises, which Tune may wrap on the way up."""
        try:
            return step()
        except BaseException as problem:
            self.problem = problem
            raise


class Watch(tune.Callback):
    """Remember trials while they run, and count how often Tune restarts one."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: as for Feed."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Remember a trial, to ask it later why it failed."""
        self.feed.trials[trial.trial_id] = trial

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count the death of a worker."""
        self.feed.deaths[self.feed.jobs[trial.trial_id].n] += 1


def _fit(feed: Feed, place: Place, folder: str) -> None:
    resources = {"cpu": place.cpus} | ({"gpu": place.gpus} if place.gpus else {})
    resources |= place.resources or {}
    tune.Tuner(
        tune.with_resources(_trial, resources),
        tune_config=tune.TuneConfig(
            search_alg=feed,
            num_samples=-1,
            reuse_actors=True,
            scheduler=construct(place.scheduler) if place.scheduler else None,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=folder,
            verbose=0,
            callbacks=[Watch(feed)],
            failure_config=tune.FailureConfig(max_failures=place.retries),
        ),
    ).fit()


class Stopped(BaseException):
    """A scheduler ends a trial here: nothing that an evaluator does wrong."""


def _trial(config: dict[str, Any]) -> None:
    """Evaluate one candidate in a worker; its reports are what schedulers judge by.

    The last epoch's goes with the outcome: a scheduler that ends a trial there must not keep it from us. Where one ends
    a trial earlier, Tune raises SystemExit in its report, which must not be taken for the evaluator's own.
    """
    last: dict[str, float] = {}

    def report(measures: dict[str, float]) -> None:
        if measures.get("epoch", 0) >= measures.get("epochs", math.inf):
            last.update(finite(measures))
            return
        try:
            tune.report({"measures": finite(measures), **finite(measures)})
        except SystemExit as end:
            raise Stopped from end

    try:
        outcome = run_remote(config["work"].text, config["job"].text, report)
    except Stopped:
        raise SystemExit(0) from None  # Tune waits for it before the worker takes the next trial
    missing = (
        {config["metric"]: math.nan} if config["metric"] else {}
    )  # schedulers look for it where a candidate fails
    tune.report({**missing, **last, **finite(json.loads(outcome)["measures"]), "outcome": outcome})


def _outcome(result: dict[str, Any], job: Job) -> Outcome:
    """Read a trial's last report.

    A trial that a scheduler stopped early has the measures it reported last, the epochs it was trained for, and the
    costs of its network.
    """
    if "outcome" in result:
        return Outcome(**json.loads(result["outcome"]))
    seconds = float(result.get("time_total_s", 0.0))
    prefix = "measures/"  # Tune flattens what was reported
    measures = {
        name.removeprefix(prefix): value
        for name, value in result.items()
        if name.startswith(prefix)
    }
    if not measures:
        return Outcome(error="stopped by the scheduler before its first report", seconds=seconds)
    if "epoch" in measures:
        measures["epochs"] = measures["epoch"]
    return Outcome(cost(job.graph) | measures | {"stopped_early": 1.0}, seconds=seconds)


def _reason(trial: Any, attempts: int, place: Place) -> Outcome:
    """Say why a trial failed for good: its worker kept dying, or it could not even begin."""
    cause = trial.get_pickled_error() if trial is not None else None
    if cause is None or isinstance(cause, RayActorError | OutOfMemoryError):
        return Outcome(error=death(cause, attempts, place))
    return Outcome(error=f"a Ray worker cannot evaluate: {last_line(cause)}", fatal=True)


@contextlib.contextmanager
def _quiet(workers: int) -> Iterator[None]:
    """Keep Tune from printing (the observer says all there is to say), and let it start all workers at once."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with environment({**SETTINGS, "TUNE_MAX_PENDING_TRIALS_PG": str(workers)}):
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    """Give Tune a folder for its own files, for the time of the search."""
    try:
        folder = tempfile.mkdtemp(prefix="nasflow-tune-")
    except OSError as error:
        raise RunError(f"no temporary folder can be made: {error}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
