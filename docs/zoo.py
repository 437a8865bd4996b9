"""Write docs/zoo.md, every named model with exact counts beside the figures that are printed of it, and
docs/blocks/, a picture of the block that each family is made of.

    python docs/zoo.py

printed_figures.csv holds the figures as papers and their tables print them, several joined by ";", and why they
differ from what is counted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from nasflow import discovery
from nasflow.cli.zoo import shapes
from nasflow.report.picture import main_block

PRINTED = Path(__file__).with_name("printed_figures.csv")
PAGE = Path(__file__).with_name("zoo.md")
BLOCKS = Path(__file__).with_name("blocks")
HEAD = """\
# The zoo

Every named model, its exact parameters and multiply-adds (MACs) as nasflow counts them from the graph, and
beside them what papers print. 1 MAC is one multiply-add of a convolution, linear map, matrix product or
attention; what most tables call FLOPs is MACs. A model marked *reconstructed* is a point that meets the
printed figures where no published text or code fixes the network. Numbered notes follow each table. Under
each family is a picture of the block that most of its first model's parameters are in.

This page and its pictures are written by `python docs/zoo.py`.
"""


def page() -> str:
    """Return the page as Markdown."""
    with PRINTED.open(encoding="utf-8", newline="") as file:
        printed = {row["model"]: row for row in csv.DictReader(file)}
    models = discovery.models()
    families: dict[str, list[str]] = {}
    for name, (family, _) in models.items():
        families.setdefault(family, []).append(name)
    parts = [HEAD, *(_section(family, names, printed) for family, names in families.items())]
    return "\n".join(parts)


def pictures() -> dict[str, str]:
    """Return for each family an SVG of the block that its first model is made of."""
    found: dict[str, str] = {}
    for family, entry in discovery.models().values():
        if family not in found:
            found[family] = main_block(discovery.bind(family, entry))
    return found


def _section(family: str, names: list[str], printed: dict[str, dict[str, str]]) -> str:
    models = discovery.models()
    notes: list[str] = []
    lines = [
        f"## {family}\n",
        "| model | input | parameters | MACs | printed parameters | printed MACs | source |",
        "|---|---|--:|--:|---|---|---|",
    ]
    for name in names:
        entry = models[name][1]
        graph = discovery.bind(family, entry)
        figures = printed.get(name, {"params": "", "macs": "", "why": ""})
        marks = _marks((entry.note, figures["why"] or ""), entry.reconstructed, notes)
        cells = (
            f"`{name}`{marks}", shapes(graph), f"{graph.params:,}", f"{graph.macs:,}",
            figures["params"], figures["macs"], entry.source,
        )  # fmt: skip
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    block = f"![the block of {family}](blocks/{family}.svg)\n"
    return "\n".join([*lines, "", *_numbered(notes), block])


def _marks(told: tuple[str, ...], reconstructed: bool, notes: list[str]) -> str:
    """Return the marks after a model's name; what is told of it for the first time joins the section's notes."""
    told = tuple(filter(None, told))
    notes += [note for note in told if note not in notes]
    numbers = ", ".join(str(notes.index(note) + 1) for note in told)
    marks = [f"<sup>{numbers}</sup>"] if numbers else []
    return "".join([*marks, " *reconstructed*" if reconstructed else ""])


def _numbered(notes: list[str]) -> Iterator[str]:
    for number, note in enumerate(notes, 1):
        yield f"{number}. {note[0].upper()}{note[1:].rstrip('.')}."
    if notes:
        yield ""


if __name__ == "__main__":
    BLOCKS.mkdir(exist_ok=True)
    for family, drawing in pictures().items():
        BLOCKS.joinpath(f"{family}.svg").write_text(drawing, encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
