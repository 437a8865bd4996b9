"""Propose by Optuna's Gaussian process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nasflow.ir import Space
from strategies._optuna import Sampled

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class GP(Sampled):
    """Model the reward by a Gaussian process, and take the point of most expected improvement.

    Optuna's sampler models the decisions that are active in every point so far; others, which some
    points lack, it draws uniformly. `exact` says that the same point always has the same reward.
    """

    def __init__(
        self, space: Space, seed: int = 0, *, warmup: int = 10, exact: bool = False
    ) -> None:
        super().__init__(space, seed)
        self.warmup, self.exact = warmup, exact

    def sampler(self, seed: int) -> BaseSampler:
        """Return a new sampler of that seed."""
        from optuna.samplers import GPSampler

        return GPSampler(
            seed=seed, n_startup_trials=self.warmup, deterministic_objective=self.exact
        )
