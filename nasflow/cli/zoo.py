"""List every named model with its input, parameters and multiply-adds.

    python -m nasflow zoo match='resnet*'
    python -m nasflow zoo format=csv > models.csv

One MAC is one multiply-add; most papers' "FLOPs" are these. Nothing is run: the counts follow from the graph.
"""

from __future__ import annotations

import csv
import fnmatch
import gc
import json
import multiprocessing
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from nasflow import discovery
from nasflow.cli.table import table
from nasflow.cores import cores
from nasflow.errors import ConfigError, nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from nasflow.ir import Graph, Model

COLUMNS = ("model", "space", "input", "params", "macs")
FORMATS = ("table", "csv", "json")
SHARE: Final = 32
"""Least number of models for which a further process is worth its start."""
Row = tuple[str, str, str, int, int]


def run(config: DictConfig) -> int:
    """Print the models whose names match."""
    if config.format not in FORMATS:
        raise ConfigError(
            f"format {config.format!r}{nearest(str(config.format), FORMATS)}: expected one of {', '.join(FORMATS)}"
        )
    models = discovery.models()
    chosen = [name for name in models if fnmatch.fnmatchcase(name, str(config.match))]
    if not chosen:
        raise ConfigError(
            f"no model matches {config.match!r}{nearest(str(config.match), models)}; there are {len(models)}"
        )
    gc.disable()  # looking for cycles among what is built would take a third of the time
    rows = _rows([(name, *models[name]) for name in chosen])
    gc.freeze()  # nor when the process ends
    gc.enable()
    if config.format == "json":
        entries = [
            {**dict(zip(COLUMNS, row, strict=True)), **_origin(models[row[0]][1])} for row in rows
        ]
        print(json.dumps(entries, indent=1))
    elif config.format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([COLUMNS, *rows])
    else:
        print(table(COLUMNS, rows))
    return 0


def _rows(models: Sequence[tuple[str, str, Model]]) -> list[Row]:
    """Return the models' rows in their order, from as many processes as cores where there are many."""
    processes = min(cores(), len(models) // SHARE)
    if processes < 2:
        return [_row(*model) for model in models]
    with multiprocessing.Pool(processes) as pool:
        return pool.starmap(_row, models, chunksize=SHARE // 4)


def _row(name: str, space: str, entry: Model) -> Row:
    graph = discovery.bind(space, entry)
    cost = graph.cost()
    return name, space, shapes(graph), cost.params, cost.macs


def _origin(entry: Model) -> dict[str, object]:
    return {"source": entry.source, "reconstructed": entry.reconstructed, "note": entry.note}


def shapes(graph: Graph) -> str:
    """Return the input shapes as text: ``3x224x224``, several joined by ``+``."""
    return "+".join("x".join(str(size) for size in type.shape) for type in graph.inputs)
