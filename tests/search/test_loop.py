from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasflow.errors import ConfigError, RunError
from nasflow.search import events, results
from nasflow.search.ledger import FILE, read
from nasflow.search.run import resume, search
from tests.search import fakes
from tests.search.conftest import FAKES


def proposals(folder: Path) -> list[Any]:
    return [r["point"] for r in read(folder) if r["t"] in ("ask", "dup", "refused")]


def test_a_search_spends_its_budget_and_says_so(setup: dict[str, Any]) -> None:
    run = search(**setup)
    assert len(run.entries) == 30 and run.reason == "trials: 30 evaluated" and run.in_flight == 0
    assert run.best and run.best.result.reward == max(e.result.reward or 0 for e in run.entries)


def test_nothing_is_evaluated_twice_and_duplicates_are_told(
    setup: dict[str, Any], tmp_path: Path
) -> None:
    setup["evaluator"]["log"] = str(tmp_path / "log")
    setup["space"]["options"] = 3  # 15 networks, told apart by their widths in any order
    setup["budget"] = {"trials": 12}
    space = fakes.space(options=3)
    strategy = fakes.Sampler(space, 3)  # type: ignore[arg-type]
    run = search(**{**setup, "strategy": strategy})
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 12
    assert run.duplicates > 0 and len(strategy.told) == 12 + run.duplicates
    assert all(reward is not None for _, reward in strategy.told)


def test_an_exhausted_strategy_ends_the_search(setup: dict[str, Any]) -> None:
    setup["space"] |= {"places": 2, "options": 3}
    setup["strategy"] = {"_target_": f"{FAKES}.Walk"}
    run = search(**setup)
    assert run.reason and run.reason.startswith("exhausted: the strategy")
    assert (len(run.entries), run.duplicates) == (6, 3)


def test_a_strategy_that_repeats_itself_ends_the_search(setup: dict[str, Any]) -> None:
    setup["space"]["options"] = 1
    setup["budget"] = {"trials": 5, "patience": 50}
    run = search(**setup)
    assert run.reason and "the last 50 proposals" in run.reason and len(run.entries) == 1


def test_a_point_proposed_again_is_not_bound_again(setup: dict[str, Any]) -> None:
    space = fakes.space(options=2)
    setup["budget"] = {"trials": 6, "patience": 200}
    run = search(**{**setup, "space": space, "strategy": fakes.Sampler(space, 3)})  # type: ignore[arg-type]
    assert len(run.entries) == 5 and run.duplicates >= 200  # 5 networks of 16 points
    assert space.binds <= 16


def test_limits_are_checked_before_anything_is_evaluated(
    setup: dict[str, Any], tmp_path: Path
) -> None:
    setup["evaluator"]["log"] = str(tmp_path / "log")
    setup["objective"] = {
        "measures": {"accuracy": "max", "params": "min"},
        "limits": {"params": 18},
    }
    run = search(**setup)
    assert run.refused > 0 and len(run.entries) == 30
    evaluated = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert all(sum(map(int, widths.split("-"))) <= 18 for widths in evaluated)
    assert all(
        e.result.values == (e.result.measures["accuracy"], -e.result.measures["params"])
        for e in run.entries
    )
    assert len(run.front) > 1


def test_a_point_that_makes_no_network_is_refused_with_the_reason(setup: dict[str, Any]) -> None:
    setup["space"] |= {"places": 1, "options": 4, "broken": 2}
    setup["strategy"] = {"_target_": f"{FAKES}.Walk"}
    run = search(**setup)
    refused = [r for r in read(run.out) if r["t"] == "refused"]
    assert [r["error"] for r in refused] == ["fake: 2 everywhere makes no network"] and len(
        run.entries
    ) == 3


def test_failing_candidates_are_recorded_with_their_reason(setup: dict[str, Any]) -> None:
    setup["space"] |= {"places": 1, "options": 6}
    setup["strategy"] = {"_target_": f"{FAKES}.Walk"}
    setup["evaluator"] = {"_target_": f"{FAKES}.Faulty"}
    setup["executor"] = {"name": "inline", "time_limit": 3, "memory": 64 * 2**20}
    # A single call that never returns can only be ended with its process.
    setup["strategy"] = Skip(4)
    run = search(**setup)
    errors = {e.point["w0"]: e.result.error for e in run.entries}
    assert errors == {
        1: "an operation of the user's raised",
        2: "accuracy is nan",
        3: "time limit of 3 s",
        5: "out of memory: limit of 64 MiB",
        6: None,
    }
    assert run.best and run.best.point == {"w0": 6}


class Skip(fakes.Walk):
    def __init__(self, leave_out: int) -> None:
        self.points = [{"w0": w} for w in range(1, 7) if w != leave_out]
        self.given = 0


