"""How few evaluations each strategy needs, on tables of really trained networks.

    python -m benchmarks.strategies [--seeds 30] [--strategies random evolution] [--tables nas_bench_macro]

Printed for each table and strategy, as mean ± standard deviation over seeds:
the regret (the table's best reward minus the best found, in points of accuracy) after 50, 100, 300 and
1,000 evaluations; the evaluations until one of the best 0.1 % by reward is found (never found counts as
one more than were made); the test accuracy of the best by reward, for comparison with papers only; the
processor's milliseconds of ask and tell. A run ends early with the table's best, for nothing changes after
it. Peers that are installed run on the same tables. Then come two-sided Mann-Whitney tests, as Holm corrects
them: each strategy against random, and the best one here against evolution and each peer.

With `--runs` each run is appended to a file of that folder, and none that is there is made again: a
comparison of hours can be killed at any time, gone on with, and printed as far as it is (`--print`).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import nasflow
from benchmarks._peers import PEERS, installed
from nasflow.errors import DataError
from nasflow.evaluate import table
from nasflow.search.strategy import Result, create

MARKS = (50, 100, 300, 1000)
TESTED = (100, 300, 1000)  # marks at which strategies are tested against each other
TABLES: dict[str, tuple[str, Callable[[], table.Table]]] = {
    "nas_bench_201/cifar10": ("nas_bench_201", partial(table.nas_bench_201, "cifar10")),
    "nas_bench_201/cifar100": ("nas_bench_201", partial(table.nas_bench_201, "cifar100")),
    "nas_bench_macro": ("nas_bench_macro", table.nas_bench_macro),
    "nasnet/known optimum": ("nasnet", lambda: known_optimum("nasnet")),
}
STRATEGIES: dict[str, dict[str, Any]] = {
    "random": {"name": "random"},
    "local_search": {"name": "local_search"},
    "evolution": {"name": "evolution"},
    "rl": {"name": "rl"},
    "rl_quick": {"name": "rl", "batch": 5, "learning_rate": 0.0035},
    "predictor": {"name": "predictor"},
    "nao": {"name": "nao"},
    "tpe": {"name": "tpe"},
    "gp": {"name": "gp"},
    "nsga2": {"name": "nsga2"},
}


def known_optimum(family: str) -> table.Table:
    """Return a made-up table: the reward is the share of decisions that equal a hidden point's."""
    space = nasflow.space(family)
    hidden = space.sample(20180721)  # no seed of a run
    free = [decision.name for decision in space.decisions if decision.searched]

    class Shares(dict[Any, dict[str, float]]):
        def __missing__(self, values: tuple[object, ...]) -> dict[str, float]:
            equal = sum(value == hidden[name] for name, value in zip(free, values, strict=True))
            return {"accuracy": equal / len(free), "test_accuracy": equal / len(free)}

    best = tuple(hidden[name] for name in free)
    shares = Shares({best: {"accuracy": 1.0, "test_accuracy": 1.0}})
    return table.Table("known optimum", lambda point: tuple(point[name] for name in free), shares)


@dataclass
class Run:
    """What one seed gave: the reward and the test accuracy of each proposal, in percent."""

    seed: int = 0
    count: int = 0  # evaluations allowed; fewer were made where the best of all was found
    rewards: list[float] = field(default_factory=list)
    tests: list[float] = field(default_factory=list)
    seconds: float = 0.0  # of the processor, spent in ask and tell

    def add(self, measures: Mapping[str, float]) -> None:
        """Take an evaluation in."""
        self.rewards.append(percent(measures["accuracy"]))
        self.tests.append(percent(measures["test_accuracy"]))

    def best(self, count: int) -> float:
        """Return the best reward among the first `count`."""
        return max(self.rewards[:count])

    def reported(self, count: int) -> float:
        """Return the test accuracy of the best by reward among the first `count`."""
        return self.tests[self.rewards.index(self.best(count))]

    def until(self, reward: float) -> int:
        """Return the evaluations until a reward is reached; one more than all if it never is."""
        return next((i for i, r in enumerate(self.rewards, 1) if r >= reward), self.count + 1)


def percent(share: float) -> float:
    """Return a share in percent, to the six digits that are kept."""
    return round(100 * share, 6)


def ours(
    spec: dict[str, Any],
    space: Any,
    rows: table.Table,
    seed: int,
    count: int,
    best: float = math.inf,
) -> Run:
    """Run one of nasflow's strategies; stop at a reward of `best`."""
    run, strategy = Run(seed, count), create(spec, space, seed)
    while len(run.rewards) < count and best not in run.rewards[-1:]:
        started = time.process_time()
        point = strategy.ask()
        run.seconds += time.process_time() - started
        assert point is not None
        measures = rows(None, point=point)
        started = time.process_time()
        strategy.tell(point, Result(measures, measures["accuracy"], values=(measures["accuracy"],)))
        run.seconds += time.process_time() - started
        run.add(measures)
    return run


def theirs(
    name: str, space: Any, rows: table.Table, seed: int, count: int, best: float = math.inf
) -> Run:
    """Run a peer; a repeated point is neither evaluated again nor counted.

    One that repeats itself ends after three times the evaluations in proposals.
    """
    propose = PEERS[name][1](space, seed)
    run, known = Run(seed, count), set()
    for _ in range(3 * count):
        if len(run.rewards) == count or best in run.rewards[-1:]:
            break
        started = time.process_time()
        point, learn = propose()
        measures = rows(None, point=point)
        learn(measures["accuracy"])
        run.seconds += time.process_time() - started
        if tuple(sorted(point.items())) not in known:
            known.add(tuple(sorted(point.items())))
            run.add(measures)
    return run


