"""Do shared weights rank networks as training from scratch does?

    python -m benchmarks.one_shot [--children 50] [--seeds 3] [--epochs 10] [--rules sandwich:10 four:40:0.4 ...]
    python -m benchmarks.one_shot --cifar10 cifar10.parquet --epochs 12 --rules sandwich:24 single_path:96

The space is BigNAS's stages made so narrow that its networks differ: with the command line's reduced
setting all of them learn the digits, and two trainings of one network differ more than two networks do.
With CIFAR-10's images in a parquet file (columns as in conf/data/parquet.yaml) it is a wider space for
these, on 4,000 of them, judged on 4,000 others.

Trains ``children`` random networks from scratch, twice each, and a supernet of that space for each seed by
each rule, for as many epochs and at the learning rate (0.1) that it says: by default the sandwich rule, and
one uniform path a step for as many paths in all, so four times the steps. ``labels`` is the sandwich without
distillation, ``four`` has four random children a step instead, which learn from the labels. Prints Kendall's tau
between accuracy in the shared weights and from scratch on images held out, tau between the two trainings from scratch
(no ranking can agree better with one of them than they agree with each other), between a child's
multiply-adds and both accuracies, and what each rule's best child is worth as it is and from scratch.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.stats import kendalltau
from torch import Tensor

import nasflow
from nasflow.data import Dataset, digits, parquet
from nasflow.evaluate.paths import draw
from nasflow.evaluate.supernet import SharedWeights
from nasflow.evaluate.train import Train
from nasflow.ir import Point, Space
from nasflow.search.strategy import create
from strategies.sandwich import Sandwich

RECIPE: dict[str, Any] = {"batch": 32, "learning_rate": 0.1, "warmup": 1.0}
RULES = ("sandwich:10", "single_path:40")
DIGITS: dict[str, Any] = {
    "name": "bignas",
    "classes": 10,
    "channels": 1,
    "size": 8,
    "stems": [2, 4, 8],
    "features": [16, 32],
    "stages": [
        [[2, 4, 8], [1, 2], [1, 3], [1, 2], 1, False],
        [[2, 4, 8, 16], [1, 2], [1, 3], [1, 2], 2, False],
    ],
}
CIFAR: dict[str, Any] = {
    "name": "bignas",
    "classes": 10,
    "channels": 3,
    "size": 32,
    "stems": [8, 16],
    "features": [64, 128],
    "stages": [
        [[8, 16], [1, 2], [3], [1], 1, False],
        [[8, 16, 24], [1, 2, 3], [3, 5], [3], 2, False],
        [[16, 32, 48], [1, 2, 3], [3, 5], [3], 2, False],
    ],
}


def distinct(space: Space, count: int) -> list[Point]:
    """Return random points, no two of one network, each decision uniform."""
    rng = random.Random(0)
    found: dict[str, Point] = {}
    while len(found) < count:
        point = draw(space, rng)
        found.setdefault(space.fingerprint(point), point)
    return list(found.values())


class Labels(Sandwich):
    """Let all children of a sandwich learn from the labels."""

    def loss(self, path: int, logits: Tensor, target: Any, teacher: Tensor | None) -> Tensor:
        """Return the loss on the labels."""
        return target(logits)


class Four(Labels):
    """Train four random children a step."""

    def paths(self, step: int, steps: int) -> list[Point]:
        """Return the children."""
        rng = random.Random(f"{self.seed}/{step}")
        return [draw(self.space, rng) for _ in range(4)]

    def regularises(self, path: int) -> bool:
        """Regularise all."""
        return True


VARIANTS: dict[str, Any] = {"labels": Labels, "four": Four}


@functools.cache
def images(file: str | None) -> Dataset:
    """Return the digits, or CIFAR-10's images in a file; half of the training images are held out."""
    if file is None:
        return digits.load(test=0.02, validation=0.5, augment={"crop": 1})
    return parquet.load(file, images=8000, validation=0.5, augment={"crop": 4, "flip": True})


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        file: of CIFAR-10's images; None for the digits.
        children: how many random networks.
        epochs: of a training from scratch.
    """

    file: str | None
    children: int
    epochs: int

    @property
    def setting(self) -> dict[str, Any]:
        """The space."""
        return CIFAR if self.file else DIGITS

    @property
    def recipe(self) -> dict[str, Any]:
        """What all trainings have in common."""
        return RECIPE | {"batch": 64} if self.file else RECIPE

    @functools.cached_property
    def space(self) -> Space:
        """The space, made."""
        return nasflow.space(**self.setting)

    @functools.cached_property
    def points(self) -> list[Point]:
        """The children."""
        return distinct(self.space, self.children)

    def macs(self) -> list[float]:
        """Return the children's multiply-adds."""
        return [float(self.space.bind(point).cost().macs) for point in self.points]

    def alone(self, seed: int) -> list[float]:
        """Return the accuracies of the children, each trained from scratch."""
        trainer = Train(
            images(self.file), device="cpu", select="last", epochs=self.epochs, **self.recipe
        )
        return [trainer(self.space.bind(p), seed=seed)["accuracy"] for p in self.points]

    def shared(self, words: str, seed: int) -> list[float]:
        """Return the accuracies of the children in weights trained by a rule."""
        rule, epochs, *rate = words.split(":")
        recipe = self.recipe | {"epochs": int(epochs)}
        if rate:
            recipe["learning_rate"] = float(rate[0])
        evaluator = SharedWeights(images(self.file), self.setting, device="cpu", watch=0, **recipe)
        space = evaluator.own_space
        with tempfile.TemporaryDirectory() as folder:
            made = VARIANTS.get(rule)
            rules = made(space, seed) if made else create({"name": rule}, space, seed)
            evaluator.prepare(rules, Path(folder), seed, lambda entry: None, {})
            return [evaluator(space.bind(p), point=p)["accuracy"] for p in self.points]


