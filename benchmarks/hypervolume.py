"""How much of the trade-off between accuracy and measured latency each strategy finds.

    python -m benchmarks.hypervolume [--seeds 30] [--evaluations 300] [--device raspi4]

NAS-Bench-201 on CIFAR-10, with the latency that others measured on a device (HELP, Lee et al., 2021) as the
second objective. Printed for each strategy, as mean ± standard deviation over seeds: the hypervolume after
50, 100 and 300 evaluations as a share of that of the table's own Pareto front, in percent, above the front's
worst accuracy and latency; and two-sided Mann-Whitney tests of the best strategy here against each other one,
as Holm corrects them. `evolution` sees one number, MnasNet's soft reward with half of the front's
largest latency as its target. `--runs` keeps each run, as in `benchmarks.strategies`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nasflow
from benchmarks._peers import optuna
from benchmarks.strategies import holm, p_number, spread
from nasflow.errors import DataError
from nasflow.evaluate import table
from nasflow.search import pareto
from nasflow.search.objective import Soft
from nasflow.search.strategy import Result, create

Pair = tuple[float, float]  # accuracy in percent, and milliseconds with a minus
MARKS = (50, 100, 300)
OURS = ("random", "evolution", "predictor", "tpe", "nsga2")
PEERS = {"optuna tpe": "TPESampler", "optuna nsga2": "NSGAIISampler"}


def pair(measures: dict[str, float]) -> Pair:
    """Return what is searched for, both to maximise."""
    return 100 * measures["accuracy"], -measures["latency_ms"]


def ours(name: str, space: Any, rows: table.Table, soft: Soft, seed: int, count: int) -> list[Pair]:
    """Return the pairs that one of nasflow's strategies found, in turn."""
    strategy, found = create({"name": name}, space, seed), []
    for _ in range(count):
        point = strategy.ask()
        assert point is not None
        measures = rows(None, point=point)
        reward = soft.weigh(measures["accuracy"], measures["latency_ms"])
        found.append(pair(measures))
        strategy.tell(point, Result(measures, reward, values=found[-1]))
    return found


def theirs(name: str, space: Any, rows: table.Table, seed: int, count: int) -> list[Pair]:
    """Return the pairs that a peer found; what it repeats is not counted."""
    propose = optuna(PEERS[name], space, seed, objectives=2)
    found: dict[tuple[Any, ...], Pair] = {}
    for _ in range(3 * count):
        if len(found) < count:
            point, learn = propose()
            now = pair(rows(None, point=point))
            learn(now)
            found.setdefault(tuple(sorted(point.items())), now)
    return list(found.values())


def made(file: Path | None, run: Callable[[int], list[Pair]], seeds: int) -> list[list[Pair]]:
    """Return a strategy's runs; a file holds one a line, and goes on from where it is."""
    lines = file.read_text().splitlines() if file and file.exists() else []
    runs = [[(a, b) for a, b in json.loads(text)] for text in lines[:seeds]]
    for seed in range(len(runs), seeds):
        runs.append(run(seed))
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a") as out:
                out.write(json.dumps(runs[-1]) + "\n")
    return runs


def compare(names: Sequence[str], device: str, seeds: int, count: int, store: Path | None) -> None:
    """Print a row for each strategy, then the tests."""
    rows, space = table.nas_bench_201("cifar10", device), nasflow.space("nas_bench_201")
    every = [pair(row) for row in rows.rows.values()]
    front = [every[i] for i in pareto.front(every)]
    corner = tuple(min(column) for column in zip(*front, strict=True))
    whole, soft = pareto.hypervolume(front, corner), Soft("latency_ms", -corner[1] / 2)
    marks = [mark for mark in MARKS if mark <= count]
    print(f"{device}: {len(front)} networks on the front, corner {corner}, {seeds} seeds")
    print("strategy", *(f"% @{mark}" for mark in marks), sep=" | ", flush=True)
    found: dict[str, dict[int, list[float]]] = {}
    for name in names:

        def run(seed: int, name: str = name) -> list[Pair]:
            if name in PEERS:
                return theirs(name, space, rows, seed, count)
            return ours(name, space, rows, soft, seed, count)

        file = store / f"{device}-{name.replace(' ', '_')}.jsonl" if store else None
        runs = made(file, run, seeds)
        found[name] = {
            m: [100 * pareto.hypervolume(r[:m], corner) / whole for r in runs] for m in marks
        }
        print(name, *(spread(found[name][mark], 2) for mark in marks), sep=" | ", flush=True)
    for mark in marks:
        first = max(
            (name for name in found if name not in PEERS),
            key=lambda name: statistics.fmean(found[name][mark]),
        )
        p = holm({n: p_number(found[first][mark], found[n][mark]) for n in found if n != first})
        print(f"@{mark} {first} against", *(f"{n} {v:.0e}" for n, v in p.items()), sep=" | ")


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--device", default="raspi4")
    parser.add_argument("--strategies", nargs="+", default=[*OURS, *PEERS])
    parser.add_argument("--runs", type=Path, help="folder that keeps each run, to go on from")
    options = parser.parse_args()
    try:
        table.find()
    except DataError as missing:
        print(f"skipped: {missing}")
        return
    compare(options.strategies, options.device, options.seeds, options.evaluations, options.runs)


if __name__ == "__main__":
    main()
