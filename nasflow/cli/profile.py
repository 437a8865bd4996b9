"""Measure the operations of a space's networks on a device, to predict how long any of them takes.

    python -m nasflow profile device=here space=nasnet table=here.json
    python -m nasflow profile model=[resnet18,mobilenet_v2] table=here.json

Each distinct operation is measured once; run again, only what the table lacks is. A space's classes, channels and size
are those of the data, as in a search: `search latency.table=here.json objective.limits.latency_ms=5` then keeps to it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from nasflow import discovery
from nasflow.cli.configuration import plain, whole
from nasflow.errors import ConfigError, NasflowError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from nasflow.ir import Graph, Space

MOST = 20  # times as many points are looked at as asked for, at most


def run(config: DictConfig) -> int:
    """Complete the table and print what it holds."""
    from nasflow.evaluate.profile import (
        Setting,
        calibrate_with,
        measure_operations,
        missing,
        open_table,
    )

    plan = plain(config)
    setting = Setting(plan["device"], plan["batch"], plan["threads"], plan["repeats"])
    table = open_table(str(plan["table"]), setting)
    graphs = networks(plan)
    wanted = missing(table, graphs)
    kept = graphs[: whole("networks", plan["networks"])]
    del graphs
    measure_operations(table, wanted, setting, say=lambda line: print(line, flush=True))
    calibrate_with(table, kept, setting)
    scale, each = table.calibration
    print(
        f"{len(table.operations):,} operations ({len(wanted):,} new) and {len(table.networks)} whole networks in "
        f"{table.path}\na network takes {scale:.3f} times the sum of its operations and {each:.2f} us for each of them"
    )
    return 0


def networks(plan: dict[str, Any]) -> list[Graph]:
    """Return the networks whose operations are wanted: random ones first, then the extremes of a space.

    Raises ConfigError unless either a space or models are named.
    """
    chosen, models = plan.get("space"), plan["model"]
    if chosen is not None and models is None:
        from nasflow.cli.search import fitted

        space = discovery.space_from(fitted(chosen, plan["data"]))
        return covering(space, whole("points", plan["points"]), whole("seed", plan["seed"]))
    if models is None or chosen is not None:
        raise ConfigError(
            "say what to measure: space=NAME, or model=NAME (model=[A,B] for several)"
        )
    named = [models] if isinstance(models, str) else models
    return [discovery.model(str(name)) for name in named]


def covering(space: Space, points: int, seed: int) -> list[Graph]:
    """Return networks that have, as far as random points tell, every operation of a space.

    Of `points` random ones those that bring an operation that is new, and so on until as many in a row brought
    none; the first 64 in any case, and the extremes and named points.
    """
    rng = random.Random(seed)
    seen: set[Any] = set()
    kept: list[Graph] = []
    idle = drawn = 0
    while idle < points and drawn < MOST * points:
        graph = _bound(space, space.sample(rng))
        drawn += 1
        new = {node.content for _, node, _ in graph.walk()} - seen if graph else set()
        idle = 0 if new else idle + 1
        seen |= new
        if graph and (new or drawn <= 64):
            kept.append(graph)
    extremes = [space.smallest(), space.largest(), *space.points.values()]
    return [*kept, *filter(None, (_bound(space, point) for point in extremes))]


def _bound(space: Space, point: Any) -> Graph | None:
    try:
        return space.bind(point)
    except NasflowError:  # valid decisions that make no network
        return None