def tau(first: list[float], second: list[float]) -> float:
    """Return Kendall's tau."""
    return float(kendalltau(first, second).statistic)


def report(words: str, rows: Sequence[list[float]], alone: list[float], macs: list[float]) -> None:
    """Print how a rule's weights rank, a row for each seed."""
    taus = [tau(row, alone) for row in rows]
    print(
        f"{words:<18} tau {statistics.mean(taus):.3f} ({', '.join(f'{t:.3f}' for t in taus)}), "
        f"with multiply-adds {statistics.mean(tau(row, macs) for row in rows):.3f}, accuracy in shared "
        f"weights {min(map(min, rows)):.4f} to {max(map(max, rows)):.4f}, mean "
        f"{statistics.mean(map(statistics.mean, rows)):.4f}"
    )
    for seed, row in enumerate(rows):
        best = max(range(len(row)), key=row.__getitem__)
        print(
            f"  seed {seed}: the best child as it is {row[best]:.4f}, from scratch {alone[best]:.4f}; "
            f"the best from scratch {max(alone):.4f}",
            flush=True,
        )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar10", metavar="FILE", help="parquet file; without it the digits")
    parser.add_argument("--children", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10, help="of the trainings from scratch")
    parser.add_argument("--rules", nargs="+", default=RULES, help="NAME:EPOCHS[:RATE] ...")
    parser.add_argument("--processes", type=int, default=1, help="that train, one thread each")
    chosen = parser.parse_args()
    begin = time.monotonic()
    task = Comparison(chosen.cifar10, chosen.children, chosen.epochs)
    with ProcessPoolExecutor(
        chosen.processes,
        multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    ) as pool:
        counted = pool.submit(task.macs)
        twice = [pool.submit(task.alone, seed) for seed in range(2)]
        rules = {
            words: [pool.submit(task.shared, words, seed) for seed in range(chosen.seeds)]
            for words in chosen.rules
        }
        rows = [future.result() for future in twice]
        alone = [statistics.mean(pair) for pair in zip(*rows, strict=True)]
        print(f"{len(alone)} children from scratch: {min(alone):.4f} to {max(alone):.4f}")
        print(f"tau between two trainings from scratch: {tau(*rows):.3f}", flush=True)
        macs = counted.result()
        print(f"tau between multiply-adds and accuracy from scratch: {tau(macs, alone):.3f}")
        for words, futures in rules.items():
            report(words, [future.result() for future in futures], alone, macs)
    print(f"{time.monotonic() - begin:.0f} s by the clock, {chosen.processes} processes")


if __name__ == "__main__":
    main()
