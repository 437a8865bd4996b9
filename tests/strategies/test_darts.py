"""What a trained mixture becomes, and a search by one from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nasflow
from nasflow import ir
from nasflow.errors import ConfigError
from nasflow.search.run import resume, search
from strategies.darts import Darts, discretise, strongest

HERE = __name__
CHOICES = ("zero", "conv", "nothing")


def planted(**settings: Any) -> ir.Space:
    """A space whose images get through by one operation only."""
    branches = {
        "zero": lambda x: ir.Scale(0.0)(x),
        "conv": lambda x: ir.Activation("relu")(ir.Conv2d(8, 3)(x)),
        "nothing": lambda x: ir.Scale(0.0)(x),
    }
    x = ir.Conv2d(8, 3)(ir.image(1, 8))
    for number in range(2):
        x = ir.switch(ir.choice(f"op{number}", *CHOICES), branches)(x)
    return ir.Space(ir.Linear(10)(ir.Flatten()(x)), name="planted")


def test_a_node_takes_its_strongest_inputs_and_none_is_no_operation() -> None:
    group = {
        "slots": (("in0", "op0"), ("in1", "op1")),
        "inputs": (0, 1, 2),
        "options": ("a", "b"),
        # "none" is strongest everywhere, and strongest of all on edge 2
        "shares": [[0.30, 0.10, 0.60], [0.05, 0.40, 0.55], [0.20, 0.02, 0.78]],
    }
    assert strongest(group) == {"in0": 1, "op0": "b", "in1": 0, "op1": "a"}


def test_the_darts_space_has_two_different_inputs_a_node() -> None:
    space = nasflow.space("darts", nodes=3, layers=3)
    groups = [
        {
            "slots": tuple((f"{kind}/node{n}/input{s}", f"{kind}/node{n}/op{s}") for s in (0, 1)),
            "inputs": tuple(range(2 + n)),
            "options": space.decision("normal/node0/op0").options,
            "shares": [[0.1 * (i + 1)] + [0.01] * 7 for i in range(2 + n)],
        }
        for kind in ("normal", "reduction")
        for n in range(3)
    ]
    point = discretise(space, {"decisions": {}, "edges": groups, "held": {}})
    for n in range(3):
        assert [point[f"normal/node{n}/input{s}"] for s in (0, 1)] == [n + 1, n]


def test_each_decision_takes_its_largest_share_then_others_are_drawn() -> None:
    space = planted()
    shares = {
        "decisions": {"op0": [0.1, 0.8, 0.1], "op1": [0.1, 0.2, 0.7]},
        "edges": [],
        "held": {},
    }
    strategy = Darts(space)
    strategy.learn(shares)
    proposed = [strategy.ask() for _ in range(9)]
    assert proposed[0] == {"op0": "conv", "op1": "nothing"}
    assert len({tuple(point.values()) for point in proposed if point}) == 9
    assert strategy.ask() is None


def test_what_was_held_stays_in_all_that_is_proposed() -> None:
    held = {"op1": ["zero", "because"]}
    strategy = Darts(planted())
    strategy.learn({"decisions": {"op0": [0.1, 0.8, 0.1]}, "edges": [], "held": held})
    assert [strategy.ask()["op1"] for _ in range(3)] == ["zero"] * 3  # type: ignore[index]
    assert strategy.remarks().rows == [["op1", "zero", "because"]]
    again = Darts(planted())
    again.restore(json.loads(json.dumps(strategy.state())))
    assert again.shares == strategy.shares


def setup(out: Path) -> dict[str, Any]:
    data = {"_target_": "nasflow.data.digits.load", "augment": {"crop": 0}}
    train = {"_target_": "nasflow.evaluate.train.Train", "data": data, "epochs": 1, "images": 200}
    return {
        "space": {"_target_": f"{HERE}.planted"},
        "strategy": {"name": "darts"},
        "evaluator": {
            "_target_": "nasflow.evaluate.mixture.Mixture",
            "data": data,
            "train": train,
            "epochs": 12,
            "batch": 50,
            "images": 400,
            "learning_rate": 0.1,
            "architecture_rate": 0.05,
        },
        "budget": {"trials": 1},
        "out": out,
    }


@pytest.mark.parametrize("order", [1, 2])
def test_a_search_finds_the_operation_that_lets_images_through(tmp_path: Path, order: int) -> None:
    plan = setup(tmp_path / "run")
    plan["evaluator"]["order"] = order
    run = search(**plan)
    assert run.entries[0].point == {"op0": "conv", "op1": "conv"}
    assert (tmp_path / "run" / "mixture" / "shares.json").is_file()


def test_a_run_killed_before_its_first_result_goes_on_with_what_was_learned(
    tmp_path: Path,
) -> None:
    search(**setup(tmp_path / "whole"))
    folder = tmp_path / "whole"
    ledger = folder / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    asked = next(i for i, line in enumerate(lines) if '"t":"ask"' in line.replace(" ", ""))
    ledger.write_text("".join(lines[: asked + 1]))
    (folder / "strategy.json").unlink(missing_ok=True)
    again = resume(folder)
    assert [entry.point for entry in again.entries] == [{"op0": "conv", "op1": "conv"}]


def test_other_strategies_are_told_in_one_line_that_they_learn_nothing(tmp_path: Path) -> None:
    plan = setup(tmp_path / "run") | {"strategy": {"name": "random"}}
    with pytest.raises(ConfigError, match="strategies that learn from it, such as darts; Random"):
        search(**plan)
