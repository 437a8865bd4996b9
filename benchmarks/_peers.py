"""Other people's strategies on a table; optional, run where they are installed.

    pip install pyglove syne-tune

Each is driven through its own ask and tell, with its defaults. What repeats itself is not evaluated
again nor counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from typing import Any

Propose = Callable[[], tuple[dict[str, Any], Callable[[Any], object]]]
"""Return a point, and what takes its reward, or its values where there are several objectives."""


def optuna(sampler: str, space: Any, seed: int, objectives: int = 1) -> Propose:
    """Return a sampler of Optuna's on its own."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        directions=["maximize"] * objectives,
        sampler=getattr(optuna.samplers, sampler)(seed=seed),
    )

    def propose() -> tuple[dict[str, Any], Callable[[Any], object]]:
        trial = study.ask()
        point = {d.name: trial.suggest_categorical(d.name, d.options) for d in space.decisions}
        return point, lambda values: study.tell(trial, values)

    return propose


def pyglove(space: Any, seed: int) -> Propose:
    """Return pyglove's regularised evolution; population 20 and sample 10, for small budgets."""
    import pyglove  # type: ignore[import-not-found,unused-ignore]
    from pyglove.ext import evolution  # type: ignore[import-not-found,unused-ignore]

    template = pyglove.template(
        pyglove.Dict({d.name: pyglove.oneof(list(d.options)) for d in space.decisions})
    )
    algorithm = evolution.regularized_evolution(population_size=20, tournament_size=10, seed=seed)
    algorithm.setup(template.dna_spec())

    def propose() -> tuple[dict[str, Any], Callable[[float], object]]:
        dna = algorithm.propose()
        point = dict(template.decode(dna).items())
        return point, lambda reward: algorithm.feedback(dna, reward)

    return propose


def syne_tune(space: Any, seed: int) -> Propose:
    """Return syne-tune's regularised evolution; population 20 and sample 10, for small budgets."""
    from syne_tune.config_space import choice  # type: ignore[import-not-found,unused-ignore]
    from syne_tune.optimizer.schedulers.searchers import (  # type: ignore[import-not-found,unused-ignore]
        regularized_evolution,
    )

    domain = {d.name: choice(list(d.options)) for d in space.decisions}
    searcher = regularized_evolution.RegularizedEvolution(
        domain, population_size=20, sample_size=10, random_seed=seed
    )
    trials = count()

    def propose() -> tuple[dict[str, Any], Callable[[float], object]]:
        point, trial = searcher.suggest(), next(trials)
        return point, lambda reward: searcher.on_trial_complete(trial, point, -reward)

    return propose


PEERS: dict[str, tuple[str, Callable[[Any, int], Propose]]] = {
    "optuna tpe": ("optuna", lambda space, seed: optuna("TPESampler", space, seed)),
    "optuna nsga2": ("optuna", lambda space, seed: optuna("NSGAIISampler", space, seed)),
    "pyglove evolution": ("pyglove", pyglove),
    "syne-tune evolution": ("syne_tune", syne_tune),
}


def installed() -> Iterator[str]:
    """Yield the peers that can be imported; say which cannot."""
    for name, (package, _) in PEERS.items():
        if find_spec(package):
            yield name
        else:
            print(f"skipped: {name} (pip install {package.replace('_', '-')})")
