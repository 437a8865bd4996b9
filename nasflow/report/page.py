"""One HTML page about a run, with everything in it: no scripts, and nothing fetched from anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from nasflow.report.picture import pictures
from nasflow.report.plot import Series, plot, short
from nasflow.report.text import decisions
from nasflow.search.tradeoff import Tradeoff, tradeoff

if TYPE_CHECKING:
    from nasflow.ir import Graph
    from nasflow.search.remarks import Remarks
    from nasflow.search.results import Entry, Run

SHOWN = ("accuracy", "params", "macs", "latency_ms", "train_seconds")
MOST_PICTURES = 4  # of one network
DOT, FRONT = "#3b73b9", "#c2571a"


def page(
    run: Run, networks: Mapping[int, Graph], config: str, remarks: Remarks | None = None
) -> str:
    """Return the page; `networks` are the best graphs by proposal number, `config` is the run's, as YAML.

    `remarks` are the strategy's own.
    """
    title = f"{run.out.resolve().name}: {_outcome(run)}"
    style = files("nasflow.report").joinpath("page.css").read_text(encoding="utf-8")
    parts = [
        f"<h1>{escape(title)}</h1>",
        _summary(run),
        "<h2>History</h2>",
        _history(run),
        *_pareto(run),
        *_remarks(remarks),
        "<h2>Best networks</h2>",
        _table(run.ranked[: max(len(networks), 5)]),
        *(_network(rank, run, n, graph) for rank, (n, graph) in enumerate(networks.items(), 1)),
        "<h2>What failed, and why</h2>",
        _failures(run),
        "<h2>Configuration</h2>",
        f"<pre>{escape(config)}</pre>",
    ]
    return "\n".join(
        [
            "<!doctype html>",
            "<html lang='en'>",
            f"<head><meta charset='utf-8'><title>{escape(title)}</title>",
            f"<style>\n{style}</style></head>",
            "<body>",
            *parts,
            "</body></html>",
            "",
        ]
    )


def _remarks(remarks: Remarks | None) -> list[str]:
    if remarks is None:
        return []
    rows = [[str(cell) for cell in row] for row in remarks.rows]
    drawn = _cells(remarks.header, rows) if rows else ""
    return ["<h2>What the strategy found</h2>", f"<p>{escape(remarks.text)}</p>", drawn]


def reward(entry: Entry) -> float:
    """Return the reward of a candidate that has one."""
    assert entry.result.reward is not None
    return entry.result.reward


def _outcome(run: Run) -> str:
    return f"best reward {reward(run.best):.4f}" if run.best else "no result yet"


def _summary(run: Run) -> str:
    rows = {
        "ended": run.reason or "not yet: it is running, or was killed and can be resumed",
        "evaluated": f"{len(run.entries):,} networks, {len(run.failed):,} of them failed",
        "not evaluated": f"{run.duplicates:,} duplicates of known networks, {run.refused:,} over a limit",
        "in flight": f"{run.in_flight:,}",
        "time": f"{run.seconds:,.0f} s",
    }
    cells = "".join(
        f"<tr><th>{key}</th><td>{escape(value)}</td></tr>" for key, value in rows.items()
    )
    return f"<table>{cells}</table>"


def _history(run: Run) -> str:
    rated = [
        (i, entry) for i, entry in enumerate(run.entries, 1) if entry.result.reward is not None
    ]
    if not rated:
        return "<p class='quiet'>Nothing has been measured.</p>"
    points = [(float(i), reward(entry)) for i, entry in rated]
    best = [points[0]]
    for at, value in points[1:]:
        best.append((at, max(value, best[-1][1])))
    dots = Series(points, "dots", DOT, [_note(entry) for _, entry in rated])
    return f"<figure>{plot([dots, Series(best, 'stair', FRONT)], 'networks evaluated', 'reward')}</figure>"


def _pareto(run: Run) -> list[str]:
    """Return the front's pictures, the first measure over each other one, and its networks."""
    found = tradeoff(run)
    if found is None:
        return []
    quality, *others = found.measures
    return [
        "<h2>Pareto front</h2>",
        f"<p>{escape(found.describe())}</p>",
        *(f"<figure>{_over(found, cost, quality)}</figure>" for cost in others),
        _table(found.front),
    ]


def _over(found: Tradeoff, cost: str, quality: str) -> str:
    def dots(entries: Sequence[Entry], colour: str) -> Series:
        return Series([place(e) for e in entries], "dots", colour, [_note(e) for e in entries])

    def place(entry: Entry) -> tuple[float, float]:
        return entry.result.measures[cost], entry.result.measures[quality]

    front = sorted(found.front, key=place)
    stair = [Series([place(entry) for entry in front], "stair", FRONT)]
    lines = stair if tuple(found.measures.values()) == ("max", "min") else []
    series = [dots(found.entries, DOT), *lines, dots(front, FRONT)]
    return plot(series, cost, quality, log_x=True)


def _table(entries: Sequence[Entry]) -> str:
    names = [name for name in SHOWN if any(name in entry.result.measures for entry in entries)]
    rows = [
        [str(rank), str(entry.n), f"{reward(entry):.4f}"]
        + [_measure(entry.result.measures.get(name)) for name in names]
        for rank, entry in enumerate(entries, 1)
    ]
    return _cells(["rank", "proposal", "reward", *names], rows)


def _cells(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table; what begins with a digit stands to the right."""
    if not rows:
        return "<p class='quiet'>None.</p>"
    number = [cell[:1].isdigit() for cell in rows[0]]

    def line(tag: str, cells: Sequence[str]) -> str:
        marks = (" class='number'" if right else "" for right in number)
        inner = (f"<{tag}{mark}>{escape(c)}</{tag}>" for mark, c in zip(marks, cells, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    return f"<table>{line('th', header)}{''.join(line('td', row) for row in rows)}</table>"


def _measure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4f}"


def _network(rank: int, run: Run, n: int, graph: Graph) -> str:
    entry = next(entry for entry in run.entries if entry.n == n)
    drawn = list(pictures(graph).values())
    shown = "".join(f"<figure>{svg}</figure>" for svg in (drawn[1:] or drawn)[:MOST_PICTURES])
    return (
        f"<details{' open' if rank == 1 else ''}><summary>{rank}. proposal {n}: {escape(_note(entry))}</summary>"
        f"<pre>{escape(decisions(entry.point))}</pre>{shown}</details>"
    )


def _failures(run: Run) -> str:
    reasons = Counter(entry.result.error or "" for entry in run.failed)
    first = {entry.result.error: entry.n for entry in reversed(run.failed)}
    rows = [[str(count), str(first[why]), why] for why, count in reasons.most_common()]
    return _cells(["networks", "first proposal", "reason"], rows)


def _note(entry: Entry) -> str:
    measures = entry.result.measures
    known = [f"{name} {short(measures[name])}" for name in SHOWN if name in measures]
    return ", ".join([f"reward {reward(entry):.4f}", *known])
