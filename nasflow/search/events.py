"""What a running search tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from nasflow.ir import Point
    from nasflow.search.strategy import Result


@dataclass(frozen=True)
class Started:
    """The loop begins; after a resume `evaluated` results are there already and `reissued` proposals come first.

    `note` says how much of the space is within hard limits, where there are any.
    """

    out: Path
    evaluated: int
    reissued: int
    note: str = ""


@dataclass(frozen=True)
class Trained:
    """An epoch of training the weights that all candidates share has ended; `measures` has its number from 1."""

    measures: dict[str, float]
    epochs: int


@dataclass(frozen=True)
class Asked:
    """Proposal `n` goes to evaluation."""

    n: int
    point: Point


@dataclass(frozen=True)
class Refused:
    """Proposal `n` breaks a hard limit or cannot be built; nothing was evaluated."""

    n: int
    point: Point
    error: str


@dataclass(frozen=True)
class Finished:
    """Proposal `n` has a result, on disk; `evaluated` counts it, `best` tells whether none is better so far."""

    n: int
    point: Point
    result: Result
    evaluated: int
    best: bool
    seconds: float
    fingerprint: str


@dataclass(frozen=True)
class Failed:
    """Proposal `n` failed, for the reason in `error`, on disk; `evaluated` counts it."""

    n: int
    point: Point
    error: str
    evaluated: int
    seconds: float


@dataclass(frozen=True)
class Ended:
    """The search is over; `reason` begins with trials, seconds, target or exhausted."""

    reason: str
    evaluated: int


Event = Trained | Started | Asked | Refused | Finished | Failed | Ended
Observer = Callable[[Event], None]
