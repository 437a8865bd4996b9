from __future__ import annotations

from itertools import islice

import nasflow
from nasflow.search.strategy import Result
from strategies.grid import Grid
from tests.strategies.spaces import gated


def test_it_lists_the_space_in_its_order_and_skips_what_is_known() -> None:
    space = gated()
    everything = list(space.enumerate())
    strategy = Grid(space)
    for point in everything[3:6]:
        strategy.tell(point, Result(reward=1.0))
    proposed = [strategy.ask() for _ in range(len(everything) - 3)]
    assert proposed == everything[:3] + everything[6:]
    assert strategy.ask() is None


def test_a_huge_space_is_listed_lazily() -> None:
    space = nasflow.space("nasnet")
    strategy = Grid(space)
    assert [strategy.ask() for _ in range(5)] == list(islice(space.enumerate(), 5))
