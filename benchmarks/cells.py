"""Do weights that a one-shot search trained rank networks as training from scratch does?

    python -m benchmarks.cells RUN [--space enas] [--children 24] [--epochs 5] [--trainings 2]

Judges ``children`` random networks (each decision uniform) of a space, as the command line sets it for the digits, in
the shared weights of a finished run, and trains each from scratch ``trainings`` times. Prints both accuracies, the rank
correlations between them with 95 % intervals (bootstrap over networks), and those between trainings of other seeds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from scipy.stats import kendalltau, spearmanr

import nasflow
from benchmarks.one_shot import distinct
from nasflow.cli import configuration
from nasflow.data import digits
from nasflow.evaluate.supernet import SharedWeights
from nasflow.evaluate.train import Train

RESAMPLED = 2000
Correlation = Callable[[list[float], list[float]], float]
CORRELATIONS: dict[str, Correlation] = {
    "Spearman's rho": lambda first, second: float(spearmanr(first, second).statistic),
    "Kendall's tau": lambda first, second: float(kendalltau(first, second).statistic),
}


def interval(measure: Correlation, first: list[float], second: list[float]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a correlation."""
    rng, found = random.Random(0), []
    for _ in range(RESAMPLED):
        rows = rng.choices(range(len(first)), k=len(first))
        found.append(measure([first[row] for row in rows], [second[row] for row in rows]))
    found.sort()
    return found[RESAMPLED // 40], found[-RESAMPLED // 40]


def described(row: list[float]) -> str:
    """Return a row's mean and extremes."""
    return f"mean {statistics.mean(row):.3f}, {min(row):.3f} to {max(row):.3f}"


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", help="folder of a finished one-shot search")
    parser.add_argument("--space", default="enas")
    parser.add_argument("--children", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=5, help="of the trainings from scratch")
    parser.add_argument("--trainings", type=int, default=2)
    chosen = parser.parse_args()
    if chosen.run is None:
        print("skipped: name the folder of a finished one-shot search")
        return
    torch.set_num_threads(1)
    begin = time.process_time()
    config = configuration.compose("config", [f"+space={chosen.space}"], None)
    spec = {**configuration.plain(config)["space"], "classes": 10, "channels": 1, "size": 8}
    name = spec.pop("name")
    space, data = nasflow.space(name, **spec), digits.load(augment={"crop": 1})
    points = distinct(space, chosen.children)
    judge = SharedWeights(data, {"name": name, **spec}, weights=chosen.run, device="cpu")
    shared = [judge(space.bind(point), point=point)["accuracy"] for point in points]
    print(f"{len(points)} random networks in the shared weights: {described(shared)}", flush=True)
    trainer = Train(data, device="cpu", select="last", epochs=chosen.epochs)
    seeds = range(chosen.trainings)
    alone = [[trainer(space.bind(p), seed=s)["accuracy"] for p in points] for s in seeds]
    mean = [statistics.mean(row) for row in zip(*alone, strict=True)]
    print(f"from scratch: {described(mean)}")
    for title, measure in CORRELATIONS.items():
        low, high = interval(measure, shared, mean)
        print(f"{title} {measure(shared, mean):.3f} ({low:.3f} to {high:.3f})")
        for first, second in pairwise(alone):
            print(f"  between two trainings from scratch {measure(first, second):.3f}")
    print(f"{time.process_time() - begin:.0f} s of one core")


if __name__ == "__main__":
    main()
