"""The batches that a mixture is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasflow import ir
from nasflow.data import folder
from nasflow.data.stream import Stream
from nasflow.errors import ConfigError
from nasflow.evaluate.mixture import Mixture, Searching
from nasflow.evaluate.recipe import Recipe
from nasflow.lower.mixed import Mixed


def small() -> ir.Space:
    """Return a space of one choice between two convolutions."""
    x = ir.switch(ir.choice("kernel", 1, 3), {1: ir.Conv2d(4, 1), 3: ir.Conv2d(4, 3)})
    return ir.Space(ir.Linear(2)(ir.Mean()(x(ir.image(3, 8)))), name="small")


def test_streamed_pictures_are_drawn_whole_once_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for label in range(2):
        (tmp_path / f"c{label}").mkdir()
        for number in range(12):
            pixels = rng.integers(0, 256, (10, 20, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"c{label}" / f"{number}.png")
    settings: dict[str, Any] = {"size": 8, "validation": 0.0, "augment": {"area": 0.3}}
    data = folder.load(str(tmp_path), stream=True, workers=0, **settings)
    assert data.statistics  # of centres
    recipe = Recipe.of({"batch": 4, "epochs": 1})
    searching = Searching(Mixed(small(), 0, "biggest"), data, recipe, 0, 1, 0.003, 0.001)
    calls: list[int] = []
    batches = Stream.batches

    def counted(self: Stream, chosen: Any, *rest: Any) -> Any:
        calls.append(len(chosen))
        return batches(self, chosen, *rest)

    monkeypatch.setattr(Stream, "batches", counted)
    monkeypatch.setattr(Stream, "parts", None)  # of centres
    steps = len(searching.halves[0]) // 4
    searching.epoch(0)
    assert calls == [steps, steps] and steps > 1


def test_an_unknown_value_is_named_as_it_was_set() -> None:
    nothing: Any = None
    with pytest.raises(ConfigError, match=r"^evaluator\.hold: expected one of .* mean 'biggest'"):
        Mixture(nothing, nothing, hold="bigest")  # type: ignore[arg-type]
