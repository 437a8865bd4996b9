"""Every strategy keeps the protocol: each file of `strategies/` runs through all of these."""

from __future__ import annotations

import inspect
import json
import random

import pytest
import yaml

from nasflow import ir
from nasflow.discovery import BUNDLED, find, names, parameters
from nasflow.search.strategy import Result, create
from tests.strategies.spaces import flat, gated

# compound_scaling proposes a family of one baseline, not points at large: see its own tests.
STRATEGIES = tuple(name for name in names("strategy") if name != "compound_scaling")
# Small settings, so that what happens after many results happens within few.
SMALL = {
    "gp": {"warmup": 1000},  # seconds for each proposal after that: see its own tests
    "rl": {"batch": 4, "epochs": 2, "hidden": 8, "learning_rate": 0.01},
    "evolution": {"population": 5, "sample": 2, "crossover": 0.5},
    "local_search": {"start": 3},
    "nao": {"warmup": 6, "batch": 4, "epochs": 5},
    **{name: {"coarse": 2} for name in ("alphanet", "nasvit", "ofa", "sandwich", "single_path")},
}


def make(name: str, space: ir.Space, seed: int = 0):  # type: ignore[no-untyped-def]
    return create({"name": name, **SMALL.get(name, {})}, space, seed)  # type: ignore[arg-type]


def reward(point: ir.Point) -> float:
    return random.Random(json.dumps(point, sort_keys=True)).random()


def result(point: ir.Point) -> Result:
    value = reward(point)
    return Result({"accuracy": value}, value, values=(value,))


FAILED = Result(error="loss is NaN")


def drive(strategy, count: int) -> list[ir.Point]:  # type: ignore[no-untyped-def]
    """Ask and tell in a shuffled order, up to three in flight, one in five failing."""
    rng, open_points, proposed = random.Random(7), [], []
    for _ in range(count):
        point = strategy.ask()
        if point is None:
            break
        proposed.append(point)
        open_points.append(point)
        while len(open_points) > rng.randrange(4):
            told = open_points.pop(rng.randrange(len(open_points)))
            strategy.tell(told, FAILED if rng.random() < 0.2 else result(told))
    return proposed


@pytest.mark.parametrize("name", names("strategy"))
def test_the_settings_in_conf_are_the_defaults(name: str) -> None:
    spec = yaml.safe_load((BUNDLED / "conf" / "strategy" / f"{name}.yaml").read_text())
    spec = spec.get("strategy", spec)  # one-shot strategies choose more than their own settings
    defaults = dict(parameters(find("strategy", name)) or {})
    assert spec.pop("name") == name
    assert [defaults.pop("space"), defaults.pop("seed")] == [inspect.Parameter.empty, 0]
    assert spec == json.loads(json.dumps(defaults))


@pytest.mark.parametrize("space", [lambda: flat(3, 3, 3), gated])
@pytest.mark.parametrize("name", STRATEGIES)
def test_proposals_are_valid_and_never_repeat(name: str, space) -> None:  # type: ignore[no-untyped-def]
    space = space()
    proposed = drive(make(name, space), 24)
    assert len(proposed) == 24
    assert len({json.dumps(p, sort_keys=True) for p in proposed}) == 24
    for point in proposed:
        space.check(point)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_seed_decides_everything(name: str) -> None:
    first, again = (drive(make(name, gated(), seed=1), 30) for _ in range(2))
    assert first == again
    if name != "grid":
        assert first != drive(make(name, gated(), seed=2), 30)


@pytest.mark.parametrize("name", STRATEGIES)
def test_drawing_leaves_the_global_random_state_alone(name: str) -> None:
    random.seed(5)
    expected = random.getstate()
    drive(make(name, gated()), 10)
    assert random.getstate() == expected


@pytest.mark.parametrize("name", STRATEGIES)
def test_restoring_at_any_step_goes_on_identically(name: str) -> None:
    space, rng = gated(), random.Random(3)
    strategy, open_points = make(name, space), []
    for _ in range(30):
        restored = make(name, space)
        restored.restore(json.loads(json.dumps(strategy.state())))
        point = strategy.ask()
        assert point == restored.ask()
        assert json.dumps(strategy.state()) == json.dumps(restored.state())
        assert point is not None
        open_points.append(point)
        if rng.random() < 0.8:
            told = open_points.pop(rng.randrange(len(open_points)))
            outcome = FAILED if rng.random() < 0.2 else result(told)
            strategy.tell(told, outcome)
            restored.tell(told, outcome)
            assert json.dumps(strategy.state()) == json.dumps(restored.state())
        strategy = restored  # errors would add up


@pytest.mark.parametrize("space", [lambda: flat(3, 3, 3), gated])
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_small_space_is_proposed_whole_and_then_nothing(name: str, space) -> None:  # type: ignore[no-untyped-def]
    space = space()
    strategy = make(name, space)
    proposed = drive(strategy, 10 * space.size)
    assert len(proposed) == space.size
    assert strategy.ask() is None
    assert strategy.ask() is None


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_told_point_is_not_proposed(name: str) -> None:
    space = flat(3, 3, 3)
    strategy = make(name, space)
    known = [space.sample(i) for i in range(12)]
    for point in known:
        strategy.tell(point, result(point))
    assert not [p for p in drive(strategy, 100) if p in known]


@pytest.mark.parametrize("name", STRATEGIES)
def test_duplicates_and_nothing_but_failures_are_taken(name: str) -> None:
    space = gated()
    strategy = make(name, space)
    for _ in range(20):
        point = strategy.ask()
        strategy.tell(point, FAILED)
        strategy.tell(point, FAILED)
    for _ in range(20):
        point = strategy.ask()
        strategy.tell(point, result(point))
        strategy.tell(point, result(point))
    space.check(strategy.ask())


@pytest.mark.parametrize("name", STRATEGIES)
def test_many_may_be_in_flight(name: str) -> None:
    space = gated()
    strategy = make(name, space)
    points = [strategy.ask() for _ in range(40)]
    assert len({json.dumps(p, sort_keys=True) for p in points}) == 40
    for point in reversed(points):
        strategy.tell(point, result(point))
    space.check(strategy.ask())


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_space_of_one_point_is_proposed_once(name: str) -> None:
    strategy = make(name, flat(1))
    assert drive(strategy, 3) == [{"d0": 0}]
