from __future__ import annotations

import random
import time

import pytest

from nasflow.errors import ConfigError
from nasflow.search.strategy import Result
from strategies.rl import RL, Moving
from tests.strategies.toy import Decision, Point, Space


def nasnet_like() -> Space:
    """Decide as NASNet does: for each of ten blocks two inputs, two operations and a join."""
    found = []
    for cell in ("normal", "reduction"):
        for block in range(5):
            for side in ("a", "b"):
                found.append(Decision(f"{cell}/{block}/{side}/input", tuple(range(2 + block))))
                found.append(Decision(f"{cell}/{block}/{side}/operation", tuple(range(13))))
            found.append(Decision(f"{cell}/{block}/join", ("add", "concat")))
    return Space(*found)


def run(strategy: RL, target: Point, count: int) -> list[float]:
    rewards = []
    for _ in range(count):
        point = strategy.ask()
        assert point is not None
        rewards.append(sum(point[name] == value for name, value in target.items()) / len(target))
        strategy.tell(point, Result(reward=rewards[-1]))
    return rewards


@pytest.mark.parametrize("algorithm", ["ppo", "reinforce"])
def test_it_climbs_towards_a_known_optimum(algorithm: str) -> None:
    space = nasnet_like()
    rewards = run(RL(space, seed=0, algorithm=algorithm, learning_rate=0.003), space.sample(1), 600)  # type: ignore[arg-type]
    assert sum(rewards[-100:]) / 100 > 2 * sum(rewards[:100]) / 100


def test_a_proposal_and_its_result_take_under_20_milliseconds() -> None:
    space = nasnet_like()
    strategy = RL(space, seed=0)
    run(strategy, space.sample(1), 20)
    started = time.perf_counter()
    run(strategy, space.sample(1), 100)
    assert (
        time.perf_counter() - started < 100 * 0.020 * 2
    )  # twice: the machine that tests may be busy


def test_the_unit_of_the_reward_does_not_matter() -> None:
    space = nasnet_like()
    target, runs = space.sample(1), []
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
    space = Space(
        Decision("broken", (False, True)), *(Decision(f"d{i}", tuple(range(9))) for i in range(6))
    )
    strategy = RL(space, seed=0, batch=10, learning_rate=0.003)
    rng, broken = random.Random(0), []
    for _ in range(400):
        point = strategy.ask()
        assert point is not None
        broken.append(point["broken"])
        strategy.tell(
            point,
            Result(error="out of memory")
            if point["broken"]
            else Result(reward=0.8 + 0.1 * rng.random()),
        )
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
        ConfigError, match="expected ppo or reinforce, got 'pop' \\(did you mean 'ppo'\\?\\)"
    ):
        RL(nasnet_like(), algorithm="pop")  # type: ignore[arg-type]
