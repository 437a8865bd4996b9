"""What a candidate is worth: the protocol, and the evaluators that need no training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from nasflow import discovery
from nasflow.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from nasflow.ir import Space

Report = Callable[[dict[str, float]], None]
"""Takes in measures while a candidate, or what candidates share, is being trained."""

COSTS = ("params", "macs", "activations", "peak_memory", "depth", "receptive_field")


class Network(Protocol):
    """A graph with no decision left, as an evaluator sees it (`nasflow.ir.Graph` is one)."""

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Return the types of the inputs; each has ``shape`` (without the batch) and ``dtype``."""

    @property
    def fingerprint(self) -> str:
        """Return a name equal for equal networks."""

    def cost(self) -> Any:
        """Return exact integers: ``params``, ``macs``, ..."""

    def to_torch(self, seed: int | None = None) -> torch.nn.Module:
        """Return the lowered module with fresh weights drawn from ``seed``."""


class Evaluator(Protocol):
    """Anything that measures a candidate.

    Returns the measures by name (accuracy in [0, 1], params and macs as counts, seconds, ...).
    ``seed`` fixes all randomness; ``report`` receives intermediate measures, so that a scheduler
    may stop the candidate by raising from it. Raises `CandidateError` for a failure that is the
    candidate's own; any other error means that no candidate can be evaluated this way.
    """

    def __call__(
        self, graph: Network, *, seed: int, report: Report | None = None
    ) -> dict[str, float]:
        """Measure ``graph``."""


def cost(graph: Network) -> dict[str, float]:
    """Return what `graph.cost()` counts, by name (see `nasflow.ir` for the units)."""
    counted = graph.cost()
    present = {name: getattr(counted, name, None) for name in COSTS}
    return {name: value for name, value in present.items() if value is not None}


class Cost:
    """Measure only what follows from the graph (COSTS): exactly, and without PyTorch."""

    def __call__(
        self, graph: Network, *, seed: int = 0, report: Report | None = None
    ) -> dict[str, float]:
        """Return the measures of `cost`."""
        return cost(graph)


class Together:
    """Ask several evaluators about one candidate, in their order, and merge what they measure.

    One of them may judge by weights that candidates share: the run trains those first, and hands all the
    evaluators out with them.
    """

    def __init__(self, evaluators: Mapping[str, Evaluator]) -> None:
        self.evaluators = dict(evaluators)
        self._by_point = {
            name for name, e in evaluators.items() if "point" in inspect.signature(e).parameters
        }

    @property
    def portable(self) -> bool:
        """Tell whether copies of this object go to workers, as those of its parts must."""
        return any(getattr(part, "portable", False) for part in self.evaluators.values())

    def __call__(
        self,
        graph: Network,
        *,
        seed: int,
        report: Report | None = None,
        point: Mapping[str, Any] | None = None,
    ) -> dict[str, float]:
        """Return all measures; where two evaluators give one name, the later one's stands."""
        measures: dict[str, float] = {}
        for name, evaluator in self.evaluators.items():
            more: dict[str, Any] = {"point": point} if name in self._by_point else {}
            measures |= evaluator(graph, seed=seed, report=report, **more)
        return measures


def space_of(given: Space | Mapping[str, Any] | None) -> Space:
    """Return the space that an evaluator is given, made where it is one's settings."""
    if given is None:
        raise ConfigError("evaluator.space: expected a space's settings, got none")
    if not isinstance(given, Mapping):
        return given
    return discovery.space_from(given)
