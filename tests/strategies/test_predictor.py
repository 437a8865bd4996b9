from __future__ import annotations

import random

import numpy as np
import pytest

import nasflow
from nasflow import ir
from nasflow.errors import ConfigError
from nasflow.ir import Point
from nasflow.search.strategy import Result
from strategies._surrogate import Array, Codes, Surrogate, figures, scores
from strategies.predictor import Predictor
from tests.strategies.spaces import flat, gated


def standard(codes: Codes, points: list[Point]) -> Array:
    rows = codes.rows(points)
    return codes.standard(rows, rows)


def test_an_ensemble_orders_points_it_has_not_seen() -> None:
    space = gated()
    points = list(space.enumerate())
    random.Random(0).shuffle(points)
    worth = {"kernels": 2.0, "groups": 0.0}
    rewards = np.array([worth[str(p["kind"])] + float(p["depth"]) for p in points])  # type: ignore[arg-type]
    codes, numbers = Codes(space), np.random.default_rng(0)
    rows = standard(codes, points)
    surrogate = Surrogate(codes, 4, 6, numbers)
    across = codes.pairs(rows[:40], rows[40:])
    fits = surrogate.fits(codes.pairs(rows[:40], rows[:40]), scores(rewards[:40]), numbers)
    means = [fit.predict(across)[0] for fit in fits]
    for mean in means:
        assert np.corrcoef(scores(rewards[40:]), mean)[0, 1] > 0.9


def test_deviations_are_small_where_results_are_and_large_elsewhere() -> None:
    space = flat(9, 9, 9)
    codes, numbers = Codes(space), np.random.default_rng(0)
    points: list[Point] = [{"d0": i % 3, "d1": i // 3 % 3, "d2": i // 9} for i in range(27)]
    rows = standard(codes, [*points, {"d0": 8, "d1": 7, "d2": 8}])
    told, far = rows[:27], rows[27:]
    surrogate = Surrogate(codes, 2, 6, numbers)
    fit = surrogate.fits(codes.pairs(told, told), scores(told.sum(axis=1)), numbers)[0]
    (known, unknown) = fit.predict(codes.pairs(told, np.concatenate([told[:1], far])))[1]
    assert known < 0.5 * unknown


def test_what_is_linear_in_a_figure_is_learnt_beyond_the_results() -> None:
    space = nasflow.space("nas_bench_macro")
    codes, numbers = Codes(space), np.random.default_rng(0)
    points = sorted((space.sample(i) for i in range(40)), key=lambda p: space.bind(p).macs)
    rows = codes.rows(points)
    rows = codes.standard(rows, rows[:30])
    target = scores(np.arange(30.0))
    surrogate = Surrogate(codes, 2, 6, numbers)
    for fit in surrogate.fits(codes.pairs(rows[:30], rows[:30]), target, numbers):
        assert fit.predict(codes.pairs(rows[:30], rows[30:]))[0].mean() > target[15:].mean()


def test_a_figure_that_is_the_same_everywhere_tells_nothing() -> None:
    codes = Codes(flat(3, 3))
    rows = standard(codes, list(codes.space.enumerate()))
    assert np.all(rows[:, codes.width :] == 0)


def test_shortcuts_shorten_the_shortest_path() -> None:
    def cell(*edges: str) -> tuple[float, float]:
        names = ("edge_1_0", "edge_2_0", "edge_2_1", "edge_3_0", "edge_3_1", "edge_3_2")
        space = nasflow.space("nas_bench_201", cells=1)
        graph = space.bind(dict(zip(names, edges, strict=True)))
        _, shortest, longest = figures(graph)
        assert longest == graph.cost().depth
        return shortest, longest

    conv, skip, none = "nor_conv_3x3", "skip_connect", "none"
    assert cell(none, none, none, conv, none, none) == (7, 9)  # three cells; a reduction has 1 or 2
    assert cell(conv, none, conv, skip, none, conv) == (4, 15)
    assert cell(skip, none, conv, none, skip, conv) == (4, 12)  # a shortcut over two edges


def test_distances_are_of_order_where_there_is_one() -> None:
    space = gated()
    codes = Codes(space)
    names = [decision.name for decision in codes.decisions]
    rows = standard(
        codes, [next(p for p in space.enumerate() if p["depth"] == depth) for depth in (1, 2, 3)]
    )
    apart = codes.pairs(rows, rows).decisions[names.index("depth")]
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
        ConfigError, match=r"strategy\.acquisition: expected one of improvement, thompson"
    ):
        Predictor(flat(2), acquisition="thomson")  # type: ignore[arg-type]


def test_points_that_cannot_be_bound_are_passed_over() -> None:
    width = ir.choice("width", *range(4, 44, 2), ordered=True)
    x = ir.Conv2d(width)(ir.image(1, 8))
    x = ir.Conv2d(width, groups=ir.choice("groups", 1, 3))(x)  # the second divides some widths only
    space = ir.Space(ir.Linear(2)(ir.Mean()(x)), name="some")
    strategy, asked = Predictor(space, seed=0), list[Point]()
    while (point := strategy.ask()) is not None:
        asked.append(point)
        fits = point["groups"] == 1 or point["width"] % 3 == 0  # type: ignore[operator]
        reward = float(point["width"]) if fits else None  # type: ignore[arg-type]
        strategy.tell(point, Result({}, reward))
    assert len(asked) == space.size


def test_known_networks_come_last() -> None:
    space = nasflow.space("nas_bench_201", cells=1)
    strategy, networks = Predictor(space, seed=0), set[str]()
    for step in range(40):
        point = strategy.ask()
        assert point is not None
        assert space.fingerprint(point) not in networks
        networks.add(space.fingerprint(point))
        strategy.tell(point, Result({}, float(step % 7)))


@pytest.mark.parametrize("option", ["members", "candidates", "parents"])
def test_numbers_below_one_are_refused(option: str) -> None:
    with pytest.raises(
        ConfigError, match=f"strategy.{option}: expected a whole number from 1, got 0"
    ):
        Predictor(flat(3), **{option: 0})  # type: ignore[arg-type]
