"""The network a command is about: a named model, a stored graph, or one found by a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasflow import discovery
from nasflow.errors import ConfigError, GraphError, RunError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from nasflow.ir import Graph, Point, Space
    from nasflow.search.results import Run

LARGEST_FILE = 64 * 2**20  # bytes of a graph.json; what it may hold is bounded by `Graph.from_json`


@dataclass(frozen=True)
class Found:
    """A network, what to call it, and what is known of it."""

    name: str
    graph: Graph
    point: Point | None = None
    measures: dict[str, float] | None = None
    weights: Path | None = None


def found(config: DictConfig) -> Found:
    """Return the network that ``model=`` or ``run=`` with ``rank=`` names; exactly one of the two must be given."""
    if (config.model is None) == (config.run is None):
        raise ConfigError("say which network: model=NAME, model=PATH.json, or run=FOLDER rank=1")
    if config.run is not None:
        return _of_run(Path(str(config.run)).expanduser(), config.rank)
    model = str(config.model)
    if model.endswith(".json"):
        return Found(Path(model).stem, read_graph(Path(model).expanduser()))
    return Found(model, discovery.model(model))


def read_graph(path: Path) -> Graph:
    """Read and validate a graph.json, which may come from a stranger."""
    from nasflow.ir import Graph

    try:
        if path.stat().st_size > LARGEST_FILE:
            raise GraphError(f"{path}: larger than {LARGEST_FILE:,} bytes, which no network needs")
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GraphError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise GraphError(f"{path}: is not JSON: {error}") from error
    try:
        return Graph.from_json(data)
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from error


def _of_run(folder: Path, rank: int) -> Found:
    from nasflow.search import results

    run = results.load(folder)
    entry = run.rank(rank)
    weights = folder / "weights" / f"{entry.fingerprint}.safetensors"
    return Found(
        f"{folder.resolve().name}, rank {rank}",
        space_of(run).bind(entry.point),
        entry.point,
        entry.result.measures,
        weights if weights.is_file() else None,
    )


def space_of(run: Run) -> Space:
    """Return the space that a run searches; raises RunError for a run that began with an object of its own."""
    spec = run.plan.get("space")
    if spec is None:
        raise RunError(
            f"{run.out}: this run searches a space made in a program; only that program can bind its points"
        )
    settings = {key: value for key, value in spec.items() if key not in ("name", "_target_")}
    return discovery.space(spec.get("_target_") or spec["name"], **settings)
