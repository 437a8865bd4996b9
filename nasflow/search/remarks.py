"""What a strategy has to say at the end of a run, beyond the best network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from nasflow.discovery import find
from nasflow.search.ledger import SNAPSHOT
from nasflow.search.strategy import create

if TYPE_CHECKING:
    from nasflow.ir import Point, Space
    from nasflow.search.results import Run


@dataclass(frozen=True)
class Remarks:
    """Hold sentences, one table, and networks (by a name fit for a folder) to be exported beside the best."""

    text: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    networks: Mapping[str, Point] = field(default_factory=dict)


@runtime_checkable
class Remarking(Protocol):
    """A strategy that searches for more than one network may define this beside the protocol's four methods."""

    def remarks(self) -> Remarks:
        """Say what was found."""


def remarks(run: Run, space: Space) -> Remarks | None:
    """Return what the strategy of a run has to say; None where it says nothing, or where the run has no state yet."""
    spec = run.plan.get("strategy")
    state = run.out / SNAPSHOT
    if not spec or not state.is_file():
        return None
    if not hasattr(find("strategy", spec.get("_target_") or spec["name"]), "remarks"):
        return None
    strategy = create(spec, space, int(run.plan["seed"]))
    stored = json.loads(state.read_text(encoding="utf-8"))["state"]
    strategy.restore(stored["strategy"] if "steered" in stored else stored)
    return strategy.remarks() if isinstance(strategy, Remarking) else None