def test_missing_data_stops_the_search_at_once(setup: dict[str, Any]) -> None:
    setup["evaluator"] = {"_target_": f"{FAKES}.NoData"}
    with pytest.raises(RunError, match=r"digits\.npz does not exist") as caught:
        search(**setup)
    assert "\n" not in str(caught.value)
    assert results.load(setup["out"]).in_flight == 1
    setup["evaluator"] = {"_target_": f"{FAKES}.Table"}
    assert len(search(**setup).entries) == 30  # a folder without a result does not stand in the way


def test_a_target_ends_the_search(setup: dict[str, Any]) -> None:
    setup["budget"] = {"trials": 1000, "target": 0.25}
    run = search(**setup)
    assert run.reason and run.reason.startswith("target") and len(run.entries) < 1000


def test_time_ends_the_search(setup: dict[str, Any]) -> None:
    setup["space"]["places"] = 20
    setup["budget"] = {"seconds": 0.2}
    setup["evaluator"]["sleep"] = 0.01
    run = search(**setup)
    assert run.reason == "seconds: 0.2 s are over" and 5 < len(run.entries) < 25


def test_one_seed_gives_the_same_run_and_another_seed_another(
    setup: dict[str, Any], tmp_path: Path
) -> None:
    runs = [
        search(**{**setup, "out": tmp_path / str(i), "seed": seed})
        for i, seed in enumerate((5, 5, 6))
    ]
    first, same, other = (proposals(run.out) for run in runs)
    assert first == same != other
    assert [e.result for e in runs[0].entries] == [e.result for e in runs[1].entries]


def test_a_run_cut_anywhere_goes_on_as_if_it_had_not_been(
    setup: dict[str, Any], tmp_path: Path
) -> None:
    setup["budget"] = {"trials": 12}
    setup["space"]["options"] = 3
    whole = search(**setup)
    wanted = [(e.point, e.result) for e in whole.entries]
    lines = (setup["out"] / FILE).read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines)):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / FILE).write_bytes(b"".join(lines[:cut]) + lines[cut][:7])
        run = resume(folder)
        assert [(e.point, e.result) for e in run.entries] == wanted
        assert proposals(folder) == proposals(setup["out"])


def test_a_snapshot_saves_the_replay_and_changes_nothing(
    setup: dict[str, Any], tmp_path: Path
) -> None:
    whole = search(**{**setup, "budget": {"trials": 40}, "out": tmp_path / "whole"})
    search(**{**setup, "budget": {"trials": 25}})
    assert json.loads((setup["out"] / "strategy.json").read_text())["records"] > 25
    strategy = fakes.Sampler(fakes.space(), 3)  # type: ignore[arg-type]
    asks = []
    ask = strategy.ask
    strategy.ask = lambda: asks.append(ask()) or asks[-1]  # type: ignore[method-assign,func-returns-value]
    run = resume(setup["out"], budget={"trials": 40}, strategy=strategy)
    assert [e.result for e in run.entries] == [e.result for e in whole.entries]
    assert len(asks) == 15 + (
        run.duplicates - sum(r["t"] == "dup" for r in before(setup["out"], 25))
    )


def before(folder: Path, count: int) -> list[Any]:
    """The records up to the result number `count`."""
    taken: list[Any] = []
    for record in read(folder):
        taken.append(record)
        if sum(r["t"] == "result" for r in taken) == count:
            break
    return taken


def test_a_snapshot_ahead_of_the_ledger_is_not_used(setup: dict[str, Any], tmp_path: Path) -> None:
    whole = search(**setup)
    wanted = [e.result for e in whole.entries]
    path = setup["out"] / FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:20]))
    assert [e.result for e in resume(setup["out"]).entries] == wanted


def test_a_strategy_that_changed_is_found_out(setup: dict[str, Any]) -> None:
    search(**setup)
    (setup["out"] / "strategy.json").unlink()
    path = setup["out"] / FILE
    path.write_text(path.read_text().replace('"seed":3}}', '"seed":4}}'))
    with pytest.raises(RunError, match="does not repeat proposal 0"):
        resume(setup["out"], budget={"trials": 50})


def test_a_finished_run_resumed_is_left_as_it_is(setup: dict[str, Any]) -> None:
    search(**setup)
    ledger = (setup["out"] / FILE).read_bytes()
    assert resume(setup["out"]).reason == "trials: 30 evaluated"
    assert (setup["out"] / FILE).read_bytes() == ledger


def test_a_larger_budget_goes_on_with_a_finished_run(setup: dict[str, Any]) -> None:
    search(**setup)
    run = resume(setup["out"], budget={"trials": 35})
    assert len(run.entries) == 35 and run.reason == "trials: 35 evaluated"


class Stubborn(fakes.Sampler):
    """Raise at the fifth tell."""

    def tell(self, point: Any, result: Any) -> None:
        if len(self.told) == 4:
            raise ValueError("cannot\nlearn")
        super().tell(point, result)


