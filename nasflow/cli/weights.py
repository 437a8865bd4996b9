"""Keep the trained weights of a run's best networks, and only those."""

from __future__ import annotations

import contextlib
import heapq
from pathlib import Path
from typing import Any

from nasflow.search import results
from nasflow.search.events import Event, Finished, Observer, Started

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
    """Observe a search before `observer` does, and remove the weights of networks that are no longer among the best."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.folder = Path()
        self.best: list[tuple[float, int, str]] = []  # reward, later proposals first, fingerprint

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        if isinstance(event, Started):
            self._begin(event.out)
        elif isinstance(event, Finished) and event.result.reward is not None:
            self._add(event.result.reward, event.n, event.fingerprint)
        self.observer(event)

    def _begin(self, out: Path) -> None:
        self.folder = out / FOLDER
        run = results.load(out)
        if _keeps(run.plan["evaluator"]):
            self.folder.mkdir(exist_ok=True)
        for entry in run.ranked[:KEPT]:
            self._add(entry.result.reward or 0.0, entry.n, entry.fingerprint)

    def _add(self, reward: float, n: int, fingerprint: str) -> None:
        heapq.heappush(self.best, (reward, -n, fingerprint))
        if len(self.best) > KEPT:
            worst = heapq.heappop(self.best)[2]
            with contextlib.suppress(OSError):
                (self.folder / f"{worst}.safetensors").unlink()
