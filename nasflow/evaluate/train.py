"""Train a candidate for real, on a small scale, and see how well it does."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from nasflow.data import Dataset
from nasflow.errors import CandidateError, ConfigError
from nasflow.evaluate.checkpoint import write_tensors
from nasflow.evaluate.device import pick_device
from nasflow.evaluate.evaluator import Network, Report, cost
from nasflow.evaluate.failure import blame_candidate
from nasflow.evaluate.recipe import Recipe
from nasflow.evaluate.training import Training


class Train:
    """Train each candidate from scratch on ``data`` and measure it on the held-out validation part.

    ``recipe``: the fields of `Recipe`. Images are resized to what a candidate takes. With one seed
    and one thread, a CPU gives the same measures to the last bit.

    ``keep``: a folder for the weights that were measured, ``<fingerprint>.safetensors`` for each
    candidate. They are kept only where it exists: a worker on another machine may not see it.
    """

    def __init__(
        self, data: Dataset, device: str = "auto", keep: str | None = None, **recipe: Any
    ) -> None:
        self.data, self.device, self.recipe = data, device, Recipe.of(recipe)
        self.keep = Path(keep) if keep else None
        self._prepared: tuple[tuple[Any, ...], Dataset] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_prepared": None}  # a cache of tensors, perhaps on a device

    def __call__(
        self, graph: Network, *, seed: int, report: Report | None = None
    ) -> dict[str, float]:
        """Train ``graph`` and return its measures.

        accuracy and loss (of the best or the last epoch, as ``select`` says), best_accuracy,
        best_epoch, last_accuracy, epochs, train_seconds, and what `cost` counts. ``report`` is
        called after each epoch with epoch (from 1), epochs (of all), accuracy, loss, train_loss and seconds; what it
        raises passes through. Raises `CandidateError`; `ConfigError` if data and graph disagree.
        """
        check_held_out(self.data)
        start = time.monotonic()
        deadline = start + self.recipe.time_limit if self.recipe.time_limit else None
        data = self._data(graph)
        history: list[dict[str, float]] = []
        weights: dict[str, torch.Tensor] = {}
        # A worker's other draws must not depend on whether a candidate was trained in between.
        with own_randomness(data):
            with blame_candidate():
                training = Training(graph.to_torch(seed=seed), data, self.recipe, seed)
            while training.epoch < self.recipe.epochs:
                history.append(next_epoch(training, deadline))
                if self.keep and is_to_keep(history, self.recipe.select):
                    weights = {k: v.clone() for k, v in training.best.state_dict().items()}
                if report:
                    seconds = time.monotonic() - start
                    report(history[-1] | {"epochs": self.recipe.epochs, "seconds": seconds})
        if self.keep and self.keep.is_dir():
            write_tensors(self.keep / f"{graph.fingerprint}.safetensors", weights, {"seed": seed})
        measures = summary(history, self.recipe.select)
        return measures | {"train_seconds": time.monotonic() - start} | cost(graph)

    def _data(self, graph: Network) -> Dataset:
        # All candidates see the same subset, and a space with one resolution resizes only once.
        size, device = image_size(graph, self.data), pick_device(self.device)
        key = (size, str(device))
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = key, self.recipe.subset(self.data).prepared(size, device)
        return self._prepared[1]


def own_randomness(data: Dataset) -> AbstractContextManager[None]:
    """Return a context after which the global random generators are as they were before."""
    device = data.train.labels.device
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def image_size(graph: Network, data: Dataset) -> tuple[int, int]:
    """Return the (height, width) that ``graph`` takes; raise `ConfigError` if not of ``data``."""
    shapes = [tuple(kind.shape) for kind in graph.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise ConfigError(f"the network takes {shapes}; training here needs one image (C, H, W)")
    channels, height, width = shapes[0]
    if channels != data.channels:
        raise ConfigError(
            f"the network takes images of {channels} channels, data {data.name!r} has "
            f"{data.channels}; set the space's channels to match"
        )
    return height, width


def check_held_out(data: Dataset) -> None:
    """Raise `ConfigError` unless there are images to judge networks by."""
    if not len(data.validation):
        raise ConfigError("a search needs held-out images to judge by: set data.validation above 0")


def next_epoch(training: Training, deadline: float | None) -> dict[str, float]:
    """Train one epoch; return its number (from 1), train_loss, and held-out accuracy and loss.

    Where no images are held out there are no such measures. Raises `CandidateError` as
    `Training.train_epoch` does, and for a held-out loss that is NaN or infinite.
    """
    with blame_candidate():
        entry = {"epoch": training.epoch + 1, "train_loss": training.train_epoch(deadline)}
        if len(training.data.validation):
            entry["accuracy"], entry["loss"] = training.measure(training.data.validation)
            if not math.isfinite(entry["loss"]):
                raise CandidateError(
                    f"the validation loss is NaN or infinite in epoch {training.epoch}"
                )
    return entry


def is_to_keep(history: list[dict[str, float]], select: str) -> bool:
    """Tell whether the newest epoch is the one that counts so far."""
    *before, newest = history
    return select == "last" or all(newest["accuracy"] > old["accuracy"] for old in before)


def summary(history: list[dict[str, float]], select: str) -> dict[str, float]:
    """Return the measures of a training from those of its epochs."""
    best = max(history, key=lambda entry: entry["accuracy"])  # the first of equals
    chosen = best if select == "best" else history[-1]
    return {
        "accuracy": chosen["accuracy"],
        "loss": chosen["loss"],
        "best_accuracy": best["accuracy"],
        "best_epoch": best["epoch"],
        "last_accuracy": history[-1]["accuracy"],
        "epochs": len(history),
    }
