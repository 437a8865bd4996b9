"""The page about a run holds what happened and nothing from elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from nasflow import ir
from nasflow.report.page import page
from nasflow.search.results import Entry, Run
from nasflow.search.strategy import Result


def entry(n: int, accuracy: float | None, macs: float = 1e6, error: str | None = None) -> Entry:
    if accuracy is None:
        return Entry(n, {"width": n}, f"f{n}", Result(error=error))
    measures = {"accuracy": accuracy, "macs": macs}
    return Entry(
        n, {"width": n}, f"f{n}", Result(measures, accuracy, values=(accuracy,)), 1.0, float(n)
    )


class Check(HTMLParser):
    """Count tags and collect what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.fetched += [value or "" for key, value in attrs if key in ("src", "href")]


def test_a_run_with_failures() -> None:
    graph = ir.Space(ir.Linear(2)(ir.Mean()(ir.image(1, 4))), name="net").bind({})
    entries = [
        entry(0, 0.5),
        entry(1, None, error="the loss is <NaN>"),
        entry(2, 0.75, 2e6),
        entry(3, 0.6, 3e6),
    ]
    run = Run(Path("here/run"), {}, entries, refused=2, duplicates=3, reason="trials: 4 evaluated")
    text = page(run, {2: graph}, "seed: 0")
    assert "best reward 0.7500" in text
    assert "trials: 4 evaluated" in text
    assert "the loss is &lt;NaN&gt;" in text
    assert "Pareto front" in text
    check = Check()
    check.feed(text)
    assert (check.fetched, check.scripts) == ([], 0)


def test_a_run_that_has_found_nothing_yet() -> None:
    text = page(Run(Path("run"), {}), {}, "")
    assert "no result yet" in text
    assert "Nothing has been measured" in text


def test_each_further_measure_has_a_picture_of_the_front() -> None:
    measures = {"accuracy": "max", "macs": "min", "peak_memory": "min"}
    rows = [(0.5, 1e6, 10.0), (0.75, 2e6, 20.0), (0.4, 3e6, 5.0), (0.3, 3e6, 30.0)]
    entries = [
        Entry(n, {"width": n}, f"f{n}", Result(dict(zip(measures, row, strict=True)), row[0]))
        for n, row in enumerate(rows)
    ]
    run = Run(Path("here/run"), {"objective": {"measures": measures}}, entries)
    text = page(run, {}, "")
    assert "3 of 4 networks are on the Pareto front" in text
    assert "aria-label='accuracy over macs'" in text
    assert "aria-label='accuracy over peak_memory'" in text
