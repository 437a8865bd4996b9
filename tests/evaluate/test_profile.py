from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import nasflow
from nasflow.errors import ConfigError
from nasflow.evaluate import profile
from nasflow.evaluate.latency_table import read
from nasflow.evaluate.profile import (
    Setting,
    calibrate_with,
    measure_operations,
    missing,
    open_table,
)
from tests.evaluate.test_latency_table import network

QUICK = Setting(repeats=2)


def silent(line: str) -> None:
    pass


def test_each_operation_is_measured_once_and_then_no_more(tmp_path: Path) -> None:
    table = open_table(tmp_path / "t.json", QUICK)
    wanted = missing(table, [network(), network()])
    assert len(wanted) == 5
    threads = torch.get_num_threads()
    measure_operations(table, wanted, QUICK, say=silent)
    assert torch.get_num_threads() == threads
    assert calibrate_with(table, [network()], QUICK) == 1
    again = open_table(tmp_path / "t.json", QUICK)
    assert missing(again, [network()]) == {} and calibrate_with(again, [network()], QUICK) == 0
    assert len(missing(again, [network(width=6)])) == 5
    assert all(us >= 0 for us in again.operations.values())
    assert again.networks[0]["operations"] == 7 and again.networks[0]["ms"] > 0
    assert again.settings["threads"] == 1 and again.machine["torch"] == torch.__version__


def test_what_was_measured_survives_an_end_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "GROUP", 2)
    table = open_table(tmp_path / "t.json", QUICK)
    wanted = missing(table, [network()])

    def killed(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_operations(table, wanted, QUICK, say=killed)
    kept = read(tmp_path / "t.json")
    assert len(kept.operations) == 2 and len(missing(kept, [network()])) == 3


def test_dearer_operations_take_longer(tmp_path: Path) -> None:
    from nasflow import ir

    def wide(width: int) -> Any:
        return ir.Space(ir.Conv2d(width, 3, padding=1)(ir.image(32, 32))).bind({})

    setting = Setting(repeats=5)
    table = open_table(tmp_path / "t.json", setting)
    graphs = [wide(8), wide(256)]
    measure_operations(table, missing(table, graphs), setting, say=silent)
    assert table.predict(graphs[1]) > 2 * table.predict(graphs[0])


@pytest.mark.parametrize("name", ["nasnet", "transformer", "swin", "vig", "efficientnet", "levit"])
def test_the_operations_of_a_space_can_be_run_alone(name: str, tmp_path: Path) -> None:
    space = nasflow.space(name)
    setting = Setting(repeats=1)
    table = open_table(tmp_path / "t.json", setting)
    graph = space.bind(space.smallest())
    kinds = {type(c.op): (key, c) for key, c in missing(table, [graph]).items()}
    measure_operations(table, dict(kinds.values()), setting, say=silent)
    assert len(table.operations) == len(kinds)


def test_a_table_measured_otherwise_is_not_completed(tmp_path: Path) -> None:
    table = open_table(tmp_path / "t.json", QUICK)
    table.path.write_text(table.to_json())
    with pytest.raises(ConfigError, match="measured with batch=1, not 4"):
        open_table(table.path, Setting(batch=4))
    table.machine["processor"] = "Kirin 970"
    table.path.write_text(table.to_json())
    with pytest.raises(ConfigError, match="another machine"):
        open_table(table.path, QUICK)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"device": "phone"}, "device 'phone'"),
        ({"repeats": 0}, "repeats"),
        ({"threads": 1.5}, "threads"),
    ],
)
def test_bad_settings_are_one_line(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Setting(**settings)
