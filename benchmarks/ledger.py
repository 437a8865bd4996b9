"""What remembering costs: ask + record + tell, durable on disk, to 100,000 trials; Optuna's storages beside it.

    python -m benchmarks.ledger [--trials 100000] [--peer-trials 300]

Each trial has 40 decisions, as a NASNet cell pair does; nothing is built or trained. One line is printed for the
1,000 trials before each mark: milliseconds of a trial, and how many results share a flush, with its cost. A group is
flushed no later than nine flushes take, so that flushing takes a tenth of the time at most.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from nasflow.search.budget import Budget
from nasflow.search.job import Outcome
from nasflow.search.ledger import Ledger
from nasflow.search.loop import Loop
from nasflow.search.objective import Objective

DECISIONS, OPTIONS = 40, 13
MARKS = (1_000, 10_000, 100_000)


class Network:
    """Stand for a bound point: nothing but a fingerprint."""

    def __init__(self, point: dict[str, Any]) -> None:
        self.fingerprint = f"{hash(tuple(point.values())) & (2**64 - 1):016x}" * 4


class Space:
    """Bind a point in no time, so that only the loop is measured."""

    bind = staticmethod(Network)


class Draw:
    """Propose at random."""

    def __init__(self) -> None:
        self.rng = random.Random(0)

    def ask(self) -> dict[str, Any]:
        """Propose a point of 40 decisions."""
        return {
            f"normal/block{i // 5}/op{i % 5}": self.rng.randrange(OPTIONS) for i in range(DECISIONS)
        }

    def tell(self, point: dict[str, Any], result: Any) -> None:
        """Learn nothing."""

    def state(self) -> dict[str, Any]:
        """Return the random state."""
        return {"random": list(self.rng.getstate()[1])}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""


def ours(trials: int) -> None:
    """Print the milliseconds of a trial around each mark."""
    flushes: list[float] = []
    real = os.fdatasync

    def timed(fd: Any) -> None:
        begin = time.perf_counter()
        real(fd)
        flushes.append(time.perf_counter() - begin)

    os.fdatasync = timed
    with tempfile.TemporaryDirectory(dir=".") as folder:
        ledger = Ledger.create(Path(folder), {"plan": {}})
        loop = Loop(
            cast(Any, Space()),
            Draw(),
            Objective(),
            Budget(trials=trials),
            ledger,
            seed=0,
            observer=lambda event: None,
        )
        taken: list[float] = []
        flushed = 0
        begin = time.perf_counter()
        while (job := loop.next()) is not None:
            loop.done(job, Outcome({"accuracy": 0.5}))
            now = time.perf_counter()
            taken.append(now - begin)
            if len(taken) in MARKS:
                describe(taken, flushes[flushed:], ledger.path.stat().st_size)
            if len(taken) + 1000 in MARKS:
                flushed = len(flushes)
            begin = now
        begin = time.perf_counter()
        ledger.close()
        again, records = Ledger.open(Path(folder))
        count = sum(1 for _ in records)
        print(f"nasflow, open {count:,} records: {time.perf_counter() - begin:.2f} s")
        again.close()
    os.fdatasync = real


def describe(taken: list[float], flushes: list[float], size: int) -> None:
    """Print the milliseconds of each of the last 1,000 trials."""
    window = taken[-1000:]
    mean, middle = statistics.mean(window) * 1e3, statistics.median(window) * 1e3
    flush = statistics.mean(flushes) * 1e3 if flushes else 0.0
    group = len(window) / max(len(flushes), 1)
    print(
        f"nasflow, at {len(taken):>7,} trials: {mean:6.3f} ms a trial (median {middle:.3f}), "
        f"flushed in groups of {group:.0f} at {flush:.3f} ms, {size / len(taken):,.0f} bytes a trial"
    )


def optuna_storages(trials: int) -> None:
    """Print the same for Optuna's journal file and SQLite, where Optuna is installed."""
    try:
        import optuna
        from optuna.storages import JournalStorage, RDBStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        print(f"optuna: not measured ({error})")
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: Any) -> float:
        for i in range(DECISIONS):
            trial.suggest_categorical(f"op{i}", list(range(OPTIONS)))
        return 0.5

    with tempfile.TemporaryDirectory(dir=".") as folder:
        storages = {
            "journal file": lambda: JournalStorage(JournalFileBackend(f"{folder}/journal.log")),
            "SQLite": lambda: RDBStorage(f"sqlite:///{folder}/optuna.db"),
        }
        for name, make in storages.items():
            try:
                study = optuna.create_study(
                    storage=make(), sampler=optuna.samplers.RandomSampler(seed=0)
                )
            except ImportError as error:
                print(f"optuna, {name}: not measured ({error})")
                continue
            begin = time.perf_counter()
            study.optimize(objective, n_trials=trials)
            print(
                f"optuna, {name}, {trials} trials: {(time.perf_counter() - begin) / trials * 1e3:.1f} ms a trial"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=MARKS[-1])
    parser.add_argument("--peer-trials", type=int, default=100)
    arguments = parser.parse_args()
    ours(arguments.trials)
    optuna_storages(arguments.peer_trials)


if __name__ == "__main__":
    main()
