"""Do scores taken before any training rank networks as their trained accuracy does?

    python -m benchmarks.zero_cost [--networks 100] [--batch 64] [--images cifar10.parquet]

Takes every measure of `nasflow.evaluate.zero_cost` on random networks of NAS-Bench-201, and prints
Spearman's rank correlation with the table's test accuracy on CIFAR-10 (200 epochs), its 95 % interval
(1,000 bootstrap samples) and the seconds of one network, beside the correlation published over the
whole space. The images are real ones, one JPEG a row of a parquet file (docs/data-and-training.md).
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

import nasflow
from nasflow.data import Dataset, parquet
from nasflow.evaluate.table import BESIDE, nas_bench_201
from nasflow.evaluate.zero_cost import MEASURES, ZeroCost, measures

IMAGES = BESIDE.parent / "data" / "cifar10_jpeg" / "cifar10_jpeg_60000.parquet"
# Abdelfattah et al. (2021), table 1, NAS-Bench-201 and CIFAR-10; signs left out there.
PUBLISHED = {"grad_norm": 0.58, "snip": 0.58, "synflow": 0.74, "jacob_cov": 0.73}


def interval(scores: np.ndarray, accuracies: np.ndarray) -> tuple[float, float]:
    """Return where 95 % of the bootstrap samples' correlations lie."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        taken = rng.integers(0, len(scores), len(scores))
        found.append(spearmanr(scores[taken], accuracies[taken])[0])
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def collect(
    data: Dataset, networks: int, batch: int
) -> tuple[dict[str, list[float]], list[float], dict[str, float]]:
    """Return the scores by measure, the accuracies, and the mean seconds of each measure."""
    space, table, rng = nasflow.space("nas_bench_201"), nas_bench_201(), random.Random(0)
    images = ZeroCost(data, batch=batch).images((32, 32))
    scores: dict[str, list[float]] = {name: [] for name in MEASURES}
    seconds = dict.fromkeys(MEASURES, 0.0)
    accuracies: list[float] = []
    for number in range(networks):
        point = space.sample(rng)
        graph = space.bind(point)
        accuracies.append(table(graph, point=point)["test_accuracy"])
        for name in MEASURES:
            begin = time.perf_counter()
            try:
                scores[name].append(measures(graph, images, [name], seed=number)[name])
            except (nasflow.errors.NasflowError, RuntimeError):  # a network that brings nothing
                scores[name].append(-np.inf)
            seconds[name] += (time.perf_counter() - begin) / networks
    return scores, accuracies, seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=Path, default=IMAGES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = parquet.load(path=str(options.images), images=2000, validation=0.0, test=0.2)
    scores, accuracies, seconds = collect(data, options.networks, options.batch)
    print(f"{options.networks} networks, {options.batch} images, one thread")
    print(f"{'measure':10} {'rho':>6} {'95 %':>14} {'published':>9} {'seconds':>8}")
    for name, values in scores.items():
        rho = spearmanr(values, accuracies)[0]
        low, high = interval(np.array(values), np.array(accuracies))
        known = f"{PUBLISHED[name]:.2f}" if name in PUBLISHED else "-"
        span = f"{low:.2f} to {high:.2f}"
        print(f"{name:10} {rho:6.2f} {span:>14} {known:>9} {seconds[name]:8.2f}")


if __name__ == "__main__":
    main()
