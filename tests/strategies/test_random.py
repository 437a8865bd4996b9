from __future__ import annotations

import random
import time

from strategies.random import Random
from tests.strategies.spaces import flat, gated


def test_draws_are_uniform() -> None:
    space = gated()
    kinds = [Random(space, seed=seed).ask()["kind"] for seed in range(2000)]  # type: ignore[index]
    # four of seven points have groups: the gated decision weighs, not the option
    assert abs(kinds.count("groups") - 2000 * 4 / 7) < 100


def test_the_last_points_of_a_space_come_as_fast_as_the_first() -> None:
    space = flat(5, 5, 5, 5, 5, 5)
    strategy = Random(space, seed=0)
    started = time.process_time()
    while strategy.ask() is not None:
        pass
    assert len(strategy.seen) == 15_625
    assert time.process_time() - started < 15_625 * 0.001


def test_a_huge_space_costs_less_than_a_millisecond_a_proposal() -> None:
    space = flat(*[13] * 50)
    strategy, result = Random(space, seed=random.randrange(100)), None
    started = time.process_time()
    for _ in range(500):
        strategy.tell(strategy.ask(), result)  # type: ignore[arg-type]
    assert time.process_time() - started < 0.5
