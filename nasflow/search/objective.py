"""Turn what was measured into what is searched for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from nasflow.errors import ConfigError, RunError, nearest
from nasflow.search.strategy import Result

if TYPE_CHECKING:
    from nasflow.ir.cost import Cost

Goal = Literal["max", "min"]
EXACT = ("params", "macs", "activations", "peak_memory", "depth", "receptive_field")


@dataclass(frozen=True)
class Soft:
    """Trade a measure against a cost with a soft target, as MnasNet does.

    The reward is measure * (cost / target) ** w, with w = `alpha` where the cost meets the target and `beta` where
    it does not. Defaults are the paper's soft constraint, -0.07 for both; (0, -1) is its hard one
    (Tan et al., 2019, "MnasNet", equations 2 and 3).
    """

    cost: str
    target: float
    alpha: float = -0.07
    beta: float = -0.07

    def __post_init__(self) -> None:
        if not self.target > 0:
            raise ConfigError(
                f"objective.soft.target: expected a positive number, got {self.target!r}"
            )

    def weigh(self, value: float, cost: float) -> float:
        """Return the reward of a measure `value` at `cost`, both in their own units."""
        exponent = self.alpha if cost <= self.target else self.beta
        if cost <= 0:
            cost = math.ulp(0.0) if exponent < 0 else 0.0
        return float(value * (cost / self.target) ** exponent)


@dataclass(frozen=True)
class Objective:
    """Say what is searched for: measures with their goals, a soft target, hard limits.

    `measures` maps a measure to ``"max"`` or ``"min"``. The reward that strategies maximise is the first one (negated
    where it is minimised), weighed by `soft` where given; with several, the result also carries the whole vector and
    the run has a Pareto front. `limits` are upper bounds on exact costs (params, macs, ...) in their units, checked
    before anything is trained.
    """

    measures: Mapping[str, Goal] = field(default_factory=lambda: {"accuracy": "max"})
    soft: Soft | None = None
    limits: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.measures:
            raise ConfigError("objective.measures: expected at least one measure, got none")
        for name, goal in self.measures.items():
            if goal not in ("max", "min"):
                raise ConfigError(f"objective.measures.{name}: expected max or min, got {goal!r}")
        for name, bound in self.limits.items():
            if name not in EXACT:
                raise ConfigError(
                    f"objective.limits: {name!r} is not known before training{nearest(name, EXACT)}; "
                    f"there are: {', '.join(EXACT)}"
                )
            if not isinstance(bound, int | float) or not bound > 0:
                raise ConfigError(
                    f"objective.limits.{name}: expected a positive number, got {bound!r}"
                )
        if self.soft and next(iter(self.measures.values())) != "max":
            raise ConfigError("objective.soft: expected the first measure to be maximised, got min")

    @property
    def needed(self) -> tuple[str, ...]:
        """Name the measures a result must hold."""
        return (*self.measures, *((self.soft.cost,) if self.soft else ()))

    @property
    def needs_cost(self) -> bool:
        """Tell whether exact costs must be computed for each candidate."""
        return bool(self.limits) or any(name in EXACT for name in self.needed)

    def costs(self, cost: Cost) -> dict[str, float]:
        """Pick the exact costs that the limits and the reward name."""
        names = {*self.limits, *(name for name in self.needed if name in EXACT)}
        return {name: getattr(cost, name) for name in EXACT if name in names}

    def refusal(self, costs: Mapping[str, float]) -> str | None:
        """Say in one line which hard limits are broken; None where all hold."""
        broken = [
            f"{n} {costs[n]:,} over the limit {b:,}" for n, b in self.limits.items() if costs[n] > b
        ]
        return "; ".join(broken) or None

    def result(self, measures: Mapping[str, float]) -> Result:
        """Give measures their reward; one that is not finite makes a failed result.

        Raises RunError where the evaluator does not measure what is asked for.
        """
        for name in self.needed:
            if name not in measures:
                raise RunError(
                    f"objective needs the measure {name!r}, which the evaluator does not give"
                    f"{nearest(name, measures)}; it gives: {', '.join(measures) or 'none'}; "
                    "set objective.measures={name: max} or {name: min}"
                )
        finite = {name: value for name, value in measures.items() if math.isfinite(value)}
        for name in self.needed:
            if name not in finite:
                return Result(finite, error=f"{name} is {measures[name]}")
        values = [
            finite[name] * (1 if goal == "max" else -1) for name, goal in self.measures.items()
        ]
        if self.soft:
            values[0] = self.soft.weigh(values[0], finite[self.soft.cost])
        if not math.isfinite(values[0]):
            return Result(finite, error=f"the reward is {values[0]}")
        return Result(finite, reward=values[0], values=tuple(values))


def create(spec: Mapping[str, Any]) -> Objective:
    """Read an objective from configuration: the fields of `Objective`, `soft` as a mapping of those of `Soft`.

    A single measure may be given as ``{"measure": "accuracy", "goal": "max"}``.
    Raises ConfigError for an unknown field, with the nearest valid one.
    """
    data = {name: value for name, value in spec.items() if value is not None}
    if "measure" in data:
        data["measures"] = {data.pop("measure"): data.pop("goal", "max")}
    _known(data, Objective, "objective")
    if "soft" in data:
        _known(data["soft"], Soft, "objective.soft")
        data["soft"] = Soft(**data["soft"])
    return Objective(**data)


def describe(objective: Objective) -> dict[str, Any]:
    """Return the configuration that `create` reads back, as JSON."""
    soft = objective.soft and {f.name: getattr(objective.soft, f.name) for f in fields(Soft)}
    return {"measures": dict(objective.measures), "soft": soft, "limits": dict(objective.limits)}


def _known(data: Mapping[str, Any], kind: type, where: str) -> None:
    names = [f.name for f in fields(kind)]
    for name in data:
        if name not in names:
            raise ConfigError(
                f"{where} has no field {name!r}{nearest(name, names)}; it has: {', '.join(names)}"
            )
