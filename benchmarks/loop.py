"""What the loop costs: evaluations a second in one process and on actors, and what it adds to bare Ray Tune trials.

    python -m benchmarks.loop [--trials 20] [--rounds 3]

The trials sleep one second each, with 2 workers; bare Tune trials and those of a search alternate in one Ray session.
Time runs from the first trial's begin to the last one's end, which leaves the starting of workers out of both, and is
compared with the ideal (trials / workers seconds).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from nasflow.errors import NasflowError
from nasflow.search.run import search

WORKERS = 2


def lookup(graph: Any, *, seed: int, report: Any = None) -> dict[str, float]:
    """Look a candidate up, as in a table."""
    return {"accuracy": int(graph.fingerprint[:8], 16) / 2**32}


def cheap(trials: int) -> None:
    """Print evaluations a second with a real table as evaluator, and with none at all on the NASNet space."""
    table = {"_target_": "nasflow.evaluate.table.nas_bench_201"}
    try:
        rate("nas_bench_201, table", trials, {"name": "nas_bench_201"}, table)
    except NasflowError as error:
        print(f"inline, nas_bench_201, table: not measured ({error})")
    rate("nasnet, no-op", trials // 5, {"name": "nasnet"}, lookup)


def rate(what: str, trials: int, space: Any, evaluator: Any) -> None:
    """Print the evaluations a second of one search in this process."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        begin = time.perf_counter()
        search(
            space=space, strategy={"name": "random"}, evaluator=evaluator, budget={"trials": trials},
            out=Path(folder) / "run",
        )
        seconds = time.perf_counter() - begin
    print(f"inline, {what}: {trials / seconds:,.0f} evaluations a second, each recorded on disk")


def bare(trials: int, folder: str) -> float:
    """Return the seconds of sleeping trials of Ray Tune itself."""
    from ray import tune

    results = tune.Tuner(
        _sleep,
        param_space={"folder": folder},
        tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit()
    assert len(results) == trials
    return _span(folder)


def searched(trials: int, folder: str) -> float:
    """Return the seconds of the same trials in a search of the NASNet space."""
    run = search(
        space={"name": "nasnet"}, strategy={"name": "random"}, budget={"trials": trials}, out=Path(folder) / "run",
        evaluator={"_target_": "benchmarks.loop.Sleep", "folder": folder},
        executor={"name": "tune", "workers": WORKERS},
    )
    assert len(run.entries) == trials and not run.failed
    return _span(folder)


class Sleep:
    """Sleep for a second."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, graph: Any, *, seed: int, report: Any = None) -> dict[str, float]:
        """Note when it begins and ends."""
        _nap(self.folder)
        return {"accuracy": 0.5}


def _sleep(config: dict[str, Any]) -> None:
    from ray import tune

    _nap(config["folder"])
    tune.report({"accuracy": 0.5})


def _nap(folder: str) -> None:
    begin = time.time()
    time.sleep(1)
    with open(f"{folder}/naps", "a") as file:
        file.write(f"{begin} {time.time()}\n")


def _span(folder: str) -> float:
    naps = [tuple(map(float, line.split())) for line in Path(folder, "naps").read_text().splitlines()]
    return max(end for _, end in naps) - min(begin for begin, _ in naps)


def overhead(trials: int, rounds: int) -> None:
    """Print what the search adds to bare Tune trials."""
    import logging

    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}
    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
    try:
        ours, theirs = [], []
        for _ in range(rounds):
            for taken, run in ((theirs, bare), (ours, searched)):
                with tempfile.TemporaryDirectory() as folder:
                    taken.append(run(trials, folder))
    finally:
        ray.shutdown()
    ideal = trials / WORKERS
    added = [(a - b) / trials * WORKERS for a, b in zip(ours, theirs, strict=True)]
    print(
        f"{trials} trials of 1 s, {WORKERS} workers, ideal {ideal:.1f} s: bare Tune {statistics.mean(theirs):.2f} s, "
        f"search {statistics.mean(ours):.2f} s; the search adds {statistics.mean(added):+.1%} of a trial "
        f"({', '.join(f'{x:+.1%}' for x in added)})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=5000)
    arguments = parser.parse_args()
    cheap(arguments.evaluations)
    overhead(arguments.trials, arguments.rounds)


if __name__ == "__main__":
    main()
