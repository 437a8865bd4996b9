"""How SMASH ranks, and a search by it from end to end."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import nasflow
from nasflow import ir
from nasflow.errors import ConfigError, RunError
from nasflow.search import objective
from nasflow.search.limited import Limited
from nasflow.search.results import Run
from nasflow.search.run import resume, search
from strategies.smash import Smash
from tests.evaluate.sharing import shared
from tests.strategies.spaces import flat


def worth(point: ir.Point) -> float:
    """Return a score that is best where every decision has its last option."""
    return sum(float(value) for value in point.values()) / 100  # type: ignore[arg-type]


def test_ranking_explores_then_changes_the_best_then_climbs() -> None:
    space, tried = flat(9, 9, 9), []

    def score(point: ir.Point) -> float | None:
        tried.append(point)
        return None if len(tried) == 1 else worth(point)

    strategy = Smash(space, explore=10, perturb=5, chain=30, chance=0.2)
    ranking = strategy.rank(score)
    assert len(tried) == 45
    values = [value for value, _ in ranking]
    assert values == sorted(values, reverse=True) and values[0] == worth(ranking[0][1])
    assert tried[0] not in [point for _, point in ranking]  # it failed
    assert max(values) > max(worth(point) for point in tried[1:10])  # changes are of use
    assert Smash(space, explore=10, perturb=5, chain=30, chance=0.2).rank(worth) is not None


def test_under_hard_limits_only_what_is_within_is_ranked() -> None:
    space = nasflow.space("nasnet", size=8, channels=1, classes=10, filters=4, repeats=1, blocks=1)
    whole = Smash(space, chain=5).rank(lambda point: 0.5)
    bound = sorted(space.bind(point).macs for _, point in whole)[20]  # beyond it are most
    limits = objective.create({"limits": {"macs": bound}})
    tried: list[ir.Point] = []

    def score(point: ir.Point) -> float:
        tried.append(point)
        return float(space.bind(point).macs)  # best is what is nearest to the limit

    ranking = Smash(Limited(space, limits), chain=5).rank(score)  # type: ignore[arg-type]
    assert len(tried) == 125 and len(ranking) > 20
    assert all(space.bind(point).macs <= bound for point in tried)


def test_the_best_are_proposed_in_order_and_nothing_twice() -> None:
    space = flat(3, 3)
    strategy = Smash(space, explore=5, perturb=0, chain=0)
    ranking = strategy.rank(worth)
    strategy.learn(json.loads(json.dumps(ranking)))
    asked = [strategy.ask() for _ in range(9)]
    assert asked[: len(ranking)] == [point for _, point in ranking]
    assert len({json.dumps(point) for point in asked}) == 9 and strategy.ask() is None


def test_a_changed_point_differs_and_is_valid() -> None:
    strategy, rng = Smash(flat(2, 2), chance=0.0), random.Random(0)
    base = strategy.space.smallest()
    for _ in range(20):
        point = strategy.changed(base, rng)
        strategy.space.check(point)
        assert point != base


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"explore": 0}, "strategy.explore"), ({"chain": -1}, "chain"), ({"chance": 2}, "chance")],
)
def test_settings_out_of_range_are_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Smash(flat(2, 2), **settings)


def setup(out: Path, **strategy: Any) -> dict[str, Any]:
    data = {"_target_": "nasflow.data.digits.load", "augment": {"crop": 0}}
    train = {"_target_": "nasflow.evaluate.train.Train", "data": data, "epochs": 1, "images": 200}
    return {
        "space": {"_target_": "tests.evaluate.sharing.space"},
        "strategy": {"name": "smash", "explore": 4, "perturb": 1, "chain": 1, **strategy},
        "evaluator": {
            "_target_": "nasflow.evaluate.hypernet.HypernetWeights",
            "data": data,
            "train": train,
            "epochs": 2,
            "images": 200,
            "watch": 1,
            "width": 8,
            "piece": 64,
            "depth": 1,
            "calibration": 64,
        },
        "budget": {"trials": 2},
        "out": out,
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """Return a finished search."""
    folder = tmp_path_factory.mktemp("smash") / "run"
    return folder, search(**setup(folder))


def test_a_search_trains_ranks_and_trains_the_best(whole: tuple[Path, Run]) -> None:
    folder, run = whole
    ranking = json.loads((folder / "hypernet" / "ranking.json").read_text())
    assert [entry.point for entry in run.entries] == [point for _, point in ranking[:2]]
    history = json.loads((folder / "supernet" / "training.json").read_text())["history"]
    assert len(history) == 2 and "biggest" in history[-1]
    assert all(entry.result.measures["train_seconds"] > 0 for entry in run.entries)


def test_a_run_killed_while_it_ranked_goes_on_with_what_was_scored(
    whole: tuple[Path, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nasflow.evaluate.hypernet import HypernetWeights

    plain = HypernetWeights.score
    calls: list[Any] = []

    def dies(self: HypernetWeights, point: ir.Point) -> float | None:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(point)
        return plain(self, point)

    monkeypatch.setattr(HypernetWeights, "score", dies)
    with pytest.raises(KeyboardInterrupt):
        search(**setup(tmp_path / "torn"))
    scores = tmp_path / "torn" / "hypernet" / "scores.jsonl"
    assert len(scores.read_text().splitlines()) == 2
    scores.write_text(scores.read_text() + '["torn')
    again: list[Any] = []
    monkeypatch.setattr(
        HypernetWeights, "score", lambda self, p: (again.append(p), plain(self, p))[1]
    )
    run = resume(tmp_path / "torn")
    assert not any(point in again for point in calls)
    folder, first = whole
    assert [e.point for e in run.entries] == [e.point for e in first.entries]
    names = ("ranking.json", "scores.jsonl")
    assert all((folder / "hypernet" / name).read_text()
               == (tmp_path / "torn" / "hypernet" / name).read_text() for name in names)  # fmt: skip


def test_made_weights_are_not_taken_for_shared_ones(whole: tuple[Path, Run]) -> None:
    with pytest.raises(RunError, match="none are shared"):
        _ = shared(weights=str(whole[0])).net


def test_other_strategies_are_told_in_one_line_that_they_rank_nothing(tmp_path: Path) -> None:
    plan = setup(tmp_path / "run") | {"strategy": {"name": "random"}}
    with pytest.raises(ConfigError, match="strategies that rank by it, such as smash; Random"):
        search(**plan)
