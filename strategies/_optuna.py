"""Let one of Optuna's samplers propose the points of a space."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nasflow.ir import Decision, Point, Space
from nasflow.search.strategy import Result
from strategies._points import Seen, dump_random, key, load_random, thaw

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

STEPS = 10  # of mutation from a known suggestion before a uniform draw


class Sampled:
    """Ask a sampler for every active decision in turn, so that gates are Optuna's conditional ones.

    An ordered decision is an integer to Optuna, any other a category, both by the option's index.
    A sampler is made anew for every proposal, seeded from this strategy's own random state: with
    the history that is all there is to restore. Known points are not proposed again: in place of one
    comes a new point near it, for to ask a sampler that has settled takes ever longer. Until a first
    success tells how many objectives there are, points are drawn uniformly.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        self.rng = random.Random(seed)
        self.seen = Seen(space)
        self.study: Study | None = None
        self.open: dict[int, int] = {}  # a proposed point's key: the number of its trial

    def sampler(self, seed: int) -> BaseSampler:
        """Return a new sampler of that seed."""
        raise NotImplementedError

    def ask(self) -> Point | None:
        """Propose what the sampler suggests; None when the space is exhausted."""
        mostly_known = 2 * len(self.seen) >= self.space.size  # suggestions would be in vain
        point = None
        if self.study and not mostly_known:
            point, number = self._suggest()
            if self.seen.add(point):
                self.open[key(point)] = number
                return point
            point = self._near(point)
        return self.seen.take(point or self.seen.fresh(self.rng))

    def _near(self, point: Point) -> Point | None:
        """Return the first new point on a random walk of mutations."""
        for _ in range(STEPS):
            point = self.space.mutate(point, self.rng)
            if point not in self.seen:
                return point
        return None

    def _suggest(self) -> tuple[Point, int]:
        from optuna.trial import TrialState

        assert self.study is not None
        with quiet():
            self.study.sampler = self.sampler(self.rng.getrandbits(32))
            trial = self.study.ask()
            point = self.space.decide(lambda decision: suggest(trial, decision))
            if point in self.seen:  # not an outcome: Optuna leaves failed trials aside
                self.study.tell(trial, state=TrialState.FAIL)
        return point, trial.number

    def tell(self, point: Point, result: Result) -> None:
        """Tell the sampler a result; a point it did not suggest is added to its history."""
        from optuna.trial import TrialState

        self.seen.add(point)
        values = result.values or (() if result.reward is None else (result.reward,))
        number = self.open.pop(key(point), None)
        if self.study is None and values:
            self._begin(len(values))
        if self.study is None:
            return
        with quiet():
            if number is not None:
                state = TrialState.COMPLETE if values else TrialState.FAIL
                self.study.tell(number, values or None, state=state)
            elif values:
                self.study.add_trial(self._trial(thaw(point), values))

    def _begin(self, objectives: int) -> None:
        import optuna

        with quiet():
            self.study = optuna.create_study(directions=["maximize"] * objectives)

    def _trial(self, point: Point, values: tuple[float, ...]) -> FrozenTrial:
        import optuna

        free = [d for d in self.space.decisions if d.name in point and d.searched]
        return optuna.create_trial(
            params={d.name: d.options.index(point[d.name]) for d in free},
            distributions={d.name: distribution(d) for d in free},
            values=list(values),
        )

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on identically, as JSON."""
        trials = self.study.get_trials(deepcopy=False) if self.study else []
        return {
            "random": dump_random(self.rng),
            "seen": self.seen.state(),
            "open": {str(k): number for k, number in self.open.items()},
            "objectives": len(self.study.directions) if self.study else 0,
            "study": notes(self.study) if self.study else {},
            "trials": [dump_trial(trial) for trial in trials],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        load_random(self.rng, state["random"])
        self.seen.restore(state["seen"])
        self.open = {int(k): number for k, number in state["open"].items()}
        self.study = None
        if state["objectives"]:
            self._begin(state["objectives"])
            distributions = {d.name: distribution(d) for d in self.space.decisions}
            with quiet():
                for each in state["trials"]:
                    self.study.add_trial(load_trial(each, distributions))  # type: ignore[attr-defined]
                for name, value in state["study"].items():
                    storage, number = self.study._storage, self.study._study_id  # type: ignore[attr-defined]
                    storage.set_study_system_attr(number, name, value)


def notes(study: Study) -> dict[str, Any]:
    """Return what samplers keep of a study beside its trials: NSGA-II each generation's parents."""
    return dict(study._storage.get_study_system_attrs(study._study_id))


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log and its notes on experimental settings."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            optuna.logging.set_verbosity(level)


def distribution(decision: Decision) -> BaseDistribution:
    """Return the domain of the index of a decision's option."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    count = len(decision.options)
    if decision.ordered and count > 1:
        return IntDistribution(0, count - 1)
    return CategoricalDistribution(tuple(range(count)))


def suggest(trial: Trial, decision: Decision) -> Any:
    """Return the option that a trial suggests; a decision that is not searched keeps its default."""
    if not decision.searched:
        return decision.default
    count = len(decision.options)
    if decision.ordered and count > 1:
        return decision.options[trial.suggest_int(decision.name, 0, count - 1)]
    return decision.options[trial.suggest_categorical(decision.name, tuple(range(count)))]


def dump_trial(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial as JSON."""
    return {
        "state": trial.state.name,
        "params": trial.params,
        "values": trial.values,
        "attributes": trial.system_attrs,
    }


def load_trial(data: dict[str, Any], distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    """Return the trial that `dump_trial` wrote."""
    import optuna

    return optuna.create_trial(
        state=optuna.trial.TrialState[data["state"]],
        params=data["params"],
        distributions={name: distributions[name] for name in data["params"]},
        values=data["values"],
        system_attrs=data["attributes"],
    )
