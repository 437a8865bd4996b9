"""The zoo's page is what the code says now."""

from __future__ import annotations

import csv
import importlib.util
import re
from collections.abc import Iterator
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


UNITS = {"M": 1e6, "B": 1e9, "G": 1e9}


def figures(text: str, unit: str) -> Iterator[tuple[float, float]]:
    """Read "11.7 M; 12" as numbers and half of their last digit; without a unit they are in ``unit``."""
    for part in text.split(";"):
        found = re.fullmatch(
            r"\s*([\d,]+)(\.\d+)?\s*([MBG]?)( (GFLOPs|FLOPs|MACs|Multi-Adds).*)?", part
        )
        if found:
            whole, fraction, written = found[1], found[2] or "", found[3]
            scale = UNITS[written or unit]
            digits = max(len(fraction) - 1, 0)
            yield float(whole.replace(",", "") + fraction) * scale, 0.5 * scale / 10**digits


def test_printed_figures_are_of_distinct_models() -> None:
    with (DOCS / "printed_figures.csv").open(encoding="utf-8", newline="") as file:
        names = [row["model"] for row in csv.DictReader(file)]
    assert len(set(names)) == len(names)


def test_what_differs_from_print_is_explained() -> None:
    """Beyond rounding and one per cent, a line says which is right and why."""
    seen, silent = 0, []
    for line in (DOCS / "zoo.md").read_text(encoding="utf-8").splitlines():
        if not line.startswith("| `"):
            continue
        name, _, params, macs, *printed_ones, _ = [cell.strip() for cell in line[1:-1].split("|")]
        told = "<sup>" in name
        for unit, counted, text in zip("MG", (params, macs), printed_ones, strict=True):
            for number, rounding in figures(text, unit):
                seen += 1
                off = abs(int(counted.replace(",", "")) - number)
                if off > rounding + 0.01 * number and not told:
                    silent.append(f"{name}: {counted}, printed {text}")
    assert seen > 250 and not silent
