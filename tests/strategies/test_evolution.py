from __future__ import annotations

import time

import pytest

import nasflow
from nasflow.errors import ConfigError
from nasflow.search.strategy import Result
from strategies.evolution import Evolution
from tests.strategies.spaces import flat


def differing(a: dict, b: dict) -> int:  # type: ignore[type-arg]
    return sum(a[name] != b[name] for name in a)


def test_children_are_one_change_from_the_best_of_the_sample() -> None:
    space = flat(*[9] * 8)
    strategy = Evolution(space, seed=0, population=4, sample=4)
    for reward in (0.1, 0.9, 0.3, 0.2):
        point = strategy.ask()
        assert point is not None
        strategy.tell(point, Result(reward=reward))
        if reward == 0.9:
            best = point
    for _ in range(10):
        child = strategy.ask()
        assert child is not None
        assert differing(child, best) == 1


def test_the_oldest_dies_however_good() -> None:
    space = flat(*[9] * 8)
    strategy = Evolution(space, seed=0, population=3, sample=3)
    points = []
    for reward in (0.9, 0.1, 0.2, 0.3):
        points.append(strategy.ask())
        strategy.tell(points[-1], Result(reward=reward))  # type: ignore[arg-type]
    child = strategy.ask()
    assert differing(child, points[-1]) == 1  # type: ignore[arg-type]
    assert [reward for _, reward in strategy.alive] == [0.1, 0.2, 0.3]


def test_it_starts_from_named_points() -> None:
    space = flat(5, 5, 5)
    space.points = {"a": {"d0": 1, "d1": 2, "d2": 3}, "b": {"d0": 4, "d1": 4, "d2": 4}}
    strategy = Evolution(space, start=("b", "a"))
    assert [strategy.ask(), strategy.ask()] == [space.points["b"], space.points["a"]]
    with pytest.raises(ConfigError, match="no point 'c'"):
        Evolution(space, start=("c",))


def test_it_starts_from_models_of_the_family() -> None:
    space = nasflow.space("nas_bench_macro")
    point = Evolution(space, start=("nas_bench_macro_best",)).ask()
    assert (
        point is not None
        and space.bind(point).params == nasflow.model("nas_bench_macro_best").params
    )


def test_a_sample_larger_than_the_population_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.sample: expected 1 to .*\(5\), got 6"):
        Evolution(flat(2), population=5, sample=6)


def test_ten_thousand_evaluations_cost_less_than_a_millisecond_each() -> None:
    space = nasflow.space("nasnet")
    strategy = Evolution(space, seed=0)
    for i in range(10_000):
        strategy.seen.add({"made": i})
    started = time.process_time()
    for i in range(500):
        point = strategy.ask()
        assert point is not None
        strategy.tell(point, Result(reward=float(i % 7)))
    assert time.process_time() - started < 500 * 0.001 * 2  # twice: other machines are slower