def test_a_strategy_that_raises_is_named_and_loses_nothing(setup: dict[str, Any]) -> None:
    space = fakes.space()
    broken = Stubborn(space, 3)  # type: ignore[arg-type]
    with pytest.raises(
        RunError, match=r"Stubborn failed in tell\(\): ValueError: cannot learn"
    ) as caught:
        search(**{**setup, "strategy": broken})
    assert "\n" not in str(caught.value)
    assert len(results.load(setup["out"]).entries) == 5
    mended = fakes.Sampler(space, 3)  # type: ignore[arg-type]
    assert len(resume(setup["out"], strategy=mended).entries) == 30


def test_what_no_file_can_hold_is_one_line(setup: dict[str, Any]) -> None:
    numbers = fakes.Walk(fakes.space())  # type: ignore[arg-type]
    numbers.points[2]["w0"] = np.int64(3)
    with pytest.raises(RunError, match=r"Walk proposed a point that is not plain JSON .*int64"):
        search(**{**setup, "strategy": numbers})
    forgetful = fakes.Walk(fakes.space())  # type: ignore[arg-type]
    forgetful.state = lambda: {1, 2}  # type: ignore[method-assign]
    with pytest.raises(RunError, match=r"state\(\) must return plain JSON .*all results are safe"):
        search(**{**setup, "strategy": forgetful, "out": setup["out"] / "2"})
    assert len(results.load(setup["out"] / "2").entries) == 30


def test_an_evaluator_may_give_anything(setup: dict[str, Any]) -> None:
    def evaluate(graph: Any, *, seed: int, report: Any) -> dict[str, Any]:
        if graph.widths[0] == 1:
            raise SystemExit(4)
        if graph.widths[0] == 2:
            raise ValueError("half a \ud800 pair")
        return {"accuracy": {3: 10**400, 4: True}.get(graph.widths[0], np.float32(0.5))}

    setup["space"] |= {"places": 1, "options": 5}
    run = search(**{**setup, "evaluator": evaluate})
    got = {e.point["w0"]: e.result.error or e.result.reward for e in run.entries}
    assert got == {
        1: "SystemExit: 4",
        2: r"ValueError: half a \ud800 pair",
        3: "accuracy is inf",
        4: 1,
        5: 0.5,
    }


def test_objects_must_be_given_again_to_resume(setup: dict[str, Any]) -> None:
    search(**{**setup, "strategy": fakes.Sampler(fakes.space(), 3), "evaluator": fakes.Table()})  # type: ignore[arg-type]
    with pytest.raises(RunError, match="live strategy"):
        resume(setup["out"], budget={"trials": 40})


def test_events_tell_the_whole_story(setup: dict[str, Any]) -> None:
    seen: list[events.Event] = []
    setup["space"]["options"] = 3
    setup["budget"] = {"trials": 10}
    run = search(**setup, observer=seen.append)
    assert isinstance(seen[0], events.Started) and isinstance(seen[-1], events.Ended)
    finished = [e for e in seen if isinstance(e, events.Finished)]
    assert [e.evaluated for e in finished] == list(range(1, 11))
    assert [e.n for e in finished if e.best][-1] == (run.best and run.best.n)
    assert sum(isinstance(e, events.Asked) for e in seen) == 10


class Mute:
    def ask(self) -> Any:
        return None

    def tell(self, point: Any, result: Any) -> None: ...


@pytest.mark.parametrize(
    ("part", "value", "text"),
    [
        ("budget", {"trials": 0}, "budget.trials"),
        ("space", {"name": "nasnte"}, "unknown space"),
        ("strategy", {"name": "randon"}, "unknown strategy"),
        ("strategy", {"_target_": f"{FAKES}.Sampler", "laen": 1}, "did you mean 'lean'"),
        ("executor", {"name": "tun"}, "did you mean 'tune'"),
        ("executor", {"name": "inline", "wrkers": 1}, "did you mean 'workers'"),
        ("executor", {"name": "actors", "workers": 0}, "positive"),
        ("objective", {"measures": {"accuracy": "best"}}, "max or min"),
        ("budget", {"trials": 3, "seconds": float("inf")}, r"budget\.seconds: expected a finite"),
        ("evaluator", {"_target_": f"{FAKES}.Table", "sleep": float("nan")}, r"evaluator\.sleep: "),
        ("strategy", Mute(), r"Mute has no method state\(\)"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    setup: dict[str, Any], part: str, value: Any, text: str
) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        search(**{**setup, part: value})
    assert "\n" not in str(caught.value) and not setup["out"].exists()


def test_ray_needs_an_evaluator_it_can_build(setup: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="import path"):
        search(**{**setup, "evaluator": fakes.Table(), "executor": {"name": "tune"}})


def test_inside_a_ray_job_a_relative_out_is_refused(
    setup: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "session/runtime_resources/working_dir_files/_ray_pkg_1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(RunError, match="temporary copy"):
        search(**{**setup, "out": "outputs/run"})
    assert len(search(**{**setup, "out": f"file://{tmp_path}/run"}).entries) == 30


def test_another_storage_scheme_is_refused(setup: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="carrier://") as caught:
        search(**{**setup, "out": "carrier://bucket/run"})
    assert "\n" not in str(caught.value)
