from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nasflow.errors import ConfigError
from nasflow.search import objective
from nasflow.search.results import Entry, Run
from nasflow.search.strategy import Result
from nasflow.search.tradeoff import summary, tradeoff


def run(rows: list[dict[str, float]], **plan: Any) -> Run:
    entries = [
        Entry(n, {"n": n}, f"f{n}", Result(row, row["accuracy"])) for n, row in enumerate(rows)
    ]
    failed = Entry(len(rows), {}, "f", Result(error="no"))
    return Run(Path("run"), {"objective": plan}, [*entries, failed])


ROWS = [
    {"accuracy": 0.5, "macs": 10, "latency_ms": 3},
    {"accuracy": 0.9, "macs": 30, "latency_ms": 1},
    {"accuracy": 0.4, "macs": 20, "latency_ms": 2},
]


def test_one_measure_is_set_against_a_cost() -> None:
    found = tradeoff(run(ROWS))
    assert found is not None and dict(found.measures) == {"accuracy": "max", "macs": "min"}
    assert [entry.n for entry in found.front] == [1, 0]
    assert found.corner == {"accuracy": 0.4, "macs": 30}
    assert found.hypervolume == pytest.approx(0.1 * 20)


def test_a_reference_is_the_corner() -> None:
    plan: dict[str, Any] = {"measures": {"accuracy": "max", "macs": "min"}}
    found = tradeoff(run(ROWS, **plan, reference={"accuracy": 0.0, "macs": 40}))
    assert found is not None and found.corner == {"accuracy": 0.0, "macs": 40}
    assert found.hypervolume == pytest.approx(0.5 * 30 + 0.4 * 10)


def test_three_measures() -> None:
    measures = {"accuracy": "max", "macs": "min", "latency_ms": "min"}
    found = tradeoff(
        run(ROWS, measures=measures, reference={"accuracy": 0, "macs": 40, "latency_ms": 4})
    )
    assert found is not None and [entry.n for entry in found.front] == [1, 0, 2]
    boxes = [0.5 * 30 * 1, 0.9 * 10 * 3, 0.4 * 20 * 2]  # by inclusion and exclusion
    pairs = [0.5 * 10 * 1, 0.4 * 20 * 1, 0.4 * 10 * 2]
    assert found.hypervolume == pytest.approx(sum(boxes) - sum(pairs) + 0.4 * 10 * 1)


def test_there_is_nothing_to_trade_without_two_measures() -> None:
    assert tradeoff(run([])) is None
    assert tradeoff(run([{"accuracy": 0.5}])) is None


def test_the_summary_is_json() -> None:
    told = json.loads(json.dumps(summary(run(ROWS))))
    assert told["evaluated"] == 4 and told["failed"] == 1
    assert [row["proposal"] for row in told["best"]] == [1, 0, 2]
    assert [row["proposal"] for row in told["pareto"]["front"]] == [1, 0]


def test_a_reference_names_every_measure() -> None:
    with pytest.raises(ConfigError, match="reference: expected a value for each of accuracy, macs"):
        objective.create({"measures": {"accuracy": "max", "macs": "min"}, "reference": {"macs": 1}})
