from __future__ import annotations

import random
import time
from typing import Any, Literal

import pytest

import nasflow
from nasflow import ir
from nasflow.errors import ConfigError
from nasflow.search.strategy import Result
from strategies.rl import RL, Moving
from tests.strategies.spaces import flat


def searched(space: ir.Space, seed: int) -> ir.Point:
    """Return a random point's values of the decisions that are searched."""
    free = {decision.name for decision in space.decisions if decision.searched}
    return {name: value for name, value in space.sample(seed).items() if name in free}


def run(strategy: RL, target: ir.Point, count: int) -> list[float]:
    """Return the shares of the target's values that the proposals have, told as rewards."""
    rewards = []
    for _ in range(count):
        point = strategy.ask()
        assert point is not None
        rewards.append(sum(point[name] == value for name, value in target.items()) / len(target))
        strategy.tell(point, Result(reward=rewards[-1]))
    return rewards


@pytest.mark.parametrize("algorithm", ["ppo", "reinforce"])
def test_it_climbs_towards_a_known_optimum(algorithm: Literal["ppo", "reinforce"]) -> None:
    space = flat(*[6] * 16)
    strategy = RL(space, seed=0, algorithm=algorithm, learning_rate=0.003)
    rewards = run(strategy, searched(space, 1), 400)
    assert sum(rewards[-100:]) > 2 * sum(rewards[:100])


def test_a_proposal_and_its_result_take_under_20_milliseconds() -> None:
    space = nasflow.space("nasnet")
    strategy = RL(space, seed=0)
    run(strategy, searched(space, 1), 20)
    started = time.process_time()
    run(strategy, searched(space, 1), 100)
    assert time.process_time() - started < 100 * 0.020 * 2  # twice: other machines are slower


def test_the_unit_of_the_reward_does_not_matter() -> None:
    space = nasflow.space("nasnet")
    target, runs = searched(space, 1), []
    for scale, shift in ((1.0, 0.0), (1024.0, 0.0)):
        strategy, points = RL(space, seed=0, batch=5, entropy=0.0), []
        for _ in range(40):
            point = strategy.ask()
            assert point is not None
            points.append(point)
            share = sum(point[name] == value for name, value in target.items())
            strategy.tell(point, Result(reward=share * scale + shift))
        runs.append(points)
    assert runs[0] == runs[1]


def test_failures_are_learned_from_as_the_worst_reward() -> None:
    strategy = RL(flat(2, 9, 9, 9, 9, 9, 9), seed=0, batch=10, learning_rate=0.003)
    rng, broken = random.Random(0), []
    for _ in range(400):
        point = strategy.ask()
        assert point is not None
        broken.append(point["d0"] == 1)
        fine = Result(reward=0.8 + 0.1 * rng.random())
        strategy.tell(point, Result(error="out of memory") if broken[-1] else fine)
    assert sum(broken[-100:]) < 0.5 * sum(broken[:100])


def test_the_baseline_is_a_weighted_mean_that_does_not_start_at_zero() -> None:
    rewards = Moving(0.95)
    assert rewards.advantage(0.7) == 0.0
    rewards.add(0.7)
    assert rewards.advantage(0.9) == 0.0  # one reward has no deviation
    rewards.add(0.9)
    mean = (0.95 * 0.7 + 0.9) / 1.95
    assert rewards.advantage(mean) == pytest.approx(0.0, abs=1e-9)
    assert rewards.advantage(0.9) > 0 > rewards.advantage(0.7)
    assert rewards.worst == 0.7


def test_an_unknown_algorithm_is_refused_in_one_line() -> None:
    with pytest.raises(
        ConfigError, match="expected one of ppo, reinforce, got 'pop' \\(did you mean 'ppo'\\?\\)"
    ):
        RL(nasflow.space("nasnet"), algorithm="pop")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"batch": 0}, {"batch": 2.5}, {"hidden": -3}, {"learning_rate": "abc"}, {"temperature": 0}],
)
def test_settings_that_could_not_learn_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"strategy\.{name}: expected a .*number"):
        RL(flat(3), **wrong)
