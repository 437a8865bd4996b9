"""Keep the trained weights of a run's best networks, and only those."""

from __future__ import annotations

import contextlib
import heapq
import math
from pathlib import Path
from typing import Any

from nasflow.cli.source import space_of
from nasflow.discovery import find
from nasflow.search import results
from nasflow.search.events import Event, Finished, Observer, Started
from nasflow.search.results import Run
from nasflow.search.strategy import Result, create

FOLDER = "weights"
KEPT = 10  # networks


def kept_in(evaluator: Any, folder: Path) -> Any:
    """Return an evaluator's configuration in which every part that can keep weights keeps them in `folder`."""
    if not isinstance(evaluator, dict):
        return evaluator
    inner = {key: kept_in(value, folder) for key, value in evaluator.items()}
    if "_target_" in inner and "keep" in inner and inner["keep"] is None:
        inner["keep"] = str(folder.absolute() / FOLDER)
    return inner


def _keeps(evaluator: Any) -> bool:
    """Tell whether some part of an evaluator keeps weights."""
    return isinstance(evaluator, dict) and bool(
        evaluator.get("keep") or any(_keeps(value) for value in evaluator.values())
    )


class Best:
    """Observe a search before `observer` does, and remove the weights of networks that are no longer among the best.

    Those are the ten of the highest reward, and the best under each of the strategy's budgets if it has some.
    """

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.folder = Path()
        self.best: list[tuple[float, int, str]] = []  # reward, later proposals first, fingerprint
        self.cost = ""
        self.budgets: tuple[float, ...] = ()
        self.under: dict[float, tuple[float, float, int, str]] = {}  # reward, less cost, as above

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        if isinstance(event, Started):
            self._begin(event.out)
        elif isinstance(event, Finished):
            self._add(event.result, event.n, event.fingerprint)
        self.observer(event)

    def _begin(self, out: Path) -> None:
        self.folder = out / FOLDER
        run = results.load(out)
        if not _keeps(run.plan["evaluator"]):
            return
        self.folder.mkdir(exist_ok=True)
        self.cost, self.budgets = budgets_of(run)
        for entry in run.entries:
            self._add(entry.result, entry.n, entry.fingerprint)

    def _add(self, result: Result, n: int, fingerprint: str) -> None:
        if result.reward is None:
            return
        before = self._names() | {fingerprint}
        self.best = heapq.nlargest(KEPT, [*self.best, (result.reward, -n, fingerprint)])
        cost = result.measures.get(self.cost, math.inf)
        for budget in self.budgets:
            if cost <= budget:
                new = (result.reward, -cost, -n, fingerprint)
                self.under[budget] = max(self.under.get(budget, new), new)
        for name in before - self._names():
            with contextlib.suppress(OSError):
                (self.folder / f"{name}.safetensors").unlink()

    def _names(self) -> set[str]:
        ranked = {name for _, _, name in self.best}
        return ranked | {name for _, _, _, name in self.under.values()}


def budgets_of(run: Run) -> tuple[str, tuple[float, ...]]:
    """Return the cost that the budgets of a run's strategy bound, and those; none where it has none."""
    spec = run.plan["strategy"]
    if spec is None or not hasattr(
        find("strategy", spec.get("_target_") or spec["name"]), "budgets"
    ):
        return "", ()
    strategy: Any = create(spec, space_of(run), int(run.plan["seed"]))
    return strategy.cost, tuple(strategy.budgets)
