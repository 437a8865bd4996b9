"""The network a command is about: a named model, a stored graph, or one found by a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasflow import discovery
from nasflow.cli.files import named, read_run
from nasflow.errors import ConfigError, GraphError, RunError, nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from nasflow.ir import Graph, Point, Space
    from nasflow.search.results import Run

LARGEST_FILE = 64 * 2**20  # bytes of a graph.json; what it may hold is bounded by `Graph.from_json`
Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """A network, what to call it, and what is known of it."""

    name: str
    graph: Graph
    point: Point | None = None
    measures: dict[str, float] | None = None
    weights: Path | None = None


def found(config: DictConfig, follow: Spec | None = None) -> Found:
    """Return the network that ``model=`` or ``run=`` with ``rank=`` names; exactly one must be given.

    ``point`` and ``settings`` change it; `follow` are settings of its space to use where it has them and
    ``settings`` does not say otherwise. Raises a NasflowError for anything that does not exist or fit.
    """
    from nasflow.cli.configuration import plain

    if (config.model is None) == (config.run is None):
        raise ConfigError("say which network: model=NAME, model=PATH.json, or run=FOLDER rank=1")
    point, settings = plain(config.point), plain(config.settings)
    if config.run is not None:
        run = read_run(config.run)
        return found_in(run, config.rank, point, {**(follow or {}), **settings})
    model = str(config.model)
    if not model.endswith(".json"):
        return _named(model, point, settings, follow or {})
    if point or settings:
        raise ConfigError("a stored graph has no decisions left: leave point and settings out")
    return Found(Path(model).stem, read_graph(Path(model).expanduser()))


def found_in(run: Run, rank: int, point: Spec | None = None, settings: Spec | None = None) -> Found:
    """Return the network of that rank in a run, with its trained weights where the run kept them.

    With `point` or `settings` given it is another network, without weights and measures.
    """
    entry = run.rank(rank)
    name = f"{run.out.resolve().name}, rank {rank}"
    space = space_of(run, settings)
    graph = space.bind({**entry.point, **(point or {})})
    if graph.fingerprint != entry.fingerprint:
        return Found(f"{name}, changed", graph, space.complete({**entry.point, **(point or {})}))
    weights = run.out / "weights" / f"{entry.fingerprint}.safetensors"
    kept = weights if weights.is_file() else None
    return Found(name, graph, entry.point, entry.result.measures, kept)


def space_of(run: Run, settings: Spec | None = None) -> Space:
    """Return the space that a run searches, its settings changed where `settings` has one of them.

    Raises RunError for a run that began with a space object of its own.
    """
    spec = run.plan.get("space")
    if spec is None:
        raise RunError(
            f"{named(run.out)}: this run searches a space made in a program; only that program can bind its points"
        )
    return discovery.space_from({**spec, **(settings or {})})


def _named(model: str, point: Spec, settings: Spec, follow: Spec) -> Found:
    models = discovery.models()
    if model not in models:
        raise ConfigError(
            f"unknown model {model!r}{nearest(model, models)}; `nasflow zoo` lists all {len(models)}"
        )
    family, entry = models[model]
    known = discovery.parameters(discovery.find("space", family))
    following = {key: value for key, value in follow.items() if known is None or key in known}
    space = discovery.space(family, **{**entry.settings, **following, **settings})
    whole = {**entry.point, **point}
    return Found(model, space.bind(whole), space.complete(whole))


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
