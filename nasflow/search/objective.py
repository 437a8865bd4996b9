"""Turn what was measured into what is searched for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from nasflow.errors import ConfigError, RunError, nearest
from nasflow.search.strategy import Result

if TYPE_CHECKING:
    from nasflow.evaluate.latency_table import LatencyTable
    from nasflow.ir import Graph

Goal = Literal["max", "min"]
EXACT = ("params", "macs", "activations", "peak_memory", "depth", "receptive_field")
LATENCY = "latency_ms"  # known before training where there is a table to predict it from


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
class Prediction:
    """Say what latency is predicted from: the file that `nasflow profile` wrote.

    A table of another machine is refused unless `any_machine` says that it is meant.
    """

    table: str | None = None
    any_machine: bool = False


@dataclass(frozen=True)
class Objective:
    """Say what is searched for: measures with their goals, a soft target, hard limits.

    `measures` maps a measure to ``"max"`` or ``"min"``. The reward that strategies maximise is the first one (negated
    where it is minimised), weighed by `soft` where given; with several, the result also carries the whole vector and
    the run has a Pareto front. `limits` are upper bounds on exact costs (params, macs, ...) in their units, checked
    before anything is trained. With a table in `latency` the measure ``latency_ms`` is predicted, and may be limited
    too; where the evaluator measures it as well, that stands, and the prediction is ``predicted_ms``.
    `reference` gives the hypervolume's corner, a value for each measure in its own unit; by default it is the worst
    of each among the run's results.
    """

    measures: Mapping[str, Goal] = field(default_factory=lambda: {"accuracy": "max"})
    soft: Soft | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    latency: Prediction = field(default_factory=Prediction)
    reference: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for field_name in ("measures", "limits", "reference"):
            value = getattr(self, field_name)
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"objective.{field_name}: expected a value by measure, such as "
                    f"objective.{field_name}.macs=..., got {value!r}"
                )
        if not self.measures:
            raise ConfigError("objective.measures: expected at least one measure, got none")
        for name, goal in self.measures.items():
            if goal not in ("max", "min"):
                raise ConfigError(f"objective.measures.{name}: expected max or min, got {goal!r}")
        self._check_limits()
        if self.soft and next(iter(self.measures.values())) != "max":
            raise ConfigError("objective.soft: expected the first measure to be maximised, got min")
        if self.reference and {*self.reference} != {*self.measures}:
            raise ConfigError(
                f"objective.reference: expected a value for each of {', '.join(self.measures)}, "
                f"got {', '.join(self.reference)}"
            )

    def _check_limits(self) -> None:
        for name, bound in self.limits.items():
            if name == LATENCY and not self.latency.table:
                raise ConfigError(
                    "objective.limits.latency_ms: latency is known before training from a table only: set "
                    "latency.table=FILE; `python -m nasflow profile table=FILE space=...` makes one"
                )
            if name not in (*EXACT, LATENCY):
                raise ConfigError(
                    f"objective.limits: {name!r} is not known before training{nearest(name, (*EXACT, LATENCY))}; "
                    f"there are: {', '.join(EXACT)}, and {LATENCY} with latency.table"
                )
            if not isinstance(bound, int | float) or not bound > 0:
                raise ConfigError(
                    f"objective.limits.{name}: expected a positive number, got {bound!r}"
                )

    @cached_property
    def table(self) -> LatencyTable | None:
        """Return the table that latency is predicted from; raises ConfigError for one that cannot serve."""
        from nasflow.evaluate import latency_table

        if not self.latency.table:
            return None
        return latency_table.read(self.latency.table, any_machine=self.latency.any_machine)

    @property
    def needed(self) -> tuple[str, ...]:
        """Name the measures a result must hold."""
        return (*self.measures, *((self.soft.cost,) if self.soft else ()))

    @property
    def costs_named(self) -> tuple[str, ...]:
        """Name what the limits and the reward need that follows from the graph alone."""
        known = (*EXACT, LATENCY) if self.latency.table else EXACT
        return tuple(name for name in known if name in {*self.limits, *self.needed})

    def costs(self, graph: Graph) -> dict[str, float]:
        """Count, or predict, the costs that the limits and the reward name.

        Raises RunError where the table of latencies lacks an operation.
        """
        cost = graph.cost()
        found = {name: getattr(cost, name) for name in self.costs_named if name != LATENCY}
        if LATENCY in self.costs_named and self.table:
            found[LATENCY] = self.table.predict(graph)
        return found

    def complete(self, measures: Mapping[str, float], graph: Graph) -> dict[str, float]:
        """Return measures with the costs that the reward needs."""
        found = {**measures, **(self.costs(graph) if self.costs_named else {})}
        if LATENCY in measures and found[LATENCY] != measures[LATENCY]:
            found |= {"predicted_ms": found[LATENCY], LATENCY: measures[LATENCY]}
        return found

    def refusal(self, costs: Mapping[str, float]) -> str | None:
        """Say in one line which hard limits are broken; None where all hold."""
        broken = [
            f"{name} {costs[name]:,.10g} over the limit {bound:,.10g}"
            for name, bound in self.limits.items()
            if costs[name] > bound
        ]
        return "; ".join(broken) or None

    def excess(self, costs: Mapping[str, float]) -> float:
        """Return how far costs are beyond the limits, as the sum of the logarithms of their ratios; 0 within."""
        return sum(
            math.log(costs[name] / bound)
            for name, bound in self.limits.items()
            if costs[name] > bound
        )

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
    Raises ConfigError for an unknown field, with the nearest valid one, and for a table that cannot serve.
    """
    data = {name: value for name, value in spec.items() if value is not None}
    if "measure" in data:
        data["measures"] = {data.pop("measure"): data.pop("goal", "max")}
    _known(data, Objective, "objective")
    if "latency" in data:
        _known(data["latency"], Prediction, "latency")
        data["latency"] = Prediction(**data["latency"])
    if "soft" in data:
        _known(data["soft"], Soft, "objective.soft")
        data["soft"] = Soft(**data["soft"])
    made = Objective(**data)
    _ = made.table  # one that cannot serve is refused before anything is written
    return made


def describe(objective: Objective) -> dict[str, Any]:
    """Return the configuration that `create` reads back, as JSON."""
    soft = objective.soft and {f.name: getattr(objective.soft, f.name) for f in fields(Soft)}
    return {
        "measures": dict(objective.measures),
        "soft": soft,
        "limits": dict(objective.limits),
        "latency": asdict(objective.latency),
        "reference": dict(objective.reference),
    }


def _known(data: Mapping[str, Any], kind: type, where: str) -> None:
    names = [f.name for f in fields(kind)]
    for name in data:
        if name not in names:
            raise ConfigError(
                f"{where} has no field {name!r}{nearest(name, names)}; it has: {', '.join(names)}"
            )
