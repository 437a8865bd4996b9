from __future__ import annotations

import json

from nasflow import ir
from nasflow.search.strategy import Result
from strategies.gp import GP
from tests.strategies.spaces import flat, gated


def result(point: ir.Point) -> Result:
    value = -sum((int(v) - 6) ** 2 for v in point.values())  # type: ignore[arg-type]
    return Result(reward=float(value), values=(float(value),))


def run(strategy: GP, count: int) -> list[ir.Point]:
    proposed = []
    for _ in range(count):
        point = strategy.ask()
        assert point is not None
        proposed.append(point)
        strategy.tell(point, result(point))
    return proposed


def test_it_models_what_it_was_told() -> None:
    x = ir.image(3, 8)
    for name in ("a", "b"):
        x = ir.Scale(ir.integer(name, 0, 11))(x)
    space = ir.Space(x, name="bowl")
    late = run(GP(space, seed=0, warmup=6, exact=True), 9)[6:]
    best = max(late, key=lambda point: result(point).reward or 0.0)
    assert abs(int(best["a"]) - 6) + abs(int(best["b"]) - 6) <= 3  # type: ignore[arg-type]


def test_a_restored_one_proposes_the_same() -> None:
    space = flat(8, 8)
    strategy = GP(space, seed=0, warmup=4)
    run(strategy, 5)
    again = GP(space, seed=9, warmup=4)
    again.restore(json.loads(json.dumps(strategy.state())))
    assert run(again, 2) == run(strategy, 2)


def test_conditional_decisions_are_taken() -> None:
    space = gated()
    strategy = GP(space, seed=0, warmup=4)
    for i in range(8):
        point = strategy.ask()
        assert point is not None
        space.check(point)
        strategy.tell(point, Result(reward=float(i % 3), values=(float(i % 3),)))
