"""Evaluate on real Ray workers, and end some of them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from nasflow.errors import NasflowError, NasflowWarning, RunError
from nasflow.search import results
from nasflow.search.executors import Place, cluster
from nasflow.search.run import search
from tests.search import fakes
from tests.search.conftest import FAKES


def evaluated(run: results.Run) -> dict[str, Any]:
    found = {e.fingerprint: e.result for e in run.entries}
    assert len(found) == len(run.entries)
    return found


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["actors", "tune"])
def test_one_worker_gives_the_very_run_of_inline(
    setup: dict[str, Any], tmp_path: Path, name: str
) -> None:
    setup["budget"] = {"trials": 12}
    setup["space"]["options"] = 3
    here = search(**setup)
    there = search(**{**setup, "out": tmp_path / "there", "executor": {"name": name, "workers": 1}})
    assert [(e.point, e.result) for e in here.entries] == [
        (e.point, e.result) for e in there.entries
    ]


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["actors", "tune"])
def test_many_workers_evaluate_each_network_once_with_its_own_seed(
    setup: dict[str, Any], tmp_path: Path, name: str
) -> None:
    setup["evaluator"]["log"] = str(tmp_path / "log")
    setup["strategy"] = {"_target_": f"{FAKES}.Walk"}
    setup["space"] |= {"places": 3, "options": 4}
    setup["budget"] = {"trials": 1000}
    if name == "tune":
        setup["budget"] = {"trials": 10}
    run = search(**setup, executor={"name": name, "workers": 2})
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == len(set(lines)) == len(run.entries) == (20 if name == "actors" else 10)
    assert {line.split()[0]: float(line.split()[1]) for line in lines} == {
        fingerprint: result.measures["seed"] for fingerprint, result in evaluated(run).items()
    }


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["actors", "tune"])
def test_a_worker_killed_in_mid_trial_is_replaced_and_its_candidate_retried(
    setup: dict[str, Any], tmp_path: Path, name: str
) -> None:
    (tmp_path / "marks").mkdir()
    setup["space"] |= {"places": 1, "options": 8}
    setup["strategy"] = {"_target_": f"{FAKES}.Walk"}
    setup["evaluator"] = {
        "_target_": f"{FAKES}.Killed",
        "log": str(tmp_path / "log"),
        "folder": str(tmp_path / "marks"),
        "width": 3,
    }
    run = search(**setup, executor={"name": name, "workers": 2})
    assert len(evaluated(run)) == 8 and not run.failed
    assert (tmp_path / "marks" / "3-0").exists()


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["actors", "tune"])
def test_a_candidate_that_always_takes_its_worker_along_is_recorded(
    setup: dict[str, Any], tmp_path: Path, name: str
) -> None:
    (tmp_path / "marks").mkdir()
    setup["space"] |= {"places": 1, "options": 4}
    setup["strategy"] = {"_target_": f"{FAKES}.Walk"}
    setup["evaluator"] = {
        "_target_": f"{FAKES}.Killed",
        "log": str(tmp_path / "log"),
        "folder": str(tmp_path / "marks"),
        "width": 2,
        "times": 99,
    }
    run = search(**setup, executor={"name": name, "workers": 2, "retries": 1})
    errors = {e.point["w0"]: e.result.error for e in run.entries}
    assert errors == {1: None, 2: "its worker died 2 times", 3: None, 4: None}
    assert len(list((tmp_path / "marks").iterdir())) == 2


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["actors", "tune"])
def test_real_networks_travel_to_workers_and_come_to_the_same(tmp_path: Path, name: str) -> None:
    parts: dict[str, Any] = {
        "space": {"name": "nas_bench_201"},
        "strategy": {"name": "random"},
        "budget": {"trials": 6},
        "evaluator": {"_target_": "nasflow.evaluate.Cost"},
        "objective": {"measures": {"params": "min"}},
    }
    here = search(**parts, out=tmp_path / "here")
    there = search(**parts, out=tmp_path / "there", executor={"name": name, "workers": 2})
    assert evaluated(here) == evaluated(there)


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["actors", "tune"])
def test_latency_is_measured_on_the_machine_that_has_the_device(tmp_path: Path, name: str) -> None:
    head = {"node:__internal_head__": 0.1}  # a resource that every local session has
    settings = {"filters": 4, "blocks": 1, "size": 8, "channels": 1}
    run = search(
        space={"name": "nasnet", **settings},
        strategy={"name": "random"},
        evaluator={"_target_": "nasflow.evaluate.latency.Latency", "threads": 2, "repeats": 3},
        objective={"measures": {"latency_ms": "min"}},
        budget={"trials": 2},
        executor={"name": name, "workers": 1, "resources": head},
        out=tmp_path / "run",
    )
    assert all(e.result.measures["latency_ms"] > 0 for e in run.entries) and len(run.entries) == 2
    assert all(e.result.measures["latency_threads"] == 2 for e in run.entries)


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["actors", "tune"])
def test_a_device_that_no_machine_has_is_one_line(setup: dict[str, Any], name: str) -> None:
    with pytest.raises(RunError, match="no machine of this cluster has 1 'phone'"):
        search(**setup, executor={"name": name, "resources": {"phone": 1}})


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["inline", "actors"])
def test_an_evaluator_that_judges_by_the_point_gets_it(setup: dict[str, Any], name: str) -> None:
    setup["evaluator"] = {"_target_": f"{FAKES}.ByPoint"}
    setup["budget"] = {"trials": 5}
    run = search(**setup, executor={"name": name})
    assert [e.result.reward for e in run.entries] == [float(e.point["w0"]) for e in run.entries]


@pytest.mark.usefixtures("session")
def test_failing_trials_are_recorded_and_the_search_goes_on(setup: dict[str, Any]) -> None:
    setup["space"] |= {"places": 1, "options": 7}
    setup["strategy"] = {"_target_": f"{FAKES}.Walk"}
    setup["evaluator"] = {"_target_": f"{FAKES}.Faulty"}
    run = search(
        **setup, executor={"name": "tune", "workers": 2, "time_limit": 1, "memory": 64.0 * 2**20}
    )
    assert {e.point["w0"]: e.result.error for e in run.entries} == {
        1: "an operation of the user's raised",
        2: "accuracy is nan",
        3: "time limit of 1 s",
        4: "time limit of 1 s",
        5: "out of memory: limit of 64 MiB",
        6: None,
        7: None,
    }


@pytest.mark.usefixtures("session")
def test_a_worker_that_makes_another_network_is_found_out(setup: dict[str, Any]) -> None:
    setup["space"] = {"_target_": f"{FAKES}.Elsewhere"}
    with pytest.raises(RunError, match="makes another network") as caught:
        search(**setup, executor={"name": "actors", "workers": 1})
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["actors", "tune"])
def test_missing_data_stops_the_search_in_one_line(setup: dict[str, Any], name: str) -> None:
    setup["evaluator"] = {"_target_": f"{FAKES}.NoData"}
    with pytest.raises(RunError, match=r"digits\.npz does not exist") as caught:
        search(**setup, executor={"name": name, "workers": 2})
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("session")
def test_an_evaluator_that_does_not_exist_is_one_line(setup: dict[str, Any]) -> None:
    setup["evaluator"] = {"_target_": f"{FAKES}.Tabel"}
    with pytest.raises(NasflowError, match="Tabel") as caught:
        search(**setup, executor={"name": "tune", "workers": 2})
    assert "\n" not in str(caught.value) and not setup["out"].exists()


@pytest.mark.usefixtures("session")
def test_a_scheduler_may_stop_a_trial_early(setup: dict[str, Any]) -> None:
    setup["space"] |= {"places": 1, "options": 8}
    setup["strategy"] = {"_target_": f"{FAKES}.Walk"}
    setup["evaluator"] = {"_target_": f"{FAKES}.Epochs"}
    scheduler = {
        "_target_": "ray.tune.schedulers.MedianStoppingRule",
        "metric": "accuracy",
        "mode": "max",
        "grace_period": 1,
        "min_samples_required": 2,
        "time_attr": "training_iteration",
    }
    setup["strategy"] = Backwards()
    run = search(**setup, executor={"name": "tune", "workers": 1, "scheduler": scheduler})
    assert len(run.entries) == 8 and [e.result.error for e in run.failed] == ["unlucky"]
    stopped = [e for e in run.entries if e.result.measures.get("stopped_early")]
    assert stopped and all(e.result.measures["epoch"] < 5 for e in stopped)


class Backwards(fakes.Walk):
    def __init__(self) -> None:
        self.points, self.given = [{"w0": w} for w in range(8, 0, -1)], 0


def test_a_worker_ended_for_memory_is_a_failed_candidate_with_that_reason() -> None:
    from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError

    from nasflow.search.executors import Place, tune

    class Trial:
        def __init__(self, cause: Exception) -> None:
            self.cause = cause

        def get_pickled_error(self) -> Exception:
            return self.cause

    place = Place(memory=64.0 * 2**20)
    outcome = tune._reason(Trial(OutOfMemoryError("the node is running low on memory")), 3, place)
    assert (outcome.error, outcome.fatal) == (
        "out of memory: its worker died 3 times, for the machine ran low on it (limit of 64 MiB)",
        False,
    )
    dead = RayError("the actor died: the node was running low on memory")
    assert "set executor.memory" in cluster.death(dead, 2, Place())
    perhaps = tune._reason(Trial(ActorDiedError()), 3, place)
    assert perhaps == tune._reason(None, 3, place) and "perhaps of memory" in str(perhaps.error)
    assert tune._reason(Trial(ValueError("no such file")), 1, place).fatal


def test_gpus_that_nobody_asked_for_are_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "GPU": 2.0})
    trains = {"_target_": "nasflow.evaluate.Together", "evaluators": {"train": {"device": "auto"}}}
    with pytest.warns(NasflowWarning, match=r"GPUs \(2\); executor.gpus=0.25 lets four"):
        cluster.mention_gpus(Place("tune"), trains)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cluster.mention_gpus(Place("tune", gpus=0.5), trains)
        cluster.mention_gpus(Place("tune"), {"_target_": "nasflow.evaluate.table.nas_bench_201"})
        cluster.mention_gpus(Place("tune"), {"device": "cpu"})
