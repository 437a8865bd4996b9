"""Say when a search ends, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from nasflow.errors import ConfigError, nearest


@dataclass(frozen=True)
class Budget:
    """Bound a search by whichever comes first.

    `trials` counts finished evaluations, failed ones too; duplicates and refused candidates cost nothing.
    `seconds` is the time of the run (pauses between a kill and a resume do not count). `target` is a reward that is
    good enough. When time is up or the target is met nothing more is proposed, and what is in flight is finished and
    kept.
    `patience` is how many proposals in a row may bring nothing new (duplicates, over a limit) before the space counts
    as exhausted.
    """

    trials: int | None = None
    seconds: float | None = None
    target: float | None = None
    patience: int = 2000

    def __post_init__(self) -> None:
        for name in ("trials", "patience", "seconds", "target"):
            value = getattr(self, name)
            if value is None and name != "patience":
                continue
            kinds, expected = (
                (int, "whole ") if name in ("trials", "patience") else (int | float, "")
            )
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise ConfigError(f"budget.{name}: expected a {expected}number, got {value!r}")
            if name != "target" and not value > 0:
                raise ConfigError(f"budget.{name}: expected a positive number, got {value!r}")
        if self.trials is None and self.seconds is None and self.target is None:
            raise ConfigError("budget: expected at least one of trials, seconds, target; got none")

    def spent(self, trials: int, elapsed: float, best: float | None) -> str | None:
        """Say in a few words why the search is over; None while it is not."""
        if self.target is not None and best is not None and best >= self.target:
            return f"target: reward {best:.6g} reached {self.target:.6g}"
        if self.trials is not None and trials >= self.trials:
            return f"trials: {trials:,} evaluated"
        if self.seconds is not None and elapsed >= self.seconds:
            return f"seconds: {self.seconds:g} s are over"
        return None


def create(spec: Mapping[str, Any]) -> Budget:
    """Read a budget from configuration; raises ConfigError for an unknown field or a value that is no budget."""
    names = [f.name for f in fields(Budget)]
    for name in spec:
        if name not in names:
            raise ConfigError(
                f"budget has no field {name!r}{nearest(name, names)}; it has: {', '.join(names)}"
            )
    return Budget(**spec)


def describe(budget: Budget) -> dict[str, Any]:
    """Return the configuration that `create` reads back, as JSON."""
    return asdict(budget)
