"""Weights shared by all candidates: trained before the search, read by actors where they lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nasflow.search import shared
from nasflow.search.events import Started, Trained
from nasflow.search.ledger import FILE
from nasflow.search.run import resume, search

PARTS: dict[str, Any] = {
    "space": {"_target_": "tests.evaluate.sharing.space"},
    "strategy": {"name": "sandwich", "coarse": 2},
    "evaluator": {
        "_target_": "nasflow.evaluate.supernet.SharedWeights",
        "data": {"_target_": "nasflow.data.digits.load"},
        "device": "cpu",
        "epochs": 2,
        "images": 200,
        "watch": 0,
    },
    "objective": {"measures": {"accuracy": "max", "macs": "min"}},
    "budget": {"trials": 6},
}


def accuracies(run: Any) -> dict[str, float]:
    return {e.fingerprint: e.result.measures["accuracy"] for e in run.entries}


def test_actors_judge_as_this_process_does_and_ask_others_too(tmp_path: Path) -> None:
    events: list[Any] = []
    here = search(**PARTS, out=tmp_path / "here", observer=events.append)
    kinds = [type(event) for event in events]
    assert kinds[:3] == [Trained, Trained, Started]
    assert not here.failed and len(here.entries) == 6
    weights = {**PARTS["evaluator"], "weights": str(tmp_path / "here")}
    actors = {"name": "actors", "workers": 1}
    latency = {"_target_": "nasflow.evaluate.latency.Latency", "repeats": 1, "warmup": 0}
    both = {
        "_target_": "nasflow.evaluate.Together",
        "evaluators": {"shared": weights, "latency": latency},
    }
    there = search(**{**PARTS, "evaluator": both}, executor=actors, out=tmp_path / "there")
    assert accuracies(there) == accuracies(here)
    assert all(entry.result.measures["latency_ms"] > 0 for entry in there.entries)
    assert not (tmp_path / "there" / "supernet").exists()


def test_weights_are_trained_for_evaluators_that_ask_others_too(tmp_path: Path) -> None:
    both = {
        "_target_": "nasflow.evaluate.Together",
        "evaluators": {"cost": {"_target_": "nasflow.evaluate.Cost"}, "shared": PARTS["evaluator"]},
    }
    parts = {**PARTS, "evaluator": both, "budget": {"trials": 2}}
    run = search(**parts, out=tmp_path / "run")
    assert not run.failed and len(accuracies(run)) == 2
    assert (tmp_path / "run" / "supernet" / "weights.safetensors").is_file()


def test_a_search_killed_while_it_trains_goes_on(tmp_path: Path) -> None:
    def interrupt(event: Any) -> None:
        if isinstance(event, Trained):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(**PARTS, out=tmp_path / "torn", observer=interrupt)
    assert len((tmp_path / "torn" / FILE).read_text().splitlines()) == 1
    events: list[Any] = []
    run = resume(tmp_path / "torn", observer=events.append)
    assert [e.measures["epoch"] for e in events if isinstance(e, Trained)] == [2]
    whole = search(**PARTS, out=tmp_path / "whole")
    assert accuracies(run) == accuracies(whole)
    plan = json.loads((tmp_path / "torn" / FILE).read_text().splitlines()[0])["plan"]
    assert "weights" not in plan["evaluator"]  # the folder may move


def test_a_strategy_without_paths_trains_uniform_ones(tmp_path: Path) -> None:
    run = search(**{**PARTS, "strategy": {"name": "random"}}, out=tmp_path / "run")
    assert not run.failed
    document = json.loads((tmp_path / "run" / "supernet" / "training.json").read_text())
    assert document["training"]["strategy"] == "Random"


def test_only_evaluators_that_share_get_a_space_and_weights(tmp_path: Path) -> None:
    plain = {"_target_": "nasflow.evaluate.Cost"}
    assert shared.wired(plain, {"name": "nasnet"}, tmp_path) == plain
    inner = {"cost": plain, "shared": PARTS["evaluator"]}
    both = shared.wired(
        {"_target_": "nasflow.evaluate.Together", "evaluators": inner}, {"name": "x"}
    )
    assert both["evaluators"]["cost"] == plain
    assert both["evaluators"]["shared"]["space"] == {"name": "x"}
    wired = shared.wired(PARTS["evaluator"], {"_target_": "a.b", "size": 8}, tmp_path)
    assert wired["space"] == {"name": "a.b", "size": 8}
    assert wired["weights"] == str(tmp_path / "supernet" / "weights.safetensors")
