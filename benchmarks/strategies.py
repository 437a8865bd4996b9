"""How few evaluations each strategy needs, on tables of really trained networks.

    python -m benchmarks.strategies [--seeds 30] [--strategies random evolution] [--tables nas_bench_macro]

Printed for each table and strategy, as mean ± standard deviation over seeds:
the regret (the table's best reward minus the best found, in points of accuracy) after 50, 100, 300 and
1,000 evaluations; the evaluations until one of the best 0.1 % by reward is found (never found counts as
one more than were made); the test accuracy of the best by reward, for comparison with papers only;
the processor's milliseconds of ask and tell; p, the two-sided Mann-Whitney test against random at 100, at 300 and
of the mean reward of the last 100 proposals. Peers that are installed run on the same tables; the best
strategy here is tested against each (Mann-Whitney, Holm's correction).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
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
TABLES: dict[str, tuple[str, Callable[[], table.Table]]] = {
    "nas_bench_201/cifar10": ("nas_bench_201", partial(table.nas_bench_201, "cifar10")),
    "nas_bench_201/cifar100": ("nas_bench_201", partial(table.nas_bench_201, "cifar100")),
    "nas_bench_macro": ("nas_bench_macro", table.nas_bench_macro),
    "nasnet/known optimum": ("nasnet", lambda: known_optimum("nasnet")),
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


STRATEGIES: dict[str, dict[str, Any]] = {
    "random": {"name": "random"},
    "evolution": {"name": "evolution"},
    "local_search": {"name": "local_search"},
    "rl": {"name": "rl"},
    "rl batch 5": {"name": "rl", "batch": 5},
    "rl reinforce": {"name": "rl", "algorithm": "reinforce", "learning_rate": 0.0035, "batch": 5},
    "predictor": {"name": "predictor"},
    "tpe": {"name": "tpe"},
    "nsga2": {"name": "nsga2"},
}
SLOW = ("predictor", "tpe", "nsga2", *PEERS)  # run for 300 evaluations only


@dataclass
class Run:
    """What one seed gave: the reward and the test accuracy of each proposal, in percent."""

    rewards: list[float] = field(default_factory=list)
    tests: list[float] = field(default_factory=list)
    seconds: float = 0.0  # of the processor, spent in ask and tell

    def best(self, count: int) -> float:
        """Return the best reward among the first `count`."""
        return max(self.rewards[:count])

    def reported(self, count: int) -> float:
        """Return the test accuracy of the best by reward among the first `count`."""
        return self.tests[self.rewards.index(self.best(count))]

    def until(self, reward: float) -> int:
        """Return the evaluations until a reward is reached; one more than all if it never is."""
        return next(
            (i for i, r in enumerate(self.rewards, 1) if r >= reward), len(self.rewards) + 1
        )


def ours(spec: dict[str, Any], space: Any, rows: table.Table, seed: int, count: int) -> Run:
    """Run one of nasflow's strategies."""
    run, strategy = Run(), create(spec, space, seed)
    for _ in range(count):
        started = time.process_time()
        point = strategy.ask()
        run.seconds += time.process_time() - started
        assert point is not None
        measures = rows(None, point=point)
        started = time.process_time()
        strategy.tell(point, Result(measures, measures["accuracy"], values=(measures["accuracy"],)))
        run.seconds += time.process_time() - started
        run.rewards.append(100 * measures["accuracy"])
        run.tests.append(100 * measures["test_accuracy"])
    return run


def theirs(name: str, space: Any, rows: table.Table, seed: int, count: int) -> Run:
    """Run a peer; a repeated point is neither evaluated again nor counted."""
    propose = PEERS[name][1](space, seed)
    run, known = Run(), set()
    for _ in range(3 * count):
        if len(run.rewards) == count:
            break
        started = time.process_time()
        point, learn = propose()
        measures = rows(None, point=point)
        learn(measures["accuracy"])
        run.seconds += time.process_time() - started
        if tuple(sorted(point.items())) not in known:
            known.add(tuple(sorted(point.items())))
            run.rewards.append(100 * measures["accuracy"])
            run.tests.append(100 * measures["test_accuracy"])
    missing = count - len(run.rewards)  # it repeats itself: the budget passes without anything new
    run.rewards += [0.0] * missing
    run.tests += [0.0] * missing
    return run


