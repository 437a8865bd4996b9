from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import nasflow
from nasflow import ir
from nasflow.discovery import names
from nasflow.errors import ConfigError
from nasflow.search import limited, objective
from nasflow.search.limited import Limited
from nasflow.search.run import search
from nasflow.search.steer import MISSES, Steered
from nasflow.search.strategy import Result, create


def toy() -> ir.Space:
    """Return a space of 1,020 points whose decisions gate others."""

    def wide(x: Any) -> Any:
        kernel = ir.choice("kernel", 1, 3, 5)
        return ir.Conv2d(width, kernel, padding=kernel // 2)(x)

    def block(x: Any, i: int) -> Any:
        return ir.switch(ir.choice("kind", "wide", "slim"), wide=wide, slim=ir.Conv2d(width, 1))(x)

    width = ir.choice("width", 4, 8, 16, ordered=True)
    return ir.Space(ir.repeat(block, times=ir.integer("depth", 1, 4))(ir.image(3, 8)), name="toy")


def within(space: Any, **limits: float) -> Limited:
    return Limited(space, objective.create({"limits": limits}))


def nasnet() -> ir.Space:
    return nasflow.space("nasnet", size=8, channels=1, classes=10, filters=4, repeats=1, blocks=1)


@pytest.mark.parametrize(("bound", "direct"), [(97_000, True), (30_000, False)])
def test_everything_drawn_keeps_to_the_limits(bound: int, direct: bool) -> None:
    space, rng = nasnet(), random.Random(0)
    seen = within(space, macs=bound)
    assert (seen.share > limited.DIRECT) == direct
    first, second = seen.sample(rng), seen.sample(rng)
    drawn = [
        first,
        seen.mutate(first, rng),
        seen.crossover(first, second, rng),
        seen.repair(space.largest(), rng),
        *itertools.islice(seen.neighbours(first), 3),
    ]
    assert all(space.bind(point).macs <= bound for point in drawn)
    assert seen.mutate(first, rng) != first
    for point in drawn:
        space.check(point)


def test_what_is_drawn_depends_on_the_random_state_alone() -> None:
    seen, again = within(nasnet(), macs=34_000), within(nasnet(), macs=34_000)
    for _ in range(3):
        seen.sample(random.Random(9))
    assert seen.sample(5) == again.sample(5)
    assert seen.sample(5) == seen.sample(random.Random(5)) != seen.sample(6)


def test_steps_leave_uniform_points_within_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited, "LISTED", 0)
    monkeypatch.setattr(limited, "DIRECT", 2.0)  # more than all: never directly
    space, rng, draws = toy(), random.Random(1), 3000
    seen = within(space, macs=9_000)
    inside = [p for p in space.enumerate() if space.bind(p).macs <= 9_000]
    monkeypatch.setattr(seen, "_pool", inside)  # from which chains of a few steps begin
    monkeypatch.setattr(limited, "STEPS", 1)
    found = Counter(tuple(seen.sample(rng).items()) for _ in range(draws))
    assert {*found} == {tuple(p.items()) for p in inside} and len(inside) == 45
    expected = draws / len(inside)
    spread = sum((n - expected) ** 2 / expected for n in found.values()) / len(inside)
    assert 0.5 < spread < 1.7  # near 1 where draws are uniform


def test_a_chain_reaches_every_point_within(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited, "LISTED", 0)
    monkeypatch.setattr(limited, "DIRECT", 2.0)
    space, rng = toy(), random.Random(1)
    seen = within(space, macs=9_000)
    found = {tuple(seen.sample(rng).items()) for _ in range(400)}
    assert len(found) == 45


def test_redraws_leave_uniform_points_uniform() -> None:
    space, rng, draws = toy(), random.Random(2), 6_000
    names = [d.name for d in space.decisions]
    found: Counter[Any] = Counter()
    for _ in range(draws):
        point = space.redraw(space.sample(rng), rng.sample(names, 2), rng)
        found[tuple(point.items())] += 1
    expected = draws / space.size
    spread = sum((found[tuple(p.items())] - expected) ** 2 / expected for p in space.enumerate())
    assert 0.8 < spread / space.size < 1.2


