"""The zoo's page is what the code says now."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_the_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("zoo_page", DOCS / "zoo.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (DOCS / "zoo.md").read_text(encoding="utf-8")
    assert module.page() == written, "stale: run `python docs/zoo.py`"
    drawn = {path.stem: path.read_text(encoding="utf-8") for path in module.BLOCKS.glob("*.svg")}
    assert module.pictures() == drawn, "stale: run `python docs/zoo.py`"


def test_printed_figures_are_of_distinct_models() -> None:
    with (DOCS / "printed_figures.csv").open(encoding="utf-8", newline="") as file:
        names = [row["model"] for row in csv.DictReader(file)]
    assert len(set(names)) == len(names)
