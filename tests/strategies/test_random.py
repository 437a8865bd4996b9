from __future__ import annotations

import random
import time

from strategies.random import Random
from tests.strategies.toy import Decision, Space


def test_draws_are_uniform() -> None:
    space = Space(Decision("a", (0, 1)), Decision("b", (0, 1, 2), gate=lambda p: p["a"] == 1))
    counts: dict[str, int] = {}
    for seed in range(2000):
        point = Random(space, seed=seed).ask()
        counts[str(point)] = counts.get(str(point), 0) + 1
    # The toy space samples decision by decision: half the mass has no b.
    assert abs(counts.pop("{'a': 0}") - 1000) < 100
    assert all(abs(count - 1000 / 3) < 70 for count in counts.values())


def test_the_last_points_of_a_space_come_as_fast_as_the_first() -> None:
    space = Space(*(Decision(f"d{i}", (0, 1, 2, 3, 4)) for i in range(6)))
    strategy = Random(space, seed=0)
    started = time.perf_counter()
    while strategy.ask() is not None:
        pass
    assert len(strategy.seen) == 15_625
    assert time.perf_counter() - started < 15_625 * 0.001


def test_a_huge_space_costs_less_than_a_millisecond_a_proposal() -> None:
    space = Space(*(Decision(f"d{i}", tuple(range(13))) for i in range(50)))
    strategy, result = Random(space, seed=random.randrange(100)), None
    started = time.perf_counter()
    for _ in range(500):
        strategy.tell(strategy.ask(), result)  # type: ignore[arg-type]
    assert time.perf_counter() - started < 0.5
