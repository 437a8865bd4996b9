"""Small networks written by hand, in the shape of what the evaluators take."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn


@dataclasses.dataclass(frozen=True)
class HandWritten:
    """Stand in for a graph: a function that makes a module, and the shape it takes."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (1, 8, 8)
    fingerprint: str = "f00d"

    @property
    def inputs(self) -> tuple[Any, ...]:
        return (SimpleNamespace(axes=("C", "H", "W"), shape=self.shape, dtype="float"),)

    def cost(self) -> Any:
        with torch.device("meta"):
            count = sum(p.numel() for p in self.make().parameters())
        return SimpleNamespace(params=count, macs=1000)

    def to_torch(self, seed: int | None = None) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed or 0)
            return self.make()


def plain(channels: int = 1, classes: int = 10, width: int = 16) -> nn.Module:
    """Return a small network for images of 8x8 pixels, with BatchNorm and dropout."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(2 * width * 4 * 4, classes),
    )
