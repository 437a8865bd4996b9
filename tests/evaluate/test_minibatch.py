"""The batches of held-out images that children are rewarded by."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasflow.data import folder
from nasflow.data.stream import Stream
from nasflow.evaluate import minibatch


def test_a_stream_is_opened_once_for_many_batches_of_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for number in range(9):
        (tmp_path / f"c{number % 2}").mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (10, 20, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"c{number % 2}" / f"{number}.png")
    settings: dict[str, Any] = {"size": 8, "validation": 0.0}
    held = folder.load(str(tmp_path), **settings).train
    stream = folder.load(str(tmp_path), stream=True, workers=0, **settings).train
    opened: list[int] = []
    decoded = Stream._decoded

    def counted(self: Stream, chosen: Any, change: Any) -> Any:
        opened.append(len(chosen))
        return decoded(self, chosen, change)

    monkeypatch.setattr(Stream, "_decoded", counted)
    monkeypatch.setattr(minibatch, "TOGETHER", 5)
    pairs = zip(
        minibatch.drawn(held, 4, random.Random(1)),
        minibatch.drawn(stream, 4, random.Random(1)),
        range(7),
        strict=False,
    )
    seen = set()
    for loaded, streamed, _ in pairs:
        assert torch.equal(loaded.images, streamed.images)
        assert torch.equal(loaded.labels, streamed.labels)
        seen.add(loaded.images.float().sum().item())
    assert opened == [5, 5] and len(seen) > 4
