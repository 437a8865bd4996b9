"""Propose by Optuna's NSGA-II, for several objectives at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nasflow.ir import Space
from strategies._optuna import Sampled

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class NSGA2(Sampled):
    """Breed generations from the least dominated points (Deb et al., 2002).

    Reads all values of the objective; with a single one it is an ordinary genetic algorithm.
    """

    def __init__(
        self, space: Space, seed: int = 0, *, population: int = 20, crossover: float = 0.9
    ) -> None:
        super().__init__(space, seed)
        self.population, self.crossover = population, crossover

    def sampler(self, seed: int) -> BaseSampler:
        """Return a new sampler of that seed."""
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(
            seed=seed, population_size=self.population, crossover_prob=self.crossover
        )
