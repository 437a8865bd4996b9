"""What a search prints while it runs."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console

from nasflow.cli.progress import LINES_A_SECOND, Live
from nasflow.search.budget import Budget
from nasflow.search.events import Asked, Ended, Event, Failed, Finished, Refused, Started
from nasflow.search.strategy import Result


def shown(events: list[Event]) -> str:
    out = StringIO()
    with Live(Budget(trials=10), Console(file=out, width=200)) as live:
        for event in events:
            live._printed = 0.0  # as if time had passed
            live(event)
    return out.getvalue()


def finished(n: int, reward: float, best: bool) -> Finished:
    return Finished(
        n, {}, Result({"accuracy": reward, "params": 12345}, reward), n + 1, best, 2.0, f"f{n}"
    )


def test_what_is_searched_is_said_once_and_only_when_the_search_begins() -> None:
    out = StringIO()
    with Live(Budget(trials=10), Console(file=out, width=200), "searching a [b]") as live:
        assert not out.getvalue()
        live(Started(Path("run"), 0, 0, "a note"))
        live(Asked(0, {}))
    assert out.getvalue().splitlines() == ["searching a [b]", "a note"]


def test_results_failures_and_refusals_are_a_line_each() -> None:
    text = shown(
        [
            Started(Path("run"), 3, 1),
            Asked(3, {}),
            finished(3, 0.5, best=True),
            Failed(4, {}, "the loss is NaN [in] epoch 1", 5, 1.0),
            Refused(5, {}, "params 9 over the limit 8"),
            Ended("trials: 5 evaluated", 5),
        ]
    )
    assert text.splitlines() == [
        "going on after 3 results, 1 in flight again",
        "    3  accuracy 0.5000  params 12.3k  2.0 s  best so far",
        "    4  failed: the loss is NaN [in] epoch 1",
        "    5  refused: params 9 over the limit 8",
    ]


def test_a_fast_search_prints_the_best_and_a_few_others() -> None:
    out = StringIO()
    with Live(Budget(trials=10), Console(file=out, width=200)) as live:
        for n in range(1000):
            live(finished(n, 0.1, best=n % 100 == 0))
    lines = out.getvalue().splitlines()
    assert sum("best so far" in line for line in lines) == 10
    assert len(lines) < 10 + 10 * LINES_A_SECOND
