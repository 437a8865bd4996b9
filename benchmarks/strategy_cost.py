"""What proposing costs: processor time of ask and tell, and memory, as the history grows.

    python -m benchmarks.strategy_cost [--strategies evolution rl] [--evaluations 10000]

On the NASNet space (52 decisions), with made-up rewards: milliseconds of ask and tell, mean over the
first fifty and over the last hundred evaluations, and the growth of memory in bytes an evaluation.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from array import array

import nasflow
from nasflow.search.strategy import Result, create

EVALUATIONS = {
    "evolution": 10_000,
    "random": 10_000,
    "local_search": 2_000,
    "rl": 500,
    "predictor": 400,
}
FEW = 200  # evaluations of the others, which cost tens of milliseconds each


def measure(name: str, count: int) -> str:
    """Return one row of the printed table."""
    space = nasflow.space("nasnet")
    strategy = create({"name": name}, space, 0)
    seconds = array("d", bytes(8 * count))  # made beforehand: not to be counted
    held: list[int] = []
    begin, end = count // 4, count - 100  # tracing slows down: not while the last ones are timed
    for i in range(count):
        if i == begin:
            tracemalloc.start()
        if i in (begin + 50, end):
            held.append(tracemalloc.get_traced_memory()[0])
        if i == end:
            tracemalloc.stop()
        started = time.process_time()
        point = strategy.ask()
        assert point is not None
        strategy.tell(point, Result({}, (i * 7919 % 1000) / 1000, values=(i * 7919 % 1000 / 1000,)))
        seconds[i] = time.process_time() - started
    first, last = (1000 * sum(part) / len(part) for part in (seconds[:50], seconds[-100:]))
    growth = (held[-1] - held[0]) / (end - begin - 50)
    return f"{name} | {count} | {first:.2f} | {last:.2f} | {growth:.0f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--strategies", nargs="+", default=[*EVALUATIONS, "nao"])
    parser.add_argument("--evaluations", type=int)
    options = parser.parse_args()
    print("strategy | evaluations | ms, first 50 | ms, last 100 | bytes an evaluation")
    for name in options.strategies:
        print(measure(name, options.evaluations or EVALUATIONS.get(name, FEW)), flush=True)


if __name__ == "__main__":
    main()
