from __future__ import annotations

import random

import numpy as np
import pytest

import nasflow
from nasflow.errors import ConfigError
from nasflow.search.strategy import Result
from strategies._surrogate import Codes, Surrogate, scores
from strategies.predictor import Predictor
from tests.strategies.spaces import flat, gated


def test_an_ensemble_orders_points_it_has_not_seen() -> None:
    space = gated()
    points = list(space.enumerate())
    random.Random(0).shuffle(points)
    worth = {"kernels": 2.0, "groups": 0.0}
    rewards = np.array([worth[str(p["kind"])] + float(p["depth"]) for p in points])  # type: ignore[arg-type]
    codes, numbers = Codes(space), np.random.default_rng(0)
    rows = np.array([codes.row(point) for point in points])
    surrogate = Surrogate(codes, 4, 6, numbers)
    across = codes.apart(rows[:40], rows[40:])
    fits = surrogate.fits(rows[:40], scores(rewards[:40]), numbers)
    means = [fit.predict(across)[0] for fit in fits]
    for mean in means:
        assert np.corrcoef(scores(rewards[40:]), mean)[0, 1] > 0.9


def test_deviations_are_small_where_results_are_and_large_elsewhere() -> None:
    space = flat(9, 9, 9)
    codes, numbers = Codes(space), np.random.default_rng(0)
    points = [{"d0": i % 3, "d1": i // 3 % 3, "d2": i // 9} for i in range(27)]
    rows = np.array([codes.row(point) for point in points])
    rewards = rows.sum(axis=1)
    far = np.array([codes.row({"d0": 8, "d1": 7, "d2": 8})])
    surrogate = Surrogate(codes, 2, 6, numbers)
    fit = surrogate.fits(rows, scores(rewards), numbers)[0]
    (known, unknown) = fit.predict(codes.apart(rows, np.concatenate([rows[:1], far])))[1]
    assert known < 0.5 * unknown


def test_functions_drawn_have_the_means_and_deviations_predicted() -> None:
    space = flat(4, 4, 4)
    codes, numbers = Codes(space), np.random.default_rng(0)
    rows = np.array([codes.row(point) for point in space.enumerate()])
    target = scores(rows[:30].sum(axis=1))
    (fit,) = Surrogate(codes, 1, 6, numbers).fits(rows[:30], target, numbers)
    across, among = codes.apart(rows[:30], rows[30:]), codes.apart(rows[30:], rows[30:])
    draws = np.array([fit.draw(across, among, numbers) for _ in range(400)])
    mean, deviation = fit.predict(across)
    assert np.abs(draws.mean(axis=0) - mean).max() < 0.3 * deviation.max()
    assert np.allclose(draws.std(axis=0), deviation, rtol=0.2)


def test_distances_are_of_order_where_there_is_one() -> None:
    space = gated()
    codes = Codes(space)
    names = [decision.name for decision in codes.decisions]
    three = next(p for p in space.enumerate() if p["depth"] == 3 and p["kind"] == "kernels")
    rows = [codes.row({**three, "depth": depth}) for depth in (1, 2, 3)]
    apart = codes.apart(np.array(rows), np.array(rows))[names.index("depth")]
    assert apart.tolist() == [[0, 0.5, 1], [0.5, 0, 0.5], [1, 0.5, 0]]


def test_scores_are_ranks() -> None:
    found = scores(np.array([1.0, 100.0, 2.0, 2.0]))
    assert found.argmax() == 1 and found[2] == found[3] and found.std() == pytest.approx(1)
    assert scores(np.array([3.0, 3.0])).tolist() == [0, 0]


def test_it_finds_a_hidden_optimum_of_a_large_space() -> None:
    space = flat(*[5] * 8)  # 390,625 points
    hidden = space.sample(1)
    strategy, best = Predictor(space, seed=0), 0
    for _ in range(120):
        point = strategy.ask()
        assert point is not None
        equal = sum(point[name] == value for name, value in hidden.items())
        best = max(best, equal)
        strategy.tell(point, Result(reward=float(equal)))
    assert best >= 7  # 120 random ones agree in five at most, here


def test_of_several_objectives_it_finds_the_points_none_is_better_than() -> None:
    space, front = flat(*[5] * 6), set()
    strategy = Predictor(space, seed=0, prefer=None)
    for _ in range(50):
        point = strategy.ask()
        assert point is not None
        values = tuple(sum(float(value == i) for value in point.values()) for i in (2, 3))
        front |= {values} if sum(values) == 6 else set()  # 64 points of 15,625
        strategy.tell(point, Result(reward=values[0], values=values))
    assert len(front) >= 3  # of seven


def test_it_keeps_no_more_results_than_it_learns_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strategies.predictor.HISTORY", 20)
    strategy, space = Predictor(flat(9, 9, 9), seed=0, warmup=1000), flat(9, 9, 9)
    points = [space.sample(i) for i in range(60)]
    for i, point in enumerate(points):
        strategy.tell(point, Result(reward=float(-i)))
    assert [values for _, values in strategy.told] == [
        (float(-i),) for i in [*range(10), *range(50, 60)]
    ]


def test_workers_do_not_crowd() -> None:
    space = flat(*[5] * 6)
    strategy = Predictor(space, seed=0, prefer=None)
    for i in range(20):
        point = space.sample(i)
        strategy.tell(point, Result(reward=sum(float(value == 0) for value in point.values())))
    asked = [strategy.ask() or {} for _ in range(8)]
    assert len({str(point) for point in asked}) == 8
    assert len(strategy.open) == 8
    strategy.tell(asked[0], Result(reward=1.0))
    assert len(strategy.open) == 7


def test_points_grow_from_small_ones() -> None:
    strategy = Predictor(gated(), seed=0, warmup=4, grow=30)
    sizes = []
    for i in range(60):
        point = strategy.ask()
        assert point is not None
        sizes.append(len(point))
        strategy.tell(point, Result(reward=float(i % 5)))
    assert max(sizes[:3]) < max(sizes)
    assert sum(sizes[:10]) < sum(sizes[-10:])


def test_the_first_points_can_be_large_ones() -> None:
    space = gated()

    def params(**options: object) -> int:
        strategy = Predictor(space, seed=0, warmup=12, **options)  # type: ignore[arg-type]
        return sum(space.bind(strategy.ask()).params for _ in range(12))  # type: ignore[arg-type]

    assert params(prefer="params") > 1.2 * params(prefer=None)


def test_no_network_is_proposed_in_other_words_while_others_are_left() -> None:
    space = nasflow.space("nas_bench_201", filters=4, cells=1)  # a third of its points are networks
    strategy = Predictor(space, seed=0, warmup=3)
    names = []
    for i in range(40):
        point = strategy.ask()
        assert point is not None
        if i >= 3:
            names.append(space.fingerprint(point))
        strategy.tell(point, Result(reward=float(i)))
    assert len(set(names)) == len(names)


def test_an_unknown_acquisition_is_refused_in_one_line() -> None:
    with pytest.raises(
        ConfigError, match=r"strategy\.acquisition: expected improvement or thompson"
    ):
        Predictor(flat(2), acquisition="thomson")  # type: ignore[arg-type]
