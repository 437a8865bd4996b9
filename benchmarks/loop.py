"""What the loop costs: evaluations a second in one process and on actors, and what it adds to bare Ray Tune trials.

    python -m benchmarks.loop [--trials 20] [--rounds 3]

The trials sleep one second each, with 2 workers; rounds of bare Tune trials and of a search alternate in one Ray
session. What is compared is the pause between the end of one trial and the begin of the next on the same worker: all
that a search adds lies in it (asking, binding, recording, sending the network and reading it).
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from nasflow.errors import NasflowError
from nasflow.search import loop
from nasflow.search.events import Event, Finished
from nasflow.search.run import search

WORKERS = 2


def lookup(graph: Any, *, seed: int, report: Any = None) -> dict[str, float]:
    """Look a candidate up, as in a table."""
    return {"accuracy": int(graph.fingerprint[:8], 16) / 2**32}


def cheap(trials: int) -> None:
    """Print evaluations a second with a real table as evaluator, and with none at all on the NASNet space.

    Each search is made twice with one seed: the second time its points' fingerprints are remembered, as they are in
    most searches of a comparison over many seeds.
    """
    table = {"_target_": "nasflow.evaluate.table.nas_bench_201"}
    try:
        for strategy in ("random", "evolution"):
            _forget()
            for time_ in ("first", "second"):
                what = f"nas_bench_201, table, {strategy}, {time_} search"
                rate(what, trials, {"name": "nas_bench_201"}, strategy, table)
    except NasflowError as error:
        print(f"inline, nas_bench_201, table: not measured ({error})")
    rate("nasnet, random, no-op", trials, {"name": "nasnet"}, "random", lookup)


def _forget() -> None:
    loop._points.clear()


def rate(what: str, trials: int, space: Any, strategy: str, evaluator: Any) -> None:
    """Print the evaluations a second of one search in this process, as a whole and from the first result to the last.

    Both by the clock and by the processor's time.
    """
    ends: list[tuple[float, float]] = []

    def observe(event: Event) -> None:
        if isinstance(event, Finished):
            ends.append((time.perf_counter(), time.process_time()))

    with tempfile.TemporaryDirectory(dir=".") as folder:
        begin, busy = time.perf_counter(), time.process_time()
        run = search(
            space=space,
            strategy={"name": strategy},
            evaluator=evaluator,
            budget={"trials": trials},
            out=Path(folder) / "run",
            observer=observe,
        )
        seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    proposals = len(run.entries) + run.duplicates
    line = f"inline, {what}: {_rates(trials, seconds, busy)}, {proposals / trials:.2f} proposals for each"
    if len(ends) > 1:
        going = [last - first for first, last in zip(ends[0], ends[-1], strict=True)]
        line += f"; from the first result to the last {_rates(len(ends) - 1, *going)}"
    print(line)


def _rates(count: int, seconds: float, busy: float) -> str:
    return f"{count / seconds:,.0f} evaluations a second ({count / busy:,.0f} a second of processor time)"


def bare(trials: int, folder: str) -> list[float]:
    """Return the pauses between sleeping trials of Ray Tune itself."""
    from ray import tune

    results = tune.Tuner(
        _sleep,
        param_space={"folder": folder},
        tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit()
    assert len(results) == trials
    return _pauses(folder)


def searched(trials: int, folder: str) -> list[float]:
    """Return the pauses between the same trials in a search of the NASNet space."""
    run = search(
        space={"name": "nasnet"},
        strategy={"name": "random"},
        budget={"trials": trials},
        out=Path(folder) / "run",
        evaluator={"_target_": "benchmarks.loop.Sleep", "folder": folder},
        executor={"name": "tune", "workers": WORKERS},
    )
    assert len(run.entries) == trials and not run.failed
    return _pauses(folder)


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
        file.write(f"{os.getpid()} {begin} {time.time()}\n")


def _pauses(folder: str) -> list[float]:
    """Return the seconds between one trial's end and the next one's begin, worker by worker."""
    naps: dict[str, list[tuple[float, float]]] = {}
    for line in Path(folder, "naps").read_text().splitlines():
        worker, begin, end = line.split()
        naps.setdefault(worker, []).append((float(begin), float(end)))
    return [b[0] - a[1] for trials in naps.values() for a, b in itertools.pairwise(sorted(trials))]


def overhead(trials: int, rounds: int) -> None:
    """Print what the search adds to bare Tune trials."""
    import logging

    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}
    ray.init(
        address="local",
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
    )
    try:
        pauses: dict[Any, list[float]] = {bare: [], searched: []}
        for _ in range(rounds):
            for run, found in pauses.items():
                with tempfile.TemporaryDirectory() as folder:
                    found.extend(run(trials, folder))
    finally:
        ray.shutdown()
    theirs, ours = (statistics.mean(found) for found in pauses.values())
    low, high = interval(pauses[bare], pauses[searched])
    print(
        f"{rounds} x {trials} trials of 1 s, {WORKERS} workers, pause between two trials of a worker: bare Tune "
        f"{theirs * 1e3:.1f} ms, search {ours * 1e3:.1f} ms; the search adds {ours - theirs:+.1%} of a trial "
        f"(95 % interval {low:+.1%} to {high:+.1%})"
    )


def interval(first: list[float], second: list[float], draws: int = 2000) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the difference of means, `second` less `first`."""
    rng = random.Random(0)
    found = sorted(
        statistics.fmean(rng.choices(second, k=len(second)))
        - statistics.fmean(rng.choices(first, k=len(first)))
        for _ in range(draws)
    )
    return found[int(0.025 * draws)], found[int(0.975 * draws)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=1000)
    arguments = parser.parse_args()
    for name, least in (("trials", 2), ("rounds", 1), ("evaluations", 0)):
        if (value := getattr(arguments, name)) < least:
            parser.exit(2, f"benchmarks.loop: --{name}: expected {least} or more, got {value}\n")
    if arguments.evaluations:
        cheap(arguments.evaluations)
    overhead(arguments.trials, arguments.rounds)


if __name__ == "__main__":
    main()
