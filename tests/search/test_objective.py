from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from nasflow.errors import ConfigError, RunError
from nasflow.search import objective


def test_one_measure_is_maximised() -> None:
    result = objective.create({"measure": "accuracy"}).result({"accuracy": 0.9, "loss": 0.3})
    assert (result.reward, result.values, result.error) == (0.9, (0.9,), None)


def test_a_minimised_measure_is_negated() -> None:
    assert objective.create({"measure": "loss", "goal": "min"}).result({"loss": 0.3}).reward == -0.3


def test_several_measures_make_a_vector_and_the_first_the_reward() -> None:
    result = objective.create({"measures": {"accuracy": "max", "params": "min"}}).result(
        {"accuracy": 0.9, "params": 7}
    )
    assert (result.reward, result.values) == (0.9, (0.9, -7))


# MnasNet: twice the latency for 5 % more accuracy (relative) earns about the same reward with w = -0.07.
@pytest.mark.parametrize(
    ("alpha", "beta", "cost", "expected"),
    [
        (-0.07, -0.07, 80, 0.75),
        (-0.07, -0.07, 160, 0.75 * 2**-0.07),
        (0, -1, 40, 0.75),
        (0, -1, 160, 0.375),
    ],
)
def test_the_soft_reward_is_mnasnets(
    alpha: float, beta: float, cost: float, expected: float
) -> None:
    soft = {"cost": "latency_ms", "target": 80, "alpha": alpha, "beta": beta}
    made = objective.create({"measure": "accuracy", "soft": soft})
    reward = made.result({"accuracy": 0.75, "latency_ms": cost}).reward
    assert reward is not None and math.isclose(reward, expected)


def test_the_papers_exponent_is_the_default_and_does_what_the_paper_says() -> None:
    soft = objective.Soft("latency_ms", target=100)
    assert math.isclose(soft.weigh(0.5, 100), soft.weigh(0.5 * 1.05, 200), rel_tol=1e-3)


def test_hard_limits_are_told_by_name() -> None:
    made = objective.create({"measure": "accuracy", "limits": {"params": 10, "macs": 1000}})
    costs = made.costs(SimpleNamespace(cost=lambda: SimpleNamespace(params=11, macs=1000)))  # type: ignore[arg-type]
    assert made.refusal(costs) == "params 11 over the limit 10"
    assert made.refusal({"params": 10, "macs": 1000}) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_measure_that_is_no_number_fails_the_candidate(bad: float) -> None:
    result = objective.create({"measure": "accuracy"}).result({"accuracy": bad, "loss": 1.0})
    assert (
        result.reward is None
        and result.error == f"accuracy is {bad}"
        and result.measures == {"loss": 1.0}
    )


def test_a_measure_the_evaluator_lacks_names_the_nearest() -> None:
    with pytest.raises(RunError, match="did you mean 'accuracy'"):
        objective.create({"measure": "acuracy"}).result({"accuracy": 0.5})


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"mesures": {"accuracy": "max"}}, "did you mean 'measures'"),
        ({"measures": {"accuracy": "up"}}, "expected max or min"),
        ({"limits": {"parms": 5}}, "did you mean 'params'"),
        ({"limits": {"params": -5}}, "positive"),
        ({"soft": {"cost": "macs", "target": 0}}, "positive"),
        ({"soft": {"cost": "macs", "tagret": 1}}, "did you mean 'target'"),
        ({"measures": {}}, "at least one"),
        ({"limits": 3}, "objective.limits: expected a value by measure"),
    ],
)
def test_bad_objectives_are_one_line(spec: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        objective.create(spec)
    assert "\n" not in str(caught.value)


def test_an_objective_survives_configuration() -> None:
    made = objective.create(
        {
            "measures": {"accuracy": "max", "macs": "min"},
            "soft": {"cost": "macs", "target": 5},
            "limits": {"params": 9},
        }
    )
    assert objective.create(objective.describe(made)) == made
