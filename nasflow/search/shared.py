"""Have the weights that candidates share trained before any of them is judged."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasflow.discovery import find
from nasflow.errors import ConfigError
from nasflow.search.events import Observer, Trained
from nasflow.search.executors import Place
from nasflow.search.executors.cluster import connected, far
from nasflow.search.job import Evaluate, construct
from nasflow.search.strategy import Strategy

WEIGHTS = Path("supernet") / "weights.safetensors"
Spec = Mapping[str, Any]


def shares(evaluator: Any) -> bool:
    """Tell whether an evaluator of that configuration, or a part of it, judges by weights that candidates share."""
    return _itself(evaluator) or any(map(shares, _parts(evaluator).values()))


def _itself(evaluator: Any) -> bool:
    target = evaluator.get("_target_", "") if isinstance(evaluator, Mapping) else ""
    return "." in target and hasattr(find("evaluator", target), "prepare")


def _parts(evaluator: Any) -> Mapping[str, Any]:
    """Return the evaluators that one asks together, as configuration."""
    parts = evaluator.get("evaluators") if isinstance(evaluator, Mapping) else None
    return parts if isinstance(parts, Mapping) else {}


def _sharing(evaluate: Any, spec: Any) -> tuple[Any, Any]:
    """Return the part of an evaluator that trains weights, and its configuration; None where there is none."""
    if hasattr(evaluate, "prepare"):
        return evaluate, spec
    specs = _parts(spec)
    for name, part in getattr(evaluate, "evaluators", {}).items():
        found = _sharing(part, specs.get(name))
        if found[0] is not None:
            return found
    return None, None


def wired(evaluator: Any, space: Spec | None, folder: Path | None = None) -> Any:
    """Return an evaluator's configuration with the run's space, and the weights in its folder if given."""
    if not shares(evaluator):
        return evaluator
    if not _itself(evaluator):
        inner = {name: wired(part, space, folder) for name, part in _parts(evaluator).items()}
        return {**evaluator, "evaluators": inner}
    own = evaluator.get("space")
    if not isinstance(own, Mapping | None):
        raise ConfigError(
            f"evaluator.space: expected a space's name and settings, or null for the run's, got {own!r}"
        )
    known = dict(own or space or {})
    if "_target_" in known:  # settings, which are not to be built before a worker needs them
        known["name"] = known.pop("_target_")
    found = {**evaluator, "space": known or None}
    if folder is not None and not found.get("weights"):
        found["weights"] = str(folder.absolute() / WEIGHTS)
    return found


def built(evaluator: Any, space: Spec | None) -> Evaluate | None:
    """Return the evaluator if it shares weights, for this process to train and to hand on; else None."""
    evaluate: Evaluate | None = construct(wired(evaluator, space)) if shares(evaluator) else None
    return evaluate


def recall(evaluate: Any, strategy: Strategy, folder: Path) -> None:
    """Let the strategy have what the training before the search taught it, where there is something.

    A resumed run needs it before what the strategy proposed is checked.
    """
    part, _ = _sharing(evaluate, None)
    if hasattr(part, "recall"):
        part.recall(strategy, folder)


def prepare(
    evaluate: Any,
    strategy: Strategy,
    plan: Spec,
    place: Place,
    folder: Path,
    observer: Observer,
) -> None:
    """Train the weights along the strategy's paths, where the evaluator has none yet.

    On a cluster, or where several processes train together, this happens on Ray.
    """
    part, settings = _sharing(evaluate, wired(plan["evaluator"], plan["space"]))
    if part is None:
        return
    with contextlib.ExitStack() as stack:
        if place.name != "inline" and (far(place) or part.together):
            stack.enter_context(connected(place))
        part.prepare(
            strategy,
            folder.absolute(),
            int(plan["seed"]),
            lambda measures: observer(Trained(dict(measures), part.recipe.epochs)),
            {**plan, "evaluator": settings},
        )
