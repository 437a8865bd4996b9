"""Bad candidates are stopped early by Ray Tune's schedulers, and are recorded as such."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nasflow.cli.configuration import compose, require
from nasflow.errors import ConfigError
from nasflow.search.executors import Place
from nasflow.search.results import load
from nasflow.search.run import resume, search
from tests.search.conftest import FAKES


class Graded:
    """Report nine epochs of an accuracy that grows with the first width."""

    def __call__(self, graph: Any, *, seed: int, report: Any = None) -> dict[str, float]:
        for epoch in range(1, 10):
            accuracy = graph.widths[0] * epoch / 1000
            report({"accuracy": accuracy, "epoch": epoch, "epochs": 9})
        return {"accuracy": accuracy, "epochs": 9, "finished": 1}


def scheduler(name: str) -> dict[str, Any]:
    """Return the scheduler that the command line has by this name."""
    config = compose("search", [f"scheduler={name}", "evaluator.epochs=9"])
    from omegaconf import OmegaConf

    found = OmegaConf.to_container(config.executor, resolve=True)
    assert isinstance(found, dict) and found["scheduler"]["max_t"] == 9
    return dict(found["scheduler"])


@pytest.mark.usefixtures("session")
def test_asha_stops_bad_candidates_and_a_resume_keeps_what_they_reached(
    setup: dict[str, Any],
) -> None:
    setup["space"] |= {"places": 1, "options": 9}
    setup["strategy"] = {"_target_": f"{FAKES}.Sampler"}
    setup["evaluator"] = {"_target_": f"{Graded.__module__}.Graded"}
    setup["budget"] = {"trials": 6}
    place = {"name": "tune", "workers": 1, "scheduler": scheduler("asha")}
    run = search(**setup, executor=place)
    stopped = [e.result for e in run.entries if e.result.measures.get("stopped_early")]
    whole = [e.result for e in run.entries if "finished" in e.result.measures]
    assert stopped and whole and len(stopped) + len(whole) == 6
    for result in stopped:
        epochs = result.measures["epochs"]
        assert epochs in (1, 3, 9) and epochs < 9
        assert result.error is None and result.reward == result.measures["accuracy"]
    # One that a scheduler ends at its last epoch is whole, with all its measures.
    assert all(result.measures["epochs"] == 9 for result in whole)
    before = [json.dumps(e.result.measures) for e in run.entries]
    more = resume(setup["out"], budget={"trials": 8})
    assert [json.dumps(e.result.measures) for e in more.entries][:6] == before
    assert len(load(setup["out"]).entries) == 8


def test_hyperband_has_brackets_that_begin_at_different_epochs() -> None:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    from nasflow.search.job import construct

    made = construct(scheduler("hyperband"))
    assert isinstance(made, AsyncHyperBandScheduler)
    assert [min(epoch for epoch, _ in b._rungs) for b in made._brackets] == [1, 3, 9]


@pytest.mark.parametrize("name", ["inline", "actors", "simulated"])
def test_other_executors_say_in_one_line_that_they_have_no_schedulers(name: str) -> None:
    with pytest.raises(ConfigError, match=f"executor=tune only, got executor={name}$"):
        Place(name=name, scheduler={"_target_": "ray.tune.schedulers.ASHAScheduler"})


def test_a_scheduler_that_pauses_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"HyperBandScheduler pauses .* use scheduler=asha"):
        Place(scheduler={"_target_": "ray.tune.schedulers.HyperBandScheduler"})


def test_an_evaluator_without_epochs_is_one_line() -> None:
    with pytest.raises(
        ConfigError, match=r"^executor.scheduler.max_t follows .*'evaluator.epochs' not found"
    ):
        require(compose("search", ["scheduler=asha", "evaluator=cost"]))
