from __future__ import annotations

import json
import random

from nasflow.search.strategy import Result
from strategies.nsga2 import NSGA2
from tests.strategies.spaces import flat


def test_parents_of_each_generation_are_restored() -> None:
    space = flat(3, 3, 3, 3, 3)
    strategy = NSGA2(space, seed=0, population=5)
    for _ in range(40):
        again = NSGA2(space, seed=9, population=5)
        again.restore(json.loads(json.dumps(strategy.state())))
        point = strategy.ask()
        assert point is not None and again.ask() == point
        reward = random.Random(json.dumps(point)).random()
        strategy.tell(point, Result({}, reward, values=(reward,)))
