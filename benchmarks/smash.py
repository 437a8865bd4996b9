"""Does a hypernetwork rank networks as training from scratch does, and better than shared weights?

    python -m benchmarks.smash [--children 20] [--seeds 2] [--epochs 40]

Trains ``children`` random networks of the narrow space of `benchmarks.one_shot` from scratch on half of
the digits, twice each for 10 epochs, and for each seed, by one recipe and one uniform path a
step: a hypernetwork that makes the matrices in which networks differ (here all are 1x1 convolutions, as in
SMASH), and a supernet of shared weights; beside these a supernet that was not trained.
Prints Kendall's and Spearman's rank correlation between validation accuracy in these weights (norms
measured anew) and from scratch (the mean of both), and of both trainings with each other.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from scipy.stats import kendalltau, spearmanr

import nasflow
from benchmarks.one_shot import DIGITS, RECIPE, distinct
from nasflow.data import Dataset, digits
from nasflow.evaluate.hypernet import HypernetWeights
from nasflow.evaluate.supernet import SharedWeights
from nasflow.evaluate.train import Train
from nasflow.ir import Point
from nasflow.search.strategy import create

RECIPES: dict[str, dict[str, Any]] = {
    "hypernetwork": {"made": "all"},
    "shared weights": {},
    "untrained": {"learning_rate": 1e-12, "epochs": 1},
}


def accuracies(
    data: Dataset, points: list[Point], kind: str, seed: int, epochs: int
) -> list[float]:
    """Return the validation accuracies of networks in weights trained one way."""
    own = {**RECIPE, "schedule": "cosine", "epochs": epochs, **RECIPES[kind]}
    common: dict[str, Any] = {"space": DIGITS, "device": "cpu", "watch": 0, "average": None}
    with tempfile.TemporaryDirectory() as folder:
        if "made" in own:
            hyper = HypernetWeights(data, Train(data), **common, **own)
            rules = create({"name": "single_path"}, hyper.own_space, seed)
            SharedWeights.prepare(hyper, rules, Path(folder), seed, lambda entry: None, {})
            return [hyper.score(point) or 0.0 for point in points]
        shared = SharedWeights(data, **common, **own)
        rules = create({"name": "single_path"}, shared.own_space, seed)
        shared.prepare(rules, Path(folder), seed, lambda entry: None, {})
        bind = shared.own_space.bind
        return [shared(bind(point), point=point)["accuracy"] for point in points]


def agreement(first: list[float], second: list[float]) -> tuple[float, float]:
    """Return Kendall's tau and Spearman's rho."""
    return float(kendalltau(first, second).statistic), float(spearmanr(first, second).statistic)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--children", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=40)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    data = digits.load(test=0.02, validation=0.5, augment={"crop": 1})
    space = nasflow.space(**DIGITS)
    points = distinct(space, chosen.children)
    begin = time.process_time()
    trainer = Train(data, device="cpu", select="last", epochs=10, **RECIPE)
    alone = [[trainer(space.bind(p), seed=s)["accuracy"] for p in points] for s in range(2)]
    mean = [statistics.mean(pair) for pair in zip(*alone, strict=True)]
    tau, rho = agreement(*alone)
    print(f"{len(points)} networks from scratch: {min(mean):.3f} to {max(mean):.3f}")
    print(f"two trainings of each: tau {tau:.3f}, rho {rho:.3f}", flush=True)
    for kind in RECIPES:
        for seed in range(chosen.seeds):
            before = time.process_time()
            row = accuracies(data, points, kind, seed, chosen.epochs)
            tau, rho = agreement(row, mean)
            print(
                f"{kind:<24} seed {seed}: tau {tau:.3f}, rho {rho:.3f}, accuracy {min(row):.3f} to "
                f"{max(row):.3f}, {time.process_time() - before:.0f} s",
                flush=True,
            )
    print(f"{time.process_time() - begin:.0f} s of one core")


if __name__ == "__main__":
    main()
