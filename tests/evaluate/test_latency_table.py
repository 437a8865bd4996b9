from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from nasflow import ir
from nasflow.errors import ConfigError, RunError
from nasflow.evaluate import latency_table
from nasflow.evaluate.latency_table import LatencyTable, Predicted, calibrate, name_of


def network(width: int = 4, depth: int = 2) -> ir.Graph:
    def block(x: Any, i: int) -> Any:
        return ir.Activation("relu")(ir.Conv2d(width, 3, padding=1)(x))

    x = ir.Conv2d(width, 1)(ir.image(1, 8))
    return ir.Space(ir.Linear(2)(ir.Mean()(ir.repeat(block, times=depth)(x)))).bind({})


def table(path: Path, us: float = 10.0, **machine: Any) -> LatencyTable:
    here = {**latency_table.describe_machine("cpu"), **machine}
    names = {name_of(node.content) for _, node, _ in network().walk()}
    return LatencyTable(path, here, {"batch": 1}, dict.fromkeys(names, us))


def test_a_networks_time_is_the_sum_of_its_operations(tmp_path: Path) -> None:
    # 1 + 2 * 2 + 2 operations; those of the two iterations are in the table once
    made = table(tmp_path / "t.json")
    assert len(made.operations) == 5
    assert made.add_up(network()) == (70.0, 7)
    assert made.predict(network()) == pytest.approx(0.07)


def test_calibration_finds_scale_and_overhead_again() -> None:
    rng = random.Random(0)
    rows = []
    for _ in range(20):
        total, count = rng.uniform(100, 1000), rng.randint(5, 50)
        rows.append({"sum_us": total, "operations": count, "ms": (1.2 * total + 3.0 * count) / 1e3})
    assert calibrate(rows) == pytest.approx((1.2, 3.0))
    assert calibrate(rows[:1]) == (pytest.approx(1e3 * rows[0]["ms"] / rows[0]["sum_us"]), 0.0)
    assert calibrate([]) == (1.0, 0.0)


def test_calibration_never_takes_time_away() -> None:
    rows = [
        {"sum_us": 10.0 * n, "operations": n * n, "ms": (10.0 * n - n * n) / 1e3}
        for n in (1, 2, 3, 4)
    ]
    scale, each = calibrate(rows)
    assert scale > 0 and each == 0.0


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = table(tmp_path / "t.json")
    made.networks.append(
        {"name": "n", "fingerprint": "f", "sum_us": 70.0, "operations": 7, "ms": 0.14}
    )
    made.path.write_text(made.to_json())
    again = latency_table.read(made.path)
    assert again.operations == made.operations and again.calibration == (pytest.approx(2.0), 0.0)
    assert Predicted(str(made.path))(network())["latency_ms"] == pytest.approx(0.14)


def test_an_operation_that_is_missing_is_named_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no time for Conv2d\(.*\) at C=1 H=8 W=8.*nasflow profile"):
        table(tmp_path / "t.json").predict(network(width=5))


def test_a_table_of_another_machine_is_refused_unless_it_is_meant(tmp_path: Path) -> None:
    made = table(tmp_path / "t.json", processor="Kirin 970")
    made.path.write_text(made.to_json())
    with pytest.raises(ConfigError, match=r"another machine \(processor 'Kirin 970', here"):
        latency_table.read(made.path)
    assert latency_table.read(made.path, any_machine=True).predict(network()) > 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "cannot be read"),
        ("{", "not a table"),
        ("[]", "not a table"),
        (json.dumps({"version": 9}), "version 9"),
        (
            json.dumps(
                {
                    "version": 1,
                    "machine": {},
                    "settings": {},
                    "operations": {"a": -1},
                    "networks": [],
                }
            ),
            "negative",
        ),
    ],
)
def test_what_is_no_table_is_one_line(text: str | None, why: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=why) as caught:
        latency_table.read(path)
    assert "\n" not in str(caught.value)
