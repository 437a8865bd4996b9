"""Steps of the sandwich rule in images a second: float32, bfloat16, channels last, compiled.

    python -m benchmarks.throughput [--spaces bignas nasvit] [--device cuda] [--batch 128] [--steps 10]

A step is the one that `strategy=sandwich` makes: the biggest, the smallest and two random children learn from one
batch (at their own resolutions), then the optimiser steps. Images are random and lie on the device. Printed for
each setting: images a second, once what has to be compiled is, the seconds of the steps before that, and the
most memory of the GPU that was allocated.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Sequence
from typing import Any

import torch

import nasflow
from benchmarks.lowering import BATCH
from nasflow.data.dataset import Dataset, Split
from nasflow.evaluate.recipe import Recipe
from nasflow.evaluate.sharing import STEADY, Sharing
from nasflow.evaluate.training import Training
from nasflow.ir.space import Space
from strategies.sandwich import Sandwich

SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {"precision": "float32", "channels_last": False},
    "bfloat16": {"precision": "bfloat16", "channels_last": False},
    "bfloat16, channels last": {"precision": "bfloat16", "channels_last": True},
    "bfloat16, channels last, compiled": {
        "precision": "bfloat16",
        "channels_last": True,
        "compile": True,
    },
}
CHILDREN = 2  # random ones of a step
READY = STEADY + 1  # steps after which all is compiled that is


def images(shape: Sequence[int], count: int, device: str) -> Dataset:
    """Return a data set of random images and labels on the device."""
    pixels = torch.randint(256, (count, *shape), dtype=torch.uint8, device=device)
    whole = Split(pixels, torch.randint(1000, (count,), device=device))
    none = Split(pixels[:0], whole.labels[:0])
    data = Dataset("random", whole, none, none, tuple(map(str, range(1000))))
    flat = torch.full((shape[0],), 128.0, device=device)
    data.__dict__["statistics"] = (flat, flat)  # measuring them is not what is timed
    return data


def spent(training: Training, device: str) -> float:
    """Return the seconds that an epoch takes."""
    begin = time.perf_counter()
    training.train_epoch()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def shared(
    space: Space, data: Dataset, recipe: Recipe, device: str, steps: int
) -> tuple[float, float]:
    """Return the seconds of ``steps`` steps of the sandwich rule, and of the few before them."""
    net = space.to_supernet(seed=0).to(device)
    training = Sharing(net, data, recipe, 0, Sandwich(space, 0, children=CHILDREN))
    training.steps = READY
    first = spent(training, device)
    training.steps = steps
    return spent(training, device), first


def measure(name: str, device: str, batch: int, steps: int) -> None:
    """Print the figures of a space."""
    space = nasflow.space(name)
    data = images(space.bind(space.largest()).inputs[0].shape, batch * max(steps, READY), device)
    print(f"{name}: images of {data.size[0]} pixels, {batch} a step", flush=True)
    for label, setting in SETTINGS.items():
        recipe = Recipe(epochs=2, batch=batch, warmup=0.0, learning_rate=0.01, **setting)
        if device == "cuda":
            gc.collect()  # the setting before
            torch.cuda.reset_peak_memory_stats()
        seconds, first = shared(space, data, recipe, device, steps)
        line = f"  {label:34} {batch * steps / seconds:7.1f} images a second (first steps {first:.1f} s)"
        if device == "cuda":
            line += f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
        print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--spaces", nargs="*", default=["bignas", "nasvit"])
    parser.add_argument("--device", default="cpu", choices=list(BATCH))
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--steps", type=int, default=5, help="steps that are timed")
    options = parser.parse_args(arguments)
    for name in options.spaces:
        measure(name, options.device, options.batch, options.steps)


if __name__ == "__main__":
    main()
