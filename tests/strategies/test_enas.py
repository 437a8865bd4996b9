"""The controller that learns while the weights do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nasflow import ir
from nasflow.errors import ConfigError, NasflowWarning, RunError
from nasflow.evaluate.minibatch import Minibatches
from nasflow.evaluate.recipe import Recipe
from nasflow.evaluate.sharing import Sharing
from nasflow.lower import Supernet
from nasflow.search import objective
from nasflow.search.limited import Limited
from nasflow.search.steer import Steered
from strategies.enas import ENAS
from tests.evaluate.sharing import shared, space
from tests.strategies.spaces import flat


def share(strategy: ENAS, target: ir.Point, count: int = 60) -> float:
    """Return how many of the target's values the paths have on average."""
    paths = [strategy.paths(step, 1)[0] for step in range(count)]
    equal = sum(path[name] == value for path in paths for name, value in target.items())
    return equal / (count * len(target))


@pytest.mark.parametrize("alike", ["no", 1, None])
def test_alike_is_true_or_false(alike: Any) -> None:
    with pytest.raises(ConfigError, match=r"strategy\.alike must be true or false, got"):
        ENAS(flat(2), 0, alike=alike)


def test_paths_follow_what_the_controller_has_learned() -> None:
    made = flat(*[4] * 4)
    target = {f"d{i}": i % 3 for i in range(4)}
    strategy = ENAS(made, 0, updates=10, learning_rate=0.05)

    def reward(point: ir.Point) -> float | None:
        equal = sum(point[name] == value for name, value in target.items())
        return None if point["d0"] == 3 else equal / len(target)

    before = share(strategy, target)
    first, *_, last = [strategy.alternate(epoch, reward)["reward"] for epoch in range(4)]
    assert last > first + 0.2
    assert share(strategy, target) > before + 0.2
    copy = ENAS(made, 0, updates=10, learning_rate=0.05)
    copy.restore(json.loads(json.dumps(strategy.state())))
    assert copy.paths(7, 1) == strategy.paths(7, 1)
    assert copy.alternate(4, reward) == strategy.alternate(4, reward)
    assert copy.ask() == strategy.ask()


def test_a_reward_is_the_accuracy_on_a_batch_of_held_out_images() -> None:
    data = shared().data.prepared((8, 8), torch.device("cpu"))
    made = space()
    training = Sharing(
        Supernet(made, 0), data, Recipe.of({"batch": 50}), 0, ENAS(made, 0, updates=1)
    )
    point = made.largest()
    rewards = [Minibatches(training, seed)(point) for seed in ("a", "b", "a")]
    assert rewards[0] == rewards[2] != rewards[1]
    assert all(round(reward * 50, 3).is_integer() for reward in rewards if reward is not None)
    with torch.no_grad():  # a network that always says 3
        head = dict(training.supernet.named_parameters())
        head["head/bias"][3] = 1e4
    drawn = Minibatches(training, "c")
    share_of_3 = float((data.validation.labels == 3).float().mean())
    found = [drawn(point) or 0.0 for _ in range(15)]
    assert sum(found) / 15 == pytest.approx(share_of_3, abs=0.04)


def test_an_interrupted_alternation_goes_on_to_the_same_end(tmp_path: Path) -> None:
    def run(folder: Path, stop: int | None = None) -> tuple[list[dict[str, float]], ENAS]:
        rules, seen = ENAS(space(), 0, updates=1, batch=4), []

        def observe(entry: dict[str, float]) -> None:
            seen.append({k: v for k, v in entry.items() if k != "seconds"})
            if entry["epoch"] == stop:
                raise KeyboardInterrupt

        evaluator = shared(epochs=3, watch=0)
        evaluator.recall(rules, folder)
        evaluator.prepare(rules, folder, 0, observe, {})
        return seen, rules

    whole, rules = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "torn", stop=2)
    rest, resumed = run(tmp_path / "torn")
    assert rest == whole[2:]
    assert resumed.state() == rules.state()
    nothing, late = run(tmp_path / "torn")  # all was trained: the controller is recalled
    assert not nothing and late.state() == rules.state() != ENAS(space(), 0).state()


def test_a_search_in_trained_weights_goes_on_with_their_controller(tmp_path: Path) -> None:
    rules, first = ENAS(space(), 0, updates=1, batch=4), shared(epochs=1, watch=0)
    first.prepare(rules, tmp_path / "run", 0, lambda entry: None, {})
    given, again = ENAS(space(), 1, updates=1, batch=4), shared(weights=str(tmp_path / "run"))
    assert again.recall(given, tmp_path / "other")
    again.prepare(given, tmp_path / "other", 0, lambda entry: None, {})
    assert given.state() == rules.state()
    limits = objective.create({"limits": {"macs": 1e9}})
    steered: Any = Steered(ENAS(space(), 1, batch=4), Limited(space(), limits), 1)
    assert again.recall(steered, tmp_path / "other")
    assert steered.strategy.state() == rules.state()
    with pytest.raises(RunError, match="was not learned by this strategy"):
        again.recall(ENAS(flat(2), 0), tmp_path / "other")
    (tmp_path / "run" / "supernet" / "strategy.json").unlink()
    with pytest.warns(NasflowWarning, match="begins anew"):
        again.prepare(given, tmp_path / "other", 0, lambda entry: None, {})


def test_updates_must_be_a_whole_number() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.updates: expected a whole number"):
        ENAS(flat(2), 0, updates=0)
