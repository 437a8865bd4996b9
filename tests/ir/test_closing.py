"""A space traced for one point holds that point's network, and others that take the same."""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.closing import Closing

TRACED: list[str] = []


def space() -> ir.Space:
    def body(x: ir.Value, i: int) -> ir.Value:
        TRACED.append(f"turn {i}")
        return ir.Conv2d(8, ir.choice("kernel", 1, 3))(x)

    def wide(x: ir.Value) -> ir.Value:
        TRACED.append("wide")
        return ir.Conv2d(8, ir.choice("size", 3, 5))(x)

    x = ir.image(3, 8)
    x = ir.switch(ir.choice("stem", "wide", "thin"), wide=wide, thin=ir.Conv2d(8))(x)
    depth = ir.integer("depth", 1, 4)
    return ir.Space(ir.repeat(body, depth)(x), name="net")


POINT = {"stem": "thin", "depth": 2, "blocks/0/kernel": 1, "blocks/1/kernel": 3}


def closed(point: dict[str, ir.Scalar]) -> tuple[Closing, ir.Space]:
    closing = Closing(point)
    TRACED.clear()
    with closing.tracing():
        return closing, space()


def test_only_what_the_point_takes_is_traced() -> None:
    _, made = closed(POINT)
    assert TRACED == ["turn 0", "turn 1"]
    assert made.bind(POINT).to_json() == space().bind(POINT).to_json()


def test_a_point_that_takes_the_same_fits() -> None:
    closing, made = closed(POINT)
    other = {**POINT, "blocks/0/kernel": 3}
    assert closing.fits(other)
    assert made.bind(other).to_json() == space().bind(other).to_json()
    assert not closing.fits({**POINT, "stem": "wide"})
    assert not closing.fits({**POINT, "depth": 1})


def test_what_the_point_leaves_open_is_traced_in_full() -> None:
    closing, made = closed({})
    assert not closing.assumed
    assert [d.name for d in made.decisions] == [d.name for d in space().decisions]
