"""Only the best networks' weights stay."""

from __future__ import annotations

from pathlib import Path

from nasflow.cli.weights import KEPT, Best, kept_in
from nasflow.search.events import Event, Finished
from nasflow.search.strategy import Result


def test_weights_of_all_but_the_best_are_removed(tmp_path: Path) -> None:
    seen: list[Event] = []
    best = Best(seen.append)
    best.folder = tmp_path
    rewards = [(7 * i) % 25 for i in range(25)]
    for n, reward in enumerate(rewards):
        (tmp_path / f"f{reward}.safetensors").touch()
        best(Finished(n, {}, Result({}, float(reward)), n, False, 1.0, f"f{reward}"))
    kept = {path.stem for path in tmp_path.iterdir()}
    assert kept == {f"f{reward}" for reward in sorted(rewards)[-KEPT:]}
    assert len(seen) == 25


def test_every_part_that_can_keep_weights_is_told_where(tmp_path: Path) -> None:
    spec = {
        "_target_": "a.Both",
        "evaluators": {"x": {"_target_": "a.Train", "keep": None}, "y": {"_target_": "b"}},
    }
    told = kept_in(spec, tmp_path)
    assert told["evaluators"]["x"]["keep"] == str(tmp_path / "weights")
    assert told["evaluators"]["y"] == {"_target_": "b"}
    assert spec["evaluators"]["x"]["keep"] is None  # type: ignore[index]