def made(
    name: str, space: Any, rows: table.Table, seeds: int, count: int, store: Path | None
) -> list[Run]:
    """Return the runs of one strategy, those that `store` holds without running them again."""
    file = store / f"{rows.name}-{name}.json".replace("/", "_").replace(" ", "_") if store else None
    kept = json.loads(file.read_text()) if file and file.exists() else []
    runs = [Run(**each) for each in kept if len(each["rewards"]) >= count][:seeds]
    for seed in range(len(runs), seeds):
        if name in PEERS:
            runs.append(theirs(name, space, rows, seed, count))
        else:
            runs.append(ours(STRATEGIES[name], space, rows, seed, count))
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps([asdict(run) for run in runs]))
    return runs


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return mean ± standard deviation."""
    return f"{statistics.fmean(values):.{digits}f}±{statistics.pstdev(values):.{digits}f}"


def p_number(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided Mann-Whitney p."""
    from scipy.stats import mannwhitneyu  # type: ignore[import-untyped,unused-ignore]

    return float(mannwhitneyu(first, second).pvalue)


def p_value(first: Sequence[float], second: Sequence[float]) -> str:
    """Return the two-sided Mann-Whitney p as text."""
    return f"{p_number(first, second):.0e}"


def line(name: str, runs: list[Run], base: list[Run], best: float, top: float) -> list[str]:
    """Return one row of the printed table."""
    count = len(runs[0].rewards)
    marks = [mark for mark in MARKS if mark <= count]
    cells = [name, *(spread([best - run.best(mark) for run in runs]) for mark in marks)]
    cells += ["-"] * (len(MARKS) - len(marks))
    cells.append(spread([run.until(top) for run in runs], 0))
    cells += [spread([r.reported(m) for r in runs], 2) if m in marks else "-" for m in (100, 300)]
    cells.append(f"{1000 * sum(run.seconds for run in runs) / len(runs) / count:.2f}")
    for mark in (100, 300):
        pair = (
            [[run.best(mark) for run in group] for group in (runs, base)] if mark in marks else None
        )
        cells.append(p_value(*pair) if pair and runs is not base else "-")
    late = [
        [statistics.fmean(run.rewards[count - 100 : count]) for run in group]
        for group in (runs, base)
    ]
    cells.append(p_value(*late) if runs is not base else "-")
    return [*cells, f"{statistics.fmean(late[0]):.2f}"]


HEADER = [
    "strategy",
    *(f"regret@{mark}" for mark in MARKS),
    "until top 0.1 %",
    "test@100",
    "test@300",
    "ms",
    "p@100",
    "p@300",
    "p late",
    "late reward",
]


def compare(
    name: str, wanted: Sequence[str], seeds: int, count: int, store: Path | None = None
) -> Iterator[list[str]]:
    """Yield a row for each strategy on one table."""
    family, load = TABLES[name]
    rows, space = load(), nasflow.space(family)
    rewards = sorted((100 * row["accuracy"] for row in rows.rows.values()), reverse=True)
    best, top = rewards[0], rewards[max(1, len(rewards) // 1000) - 1]
    found: dict[str, list[Run]] = {}
    for strategy in ["random", *(s for s in wanted if s != "random")]:
        budget = min(count, 300) if strategy in SLOW else count
        runs = made(strategy, space, rows, seeds, budget, store)
        found[strategy] = runs
        yield line(strategy, runs, found["random"], best, top)
    yield from duels(found, [mark for mark in (100, 300) if mark <= count])


def duels(found: dict[str, list[Run]], marks: Sequence[int]) -> Iterator[list[str]]:
    """Yield the best strategy here against each peer, by mean best reward; p as Holm corrects it."""
    peers = [name for name in PEERS if name in found]
    for mark in marks:
        best = {name: [run.best(mark) for run in runs] for name, runs in found.items()}
        mean = {name: statistics.fmean(values) for name, values in best.items()}
        first = max((name for name in found if name not in PEERS), key=mean.__getitem__)
        raw = {peer: p_number(best[first], best[peer]) for peer in peers}
        for peer, p in holm(raw).items():
            yield [
                f"@{mark}",
                f"{first} {mean[first]:.3f}",
                f"{peer} {mean[peer]:.3f}",
                f"p {p:.0e}",
            ]


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
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    options = parser.parse_args()
    try:
        table.find()
    except DataError as missing:
        print(f"skipped: {missing}")
        return
    wanted = options.strategies or [*STRATEGIES, *installed()]
    for name in options.tables:
        print(f"\n{name}: {options.seeds} seeds", " | ".join(HEADER), sep="\n", flush=True)
        for row in compare(name, wanted, options.seeds, options.evaluations, options.runs):
            print(" | ".join(row), flush=True)


if __name__ == "__main__":
    main()
