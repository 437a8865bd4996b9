"""Have the weights that candidates share trained before any of them is judged."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasflow.discovery import find
from nasflow.search.events import Observer, Trained
from nasflow.search.executors import Place
from nasflow.search.executors.cluster import connected, far
from nasflow.search.job import Evaluate, construct
from nasflow.search.strategy import Strategy

WEIGHTS = Path("supernet") / "weights.safetensors"
Spec = Mapping[str, Any]


def shares(evaluator: Any) -> bool:
    """Tell whether an evaluator of that configuration judges by weights that candidates share."""
    target = evaluator.get("_target_", "") if isinstance(evaluator, Mapping) else ""
    return "." in target and hasattr(find("evaluator", target), "prepare")


def wired(evaluator: Any, space: Spec | None, folder: Path | None = None) -> Any:
    """Return an evaluator's configuration with the run's space, and the weights in its folder if given."""
    if not shares(evaluator):
        return evaluator
    known = dict(evaluator.get("space") or space or {})
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
    if hasattr(evaluate, "recall"):
        evaluate.recall(strategy, folder)


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
    if not hasattr(evaluate, "prepare"):
        return
    spec = {**plan, "evaluator": wired(plan["evaluator"], plan["space"])}
    with contextlib.ExitStack() as stack:
        if place.name != "inline" and (far(place) or evaluate.together):
            stack.enter_context(connected(place))
        evaluate.prepare(
            strategy,
            folder.absolute(),
            int(plan["seed"]),
            lambda measures: observer(Trained(dict(measures), evaluate.recipe.epochs)),
            spec,
        )
