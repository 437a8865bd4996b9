"""What a search leaves: the best networks printed, the report, the best one exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nasflow.cli.export import write_export
from nasflow.cli.report import write_report
from nasflow.cli.source import found_in, space_of
from nasflow.cli.table import table
from nasflow.report.text import decisions

if TYPE_CHECKING:
    from nasflow.ir import Point
    from nasflow.search.results import Run

PRINTED = 5
MEASURES = ("accuracy", "params", "macs", "latency_ms", "train_seconds")


def conclude(run: Run) -> None:
    """Print why the search ended and its best networks; write the report, and the best network to ``best/``."""
    print(f"\nended: {run.reason or 'not finished'}")
    print(
        f"{len(run.entries):,} networks evaluated in {run.seconds:,.0f} s "
        f"({len(run.failed):,} failed, {run.duplicates:,} duplicates and {run.refused:,} refused not evaluated)"
    )
    if not run.ranked:
        print(f"no network succeeded; the reasons are in {run.out / 'ledger.jsonl'}")
        return
    print(f"\n{best(run)}\n\nthe best, by its decisions:\n{decisions(searched(run))}\n")
    report = write_report(run.out, run.out / "report.html", PRINTED)
    folder = write_export(found_in(run, 1), run.out / "best")
    print(
        f"report    {report}\nbest      {folder}/model.py, weights.safetensors, graph.json, pictures"
    )
    print(f"train it  python -m nasflow train run={run.out} rank=1")


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
