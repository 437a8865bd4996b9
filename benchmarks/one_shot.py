"""Do shared weights rank networks as training from scratch does?

    python -m benchmarks.one_shot [--children 50] [--seeds 3] [--epochs 10] [--rules sandwich:10 four:40 ...]

The space is BigNAS's stages made so narrow that its networks differ: with the command line's reduced
setting all of them learn the digits, and two trainings of one network differ more than two networks do.

Trains ``children`` random networks from scratch on half of the digits, twice each, and a
supernet of that space for each seed by each rule and for as many epochs as it says: by default the sandwich rule, and
one uniform path a step for as many paths in all, so four times the steps. ``labels`` is the sandwich without
distillation, ``four`` has four random children a step instead, which learn from the labels. Prints Kendall's tau
between accuracy in the shared weights and from scratch on the other half, tau between the two trainings from scratch
(no ranking can agree better with one of them than they agree with each other), between a child's
multiply-adds and both accuracies, and what each rule's best child is worth as it is and from scratch.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from scipy.stats import kendalltau
from torch import Tensor

import nasflow
from nasflow.data import Dataset, digits
from nasflow.evaluate.paths import draw
from nasflow.evaluate.supernet import SharedWeights
from nasflow.evaluate.train import Train
from nasflow.ir import Point, Space
from nasflow.search.strategy import create
from strategies.sandwich import Sandwich

RECIPE: dict[str, Any] = {"batch": 32, "learning_rate": 0.1, "warmup": 1.0}
RULES = ("sandwich:10", "single_path:40")
SPACE: dict[str, Any] = {
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


def shared(data: Dataset, points: list[Point], rule: str, seed: int, epochs: int) -> list[float]:
    """Return the accuracies of children in weights trained by a rule."""
    spec = {"name": "bignas", **SPACE}
    evaluator = SharedWeights(data, spec, device="cpu", watch=0, epochs=epochs, **RECIPE)
    space = evaluator.own_space
    with tempfile.TemporaryDirectory() as folder:
        made = VARIANTS.get(rule)
        rules = made(space, seed) if made else create({"name": rule}, space, seed)
        evaluator.prepare(rules, Path(folder), seed, lambda entry: None, {})
        return [evaluator(space.bind(point), point=point)["accuracy"] for point in points]


def tau(first: list[float], second: list[float]) -> float:
    return float(kendalltau(first, second).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--children", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10, help="of the trainings from scratch")
    parser.add_argument("--rules", nargs="+", default=RULES, help="and the epochs of each")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    data = digits.load(test=0.02, validation=0.5, augment={"crop": 1})
    space = nasflow.space("bignas", **SPACE)
    points = distinct(space, chosen.children)
    begin = time.process_time()
    trainer = Train(data, device="cpu", select="last", epochs=chosen.epochs, **RECIPE)
    alone = [[trainer(space.bind(p), seed=s)["accuracy"] for p in points] for s in range(2)]
    mean = [statistics.mean(pair) for pair in zip(*alone, strict=True)]
    print(f"{len(points)} children from scratch: {min(mean):.4f} to {max(mean):.4f}")
    print(f"tau between two trainings from scratch: {tau(*alone):.3f}", flush=True)
    macs = [float(space.bind(point).cost().macs) for point in points]
    print(f"tau between multiply-adds and accuracy from scratch: {tau(macs, mean):.3f}", flush=True)
    for word in chosen.rules:
        rule, _, epochs = word.partition(":")
        rows = [shared(data, points, rule, seed, int(epochs)) for seed in range(chosen.seeds)]
        taus = [tau(row, mean) for row in rows]
        sizes = statistics.mean(tau(row, macs) for row in rows)
        print(
            f"{word:<14} tau {statistics.mean(taus):.3f} ({', '.join(f'{t:.3f}' for t in taus)}), "
            f"with multiply-adds {sizes:.3f}, accuracy in shared weights "
            f"{min(map(min, rows)):.4f} to {max(map(max, rows)):.4f}"
        )
        for seed, row in enumerate(rows):
            best = max(range(len(row)), key=row.__getitem__)
            print(
                f"  seed {seed}: the best child as it is {row[best]:.4f}, from scratch "
                f"{mean[best]:.4f}; the best from scratch {max(mean):.4f}",
                flush=True,
            )
    print(f"{time.process_time() - begin:.0f} s of one core")


if __name__ == "__main__":
    main()
