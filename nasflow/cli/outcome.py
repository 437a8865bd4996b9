"""What a search leaves: the best networks printed, the report, the best one exported."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from nasflow.cli.export import write_export
from nasflow.cli.files import named, word, write
from nasflow.cli.report import write_report
from nasflow.cli.source import Found, found_in, space_of
from nasflow.cli.table import table
from nasflow.report.text import decisions
from nasflow.search.remarks import remarks
from nasflow.search.tradeoff import summary, tradeoff

if TYPE_CHECKING:
    from nasflow.ir import Point
    from nasflow.search.results import Run

PRINTED = 5
RESULTS = "results.json"
MEASURES = ("accuracy", "params", "macs", "latency_ms", "train_seconds")


def conclude(run: Run) -> None:
    """Print why the search ended and its best networks; write the report, and the best network to ``best/``."""
    print(f"\nended: {run.reason or 'not finished'}")
    print(
        f"{len(run.entries):,} networks evaluated in {run.seconds:,.0f} s "
        f"({len(run.failed):,} failed, {run.duplicates:,} duplicates and {run.refused:,} refused not evaluated)"
    )
    if run.utilisation is not None:
        print(f"workers were busy {run.utilisation:.1%} of the time until the last candidate began")
    results = write(run.out / RESULTS, json.dumps(summary(run), indent=1) + "\n")
    if not run.ranked:
        reasons = Counter(entry.result.error for entry in run.failed).most_common(1)
        often = "".join(f", most often ({count:,} times) because: {why}" for why, count in reasons)
        print(f"no network succeeded{often}; all reasons are in {named(run.out / 'ledger.jsonl')}")
        return
    print(f"\n{best(run)}\n")
    if taken := searched(run):
        print(f"the best, by its decisions:\n{decisions(taken)}\n")
    traded = tradeoff(run)
    if traded:
        print(f"{traded.describe()}\n")
    family = said(run)
    report = write_report(run.out, run.out / "report.html", PRINTED)
    folder = write_export(found_in(run, 1), run.out / "best")
    print(
        f"report    {named(report)}\nresults   {named(results)}\n"
        f"best      {named(folder)}/model.py, weights.safetensors, graph.json, pictures"
    )
    for name in family:
        print(f"{name:<9} {named(run.out / name)}")
    print(f"train it  python -m nasflow train {word('run', run.out)} rank=1")


def said(run: Run) -> list[str]:
    """Print what the strategy has to say; export the networks it names, beside the best, and return their names."""
    space = space_of(run)
    found = remarks(run, space)
    if found is None:
        return []
    print(f"{found.text}\n")
    if found.rows:
        print(f"{table(found.header, found.rows)}\n")
    known = {entry.fingerprint: entry for entry in run.entries if entry.result.error is None}
    for name, point in found.networks.items():
        graph = space.bind(point)
        entry = known.get(graph.fingerprint)
        weights = run.out / "weights" / f"{graph.fingerprint}.safetensors"
        measures = entry.result.measures if entry else None
        network = Found(name, graph, point, measures, weights if weights.is_file() else None)
        write_export(network, run.out / name)
    return list(found.networks)


def searched(run: Run) -> Point:
    """Return the best point without what the search held fixed."""
    space = space_of(run)
    point = run.ranked[0].point
    return {name: value for name, value in point.items() if space.decision(name).searched}


def best(run: Run) -> str:
    """Return the table of the best networks."""
    entries = run.ranked[:PRINTED]
    names = [name for name in MEASURES if all(name in entry.result.measures for entry in entries)]
    rows = [
        [
            rank,
            entry.n,
            entry.result.reward,
            *(_whole(entry.result.measures[name]) for name in names),
        ]
        for rank, entry in enumerate(entries, 1)
    ]
    return table(["rank", "proposal", "reward", *names], rows)


def _whole(value: float) -> float:
    return int(value) if value == int(value) and abs(value) > 1 else value
