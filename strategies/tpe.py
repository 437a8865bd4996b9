"""Propose by Optuna's tree-structured Parzen estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nasflow.ir import Space
from strategies._optuna import Sampled

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class TPE(Sampled):
    """Model good and bad points apart (Bergstra et al., 2011; Optuna's multivariate variant).

    `warmup` points are random; `candidates` are drawn from the good ones' model for each proposal.
    Open proposals count as bad ones, so that workers do not crowd.
    """

    def __init__(
        self, space: Space, seed: int = 0, *, warmup: int = 10, candidates: int = 24
    ) -> None:
        super().__init__(space, seed)
        self.warmup, self.candidates = warmup, candidates

    def sampler(self, seed: int) -> BaseSampler:
        """Return a new sampler of that seed."""
        from optuna.samplers import TPESampler

        return TPESampler(
            seed=seed,
            n_startup_trials=self.warmup,
            n_ei_candidates=self.candidates,
            multivariate=True,
            group=True,
            constant_liar=True,
        )
