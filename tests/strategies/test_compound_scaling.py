"""Compound scaling finds the factors that a known reward prefers, and scales baselines of any space."""

from __future__ import annotations

import json
from typing import Any

import pytest

import nasflow
from nasflow import ir
from nasflow.errors import ConfigError
from nasflow.search.remarks import Remarks
from nasflow.search.strategy import Result
from strategies.compound_scaling import CompoundScaling
from tests.strategies.spaces import flat

PAPER = (1.2, 1.1, 1.15)


def tower(largest: float = 4.0) -> ir.Space:
    """Return a small network that can be scaled."""
    factors = ir.factors(largest)
    x = ir.image(3, factors.side(16))
    x = ir.Conv2d(ir.round_to_8(16 * factors.width), 3)(x)
    layers = factors.layers(ir.integer("layers", 1, 4))
    x = ir.repeat(lambda x: ir.Conv2d(x.dim("C"), 3)(x), layers)(x)
    return ir.Space(ir.Linear(10)(ir.Mean()(x)), name="tower")


def drive(strategy: CompoundScaling, prefer: tuple[float, float, float]) -> list[ir.Point]:
    """Reward closeness to a triple at phi = 1; return all proposals."""
    names = ("depth_factor", "width_factor", "resolution_factor")
    proposed = []
    while (point := strategy.ask()) is not None:
        proposed.append(point)
        reward = -sum(abs(point[n] - f) for n, f in zip(names, prefer, strict=True))  # type: ignore[operator]
        strategy.tell(point, Result({}, reward, values=(reward,)))
    return proposed


@pytest.mark.parametrize(
    "search", ["grid", {"name": "random"}, {"name": "local_search", "start": 2}]
)
def test_the_best_factors_at_phi_1_make_the_family(search: Any) -> None:
    strategy = CompoundScaling(tower(), search=search, step=0.05, phis=(1, 2), point={"layers": 4})
    proposed = drive(strategy, PAPER)
    assert strategy.factors == PAPER
    assert len(proposed) == len({json.dumps(point) for point in proposed})
    assert proposed[0]["depth_factor"] == 1.0
    assert proposed[-1] == strategy.family()["phi_2"]
    assert proposed[-1]["depth_factor"] == 1.44
    assert strategy.family()["phi_1"] in proposed


def test_every_triple_tried_is_near_the_target() -> None:
    strategy = CompoundScaling(tower(), step=0.1, phis=(1,))
    drive(strategy, PAPER)
    assert len(strategy.tried) > 5
    for alpha, beta, gamma in strategy.tried:
        assert alpha * beta**2 * gamma**2 == pytest.approx(2, abs=0.1)


def test_growth_is_reported_beside_its_prediction() -> None:
    strategy = CompoundScaling(tower(), factors=PAPER, phis=(1, 2.5))
    drive(strategy, PAPER)
    remarks = strategy.remarks()
    assert [row[0] for row in remarks.rows] == ["baseline", "phi_1", "phi_2_5"]
    predicted = [row[list(remarks.header).index("predicted")] for row in remarks.rows]
    assert predicted == ["1.00", "2.00", "5.66"]
    macs = strategy.space.bind(strategy.family()["phi_1"]).macs / strategy.base_macs
    assert remarks.rows[1][list(remarks.header).index("growth")] == f"{macs:.2f}"


def test_a_budget_gets_the_largest_network_within_it() -> None:
    strategy = CompoundScaling(tower(), factors=PAPER, phis=(), macs=(2e6, 5e6))
    drive(strategy, PAPER)
    for budget, point in zip((2e6, 5e6), strategy.family().values(), strict=True):
        assert 0.5 * budget < strategy.space.bind(point).macs <= budget


def test_going_on_from_a_state_proposes_the_same() -> None:
    first = CompoundScaling(tower(), phis=(1, 2))
    open_points: list[ir.Point] = []
    for step in range(100):
        again = CompoundScaling(tower(), seed=9, phis=(1, 2))
        again.restore(json.loads(json.dumps(first.state())))
        point = first.ask()
        assert again.ask() == point
        if point is not None:
            open_points.append(point)
        if point is None and not open_points:
            break
        if point is None or step % 3:
            told = open_points.pop(0)
            result = Result(error="NaN") if step % 5 == 0 else Result({}, float(step))
            first.tell(told, result)
    assert first.factors is not None
    assert isinstance(first.remarks(), Remarks)


def test_nothing_succeeded() -> None:
    strategy = CompoundScaling(tower())
    while (point := strategy.ask()) is not None:
        strategy.tell(point, Result(error="NaN"))
    assert strategy.factors is None
    assert "no candidate succeeded" in strategy.remarks().text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phis": (1, -1)}, r"strategy.phis: expected numbers of 0 or more, got -1"),
        (
            {"macs": (1000,)},
            r"strategy.macs: expected at least the baseline's [\d,]+ MACs, got 1000",
        ),
        ({"phis": (30,)}, r"no alpha, beta, gamma on the grid .* as far as phi = 30"),
        (
            {"factors": PAPER, "phis": (30,)},
            r"gamma given .* as far as phi = 30",
        ),
        ({"phis": (), "macs": (1e15,)}, r"'tower' as far as 1,000,000,000,000,000 MACs"),
        ({"factors": (2, 2, 2)}, r"within 0.1 of 2, got 32"),
        ({"factors": (1.2, 1.1)}, r"expected alpha, beta, gamma, each 1 or more"),
        ({"step": 0}, r"expected a positive step"),
        ({"baseline": "resnet18"}, r"space 'tower' has no model 'resnet18'; it has: none"),
        ({"point": {"layers": 9}}, r"strategy.point.layers: expected one of 1, 2, 3, 4, got 9"),
        ({"depth": ("nothing",)}, r"no numeric decision for depth \(looked for nothing\)"),
    ],
)
def test_what_cannot_be_gets_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        CompoundScaling(tower(), **options)
    assert "\n" not in str(caught.value)


def test_a_space_that_cannot_be_scaled_says_so() -> None:
    with pytest.raises(ConfigError, match=r"space 'flat' has no numeric decision for depth"):
        CompoundScaling(flat(3, 3))


def test_decisions_of_a_space_without_factors_can_be_named() -> None:
    space = nasflow.space("mobilenet_v2", classes=10, deepest=6)
    strategy = CompoundScaling(
        space,
        baseline="mobilenetv2_050",
        point={"resolution": 160},
        depth=("stage*/layers",),
        factors=(1.2, 1.1, 1.15),
        phis=(1,),
    )
    scaled = strategy.family()["phi_1"]
    layers = [scaled[f"stage{number}/layers"] for number in range(1, 8)]
    assert layers == [2, 3, 4, 5, 4, 4, 2]
    assert (scaled["resolution"], scaled["width"]) == (192, 0.5)


@pytest.mark.parametrize(
    ("family", "baseline", "growth"),
    [
        ("efficientnet", "efficientnet_b0", 8.4),
        ("resnet", "resnet18", 8.4),
        ("vit", "deit_ti", 8.0),
    ],
)
def test_published_baselines_grow_about_eightfold_at_phi_3(
    family: str, baseline: str, growth: float
) -> None:
    strategy = CompoundScaling(
        nasflow.space(family, scale=2.0), baseline=baseline, factors=PAPER, phis=(3,)
    )
    macs = strategy.space.bind(strategy.family()["phi_3"]).macs
    assert macs / nasflow.model(baseline).macs == pytest.approx(growth, abs=0.05)
