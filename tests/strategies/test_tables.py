"""On tables of really trained networks, strategies beat random: ten seeds, Mann-Whitney."""

from __future__ import annotations

from statistics import fmean

import pytest
from scipy.stats import mannwhitneyu

from benchmarks.strategies import STRATEGIES, TABLES, Run, ours
from nasflow import discovery
from nasflow.errors import DataError
from nasflow.evaluate import table

try:
    table.find()
except DataError as missing:
    pytest.skip(str(missing), allow_module_level=True)


def runs(strategy: str, name: str, count: int) -> list[Run]:
    family, load = TABLES[name]
    space, rows = discovery.space(family), load()
    return [ours(STRATEGIES[strategy], space, rows, seed, count) for seed in range(10)]


def greater(first: list[float], second: list[float]) -> float:
    return float(mannwhitneyu(first, second, alternative="greater").pvalue)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nas_bench_201/cifar10", "nas_bench_macro"])
def test_rl_with_the_settings_of_its_paper_learns(name: str) -> None:
    late = [
        [fmean(run.rewards[200:]) for run in runs(strategy, name, 300)]
        for strategy in ("rl", "random")
    ]
    assert greater(*late) < 0.001


@pytest.mark.parametrize("name", [name for name in TABLES if name.startswith("nas_bench")])
@pytest.mark.parametrize("strategy", ["evolution", "local_search"])
def test_the_best_of_a_hundred_evaluations_beats_random(strategy: str, name: str) -> None:
    best = [[run.best(100) for run in runs(each, name, 100)] for each in (strategy, "random")]
    assert greater(*best) < 0.01