def test_a_redraw_changes_nothing_outside_its_block() -> None:
    space, rng = toy(), random.Random(3)
    for _ in range(50):
        point = space.sample(rng)
        near = space.redraw(point, ["width"], rng)
        assert {**near, "width": 0} == {**point, "width": 0}


def test_a_small_space_is_listed_and_its_size_is_exact() -> None:
    space = toy()
    inside = [p for p in space.enumerate() if space.bind(p).macs <= 9_000]
    seen = within(space, macs=9_000)
    assert seen.size == len(inside) and list(seen.enumerate()) == inside
    assert "1,020 points" in seen.describe()


def test_limits_that_nothing_meets_say_the_smallest_cost() -> None:
    space = nasnet()
    least = space.bind(space.smallest()).macs
    with pytest.raises(ConfigError, match=r"no network of space 'nasnet' within macs 100 in") as e:
        within(space, macs=100)
    assert int(str(e.value).rpartition(" ")[2].replace(",", "")) <= least
    with pytest.raises(ConfigError, match=r"the smallest found has macs"):
        within(toy(), macs=10)


class Stubborn:
    """Propose one point for ever."""

    def __init__(self, point: Any) -> None:
        self.point = point
        self.told: list[tuple[Any, Result]] = []

    def ask(self) -> Any:
        return self.point

    def tell(self, point: Any, result: Result) -> None:
        self.told.append((point, result))

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


def test_a_strategy_that_keeps_missing_is_led_inside_and_told() -> None:
    space = within(nasnet(), macs=34_000)
    outside = space.space.largest()
    steered = Steered(Stubborn(outside), space, seed=0)
    asked = [steered.ask() for _ in range(MISSES + 3)]
    assert asked[:MISSES] == [outside] * MISSES
    assert all(space.excess(point) == 0 for point in asked[MISSES:] if point)
    assert [result.reward for _, result in steered.strategy.told] == [None] * 3  # type: ignore[attr-defined]


def test_a_steered_strategy_resumes_where_it_was() -> None:
    space = within(nasnet(), macs=34_000)
    one, two = (Steered(Stubborn(space.space.largest()), space, seed=0) for _ in range(2))
    for _ in range(MISSES + 2):
        one.ask()
    two.restore(one.state())
    assert [one.ask() for _ in range(3)] == [two.ask() for _ in range(3)]


@pytest.mark.parametrize("name", [n for n in names("strategy") if n != "compound_scaling"])
def test_any_strategy_proposes_within_the_limits_and_resumes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited, "LISTED", 0)
    monkeypatch.setattr(limited, "DIRECT", 2.0)
    seen = within(toy(), macs=9_000)

    def steered() -> Steered:
        made = create({"name": name}, seen, 0)  # type: ignore[arg-type]
        return Steered(made, seen, 0)

    def drive(strategy: Steered, count: int) -> list[Any]:
        asked = []
        for _ in range(count):
            asked.append(point := strategy.ask())
            if point is not None:
                inside = seen.excess(point) == 0
                told = Result({"accuracy": 0.5}, 0.5, values=(0.5,))
                strategy.tell(point, told if inside else Result(error="over"))
        return asked

    one, two = steered(), steered()
    asked = drive(one, 12)
    assert sum(seen.excess(point) == 0 for point in asked) >= (12 - MISSES) / 2
    drive(two, 6)
    again = steered()
    again.restore(json.loads(json.dumps(two.state())))
    assert drive(again, 6) == asked[6:]


def test_networks_of_a_rule_are_refused_not_moved(tmp_path: Path) -> None:
    vit = {"name": "vit", "patches": [1, 4], "heads": [1, 3], "depths": [1, 4], "scale": 4.0}
    search(
        space=vit | {"classes": 10, "channels": 1, "size": 8},
        strategy={"name": "compound_scaling"},
        evaluator={"_target_": "nasflow.evaluate.Cost"},
        objective={"measures": {"macs": "min"}, "limits": {"macs": 40_000_000}},
        budget={"trials": 100},
        out=tmp_path,
    )
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    told = [line for line in lines if line["t"] == "result"]
    assert len([line for line in told if not line["error"]]) == 1  # the baseline alone is within