def kept(file: Path | None) -> dict[int, Run]:
    """Return the runs of a file by seed; of one seed the longest."""
    found: dict[int, Run] = {}
    for text in file.read_text().splitlines() if file and file.exists() else []:
        run = Run(**json.loads(text))
        if run.seed not in found or found[run.seed].count < run.count:
            found[run.seed] = run
    return found


def made(
    table_name: str, name: str, seeds: int, count: int, store: Path | None, only_kept: bool = False
) -> list[Run]:
    """Return the runs of one strategy on a table; those that `store` holds are not made again."""
    file = (
        store / f"{table_name}-{name}.jsonl".replace("/", "_").replace(" ", "_") if store else None
    )
    found = {s: r for s, r in kept(file).items() if s < seeds and (only_kept or r.count >= count)}
    family, load = TABLES[table_name]
    rows, space = load(), nasflow.space(family)
    best = percent(rows.best())
    for seed in range(0 if only_kept else seeds):
        if seed in found:
            continue
        if name in PEERS:
            found[seed] = theirs(name, space, rows, seed, count, best)
        else:
            found[seed] = ours(STRATEGIES[name], space, rows, seed, count, best)
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a") as lines:
                lines.write(json.dumps(asdict(found[seed])) + "\n")
    return [found[seed] for seed in sorted(found)]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return mean ± standard deviation."""
    return f"{statistics.fmean(values):.{digits}f}±{statistics.pstdev(values):.{digits}f}"


def p_number(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided Mann-Whitney p."""
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(first, second).pvalue)


def line(name: str, runs: list[Run], best: float, top: float) -> list[str]:
    """Return one row of the printed table."""
    count = min(run.count for run in runs)
    cells = [f"{name} ({len(runs)})"]
    cells += [spread([best - r.best(m) for r in runs]) if m <= count else "-" for m in MARKS]
    until = [run.until(top) for run in runs]
    never = sum(run.until(top) > run.count for run in runs)
    cells.append(spread(until, 0) + (f" ({never} never)" if never else ""))
    cells += [spread([r.reported(m) for r in runs], 2) if m <= count else "-" for m in (100, 300)]
    total = sum(len(run.rewards) for run in runs)
    return [*cells, f"{1000 * sum(run.seconds for run in runs) / total:.2f}"]


HEADER = [
    "strategy",
    *(f"regret@{mark}" for mark in MARKS),
    "until top 0.1 %",
    "test@100",
    "test@300",
    "ms",
]


def compare(
    name: str,
    wanted: Sequence[str],
    seeds: int,
    count: int,
    store: Path | None = None,
    only_kept: bool = False,
) -> Iterator[list[str]]:
    """Yield a row for each strategy on one table, then the tests."""
    rewards = sorted(
        (percent(r["accuracy"]) for r in TABLES[name][1]().rows.values()), reverse=True
    )
    best, top = rewards[0], rewards[max(1, len(rewards) // 1000) - 1]
    found: dict[str, list[Run]] = {}
    for strategy in wanted:
        runs = made(name, strategy, seeds, count, store, only_kept)
        if runs:
            found[strategy] = runs
            yield line(strategy, runs, best, top)
    most = max(map(len, found.values()), default=0)
    for mark in TESTED:  # between strategies with all seeds, each run that far
        reached = {
            strategy: [run.best(mark) for run in runs]
            for strategy, runs in found.items()
            if len(runs) == most and all(run.count >= mark for run in runs)
        }
        yield from against_random(mark, reached)
        yield from duels(mark, reached)


def against_random(mark: int, reached: Mapping[str, list[float]]) -> Iterator[list[str]]:
    """Yield each strategy's corrected p against random."""
    rest = {name: best for name, best in reached.items() if name != "random" and name not in PEERS}
    if rest and "random" in reached:
        found = holm({name: p_number(best, reached["random"]) for name, best in rest.items()})
        yield [f"@{mark} against random", *(f"{name} {p:.0e}" for name, p in found.items())]


def duels(mark: int, reached: Mapping[str, list[float]]) -> Iterator[list[str]]:
    """Yield the corrected p of the best strategy here against evolution and each peer."""
    mean = {name: statistics.fmean(best) for name, best in reached.items()}
    first = max((name for name in reached if name not in PEERS), key=mean.__getitem__, default="")
    rivals = [name for name in reached if name in PEERS or name == "evolution" != first]
    if first and rivals:
        found = holm({name: p_number(reached[first], reached[name]) for name in rivals})
        yield [f"@{mark} {first} against", *(f"{name} {p:.0e}" for name, p in found.items())]


def holm(raw: dict[str, float]) -> dict[str, float]:
    """Return p-values of several tests as Holm (1979) corrects them."""
    corrected, least = {}, 0.0
    for rank, name in enumerate(sorted(raw, key=raw.__getitem__)):
        least = max(least, min(1.0, raw[name] * (len(raw) - rank)))
        corrected[name] = least
    return corrected


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--evaluations", type=int, default=1000)
    parser.add_argument("--strategies", nargs="+", default=None)
    parser.add_argument("--runs", type=Path, help="folder that keeps each run, to go on from")
    parser.add_argument("--print", action="store_true", help="what --runs holds; run nothing")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES)[:3])
    options = parser.parse_args()
    try:
        table.find()
    except DataError as missing:
        print(f"skipped: {missing}")
        return
    wanted = options.strategies or [*STRATEGIES, *(PEERS if options.print else installed())]
    for name in options.tables:
        print(f"\n{name}: {options.seeds} seeds", " | ".join(HEADER), sep="\n", flush=True)
        for row in compare(
            name, wanted, options.seeds, options.evaluations, options.runs, options.print
        ):
            print(" | ".join(row), flush=True)


if __name__ == "__main__":
    main()
