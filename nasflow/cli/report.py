"""Write one HTML page about a run: history, Pareto front, best networks, failures, why it ended.

    python -m nasflow report run=outputs/...

The page stands alone: it can be mailed, and it can be written while the run goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nasflow.cli.configuration import whole
from nasflow.cli.files import named, read_run, run_folder, target, write
from nasflow.cli.source import space_of

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run(config: DictConfig) -> int:
    """Write the page and print where it is."""
    folder = run_folder(config.run)
    to = folder / "report.html" if config.to is None else target(config.to)
    print(f"wrote {named(write_report(folder, to, whole('best', config.best)))}")
    return 0


def write_report(folder: Path, to: Path, best: int) -> Path:
    """Write the page about the run in `folder` with its `best` networks drawn, and return its path."""
    from omegaconf import OmegaConf

    from nasflow.report.page import page
    from nasflow.search.remarks import remarks

    found = read_run(folder)
    chosen = found.ranked[:best]
    space = space_of(found) if chosen else None
    networks = {entry.n: space.bind(entry.point) for entry in chosen} if space else {}
    said = remarks(found, space) if space else None
    return write(to, page(found, networks, OmegaConf.to_yaml(OmegaConf.create(found.plan)), said))
