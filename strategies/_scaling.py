"""Multiply the decisions of a point that stand for depth, width and resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from nasflow import discovery
from nasflow.errors import ConfigError, nearest
from nasflow.ir import Decision, Point, Space

ROLES: dict[str, tuple[str, ...]] = {
    "depth": ("depth_factor", "depth", "*/depth", "*/layers"),
    "width": ("width_factor", "width", "*/width", "*/filters"),
    "resolution": ("resolution_factor", "resolution", "size"),
}
"""Where nothing is named, the first of these patterns that the point has decisions of."""
MOST = 1024.0  # no factor is larger


class Scaler:
    """Scale a baseline point of a space; each role is a list of names or patterns of its decisions."""

    def __init__(self, space: Space, base: Point, **roles: Sequence[str]) -> None:
        self.space, self.base = space, base
        self.roles = {role: self._found(role, tuple(patterns)) for role, patterns in roles.items()}

    def scaled(self, factors: Sequence[float], phi: float) -> Point:
        """Return the baseline with each role's decisions times its factor to the power of phi.

        Whole numbers of layers are rounded up, everything else goes to the nearest option.
        Raises ConfigError where the space does not go that far.
        """
        point = dict(self.base)
        for (role, decisions), factor in zip(self.roles.items(), factors, strict=True):
            for decision in decisions:
                exact = point[decision.name] * factor**phi
                whole = role == "depth" and all(isinstance(o, int) for o in decision.options)
                wanted = math.ceil(exact - 1e-6) if whole else exact
                if wanted > _reach(decision) * (1 + 1e-6):
                    raise ConfigError(
                        f"compound_scaling: {decision.name} = {wanted:.4g} at phi = {phi:g} is beyond what space "
                        f"{self.space.name!r} offers, {decision.options[-1]}; make phi smaller or the space larger"
                    )
                point[decision.name] = _nearest(decision, wanted)
        return point

    def largest_phi(self, factors: Sequence[float]) -> float:
        """Return the largest phi at which the space still holds the scaled baseline."""
        largest = math.log(MOST, max(*factors, 1.001))
        for decisions, factor in zip(self.roles.values(), factors, strict=True):
            for decision in decisions if factor > 1 else ():
                room = _reach(decision) / self.base[decision.name]  # type: ignore[operator]
                largest = min(largest, math.log(max(room, 1.0), factor))
        return largest + 1e-9

    def _found(self, role: str, patterns: tuple[str, ...]) -> list[Decision]:
        groups = [patterns] if patterns else [(pattern,) for pattern in ROLES[role]]
        for group in groups:
            names = [n for n in self.base if any(fnmatch(n, pattern) for pattern in group)]
            decisions = [self.space.decision(name) for name in names]
            if decisions and all(_is_number(o) for d in decisions for o in d.options):
                return decisions
        listed = ", ".join(patterns or ROLES[role])
        raise ConfigError(
            f"compound_scaling: space {self.space.name!r} has no numeric decision for {role} (looked for {listed}); "
            f"name some with strategy.{role}=[...], or use a space with space.scale"
        )


def baseline_point(space: Space, name: str | None, changes: Mapping[str, Any]) -> Point:
    """Return a named model of the space's family with some decisions changed.

    Without a name it is the family's first model. A value that the space does not offer gives way to
    its first option, as every decision does where the family has no model.
    Raises ConfigError for an unknown name and for a change that the space does not offer.
    """
    models = {
        model: entry.point
        for model, (family, entry) in discovery.models().items()
        if family == space.name
    }
    known: dict[str, Mapping[str, Any]] = {**models, **space.points}
    if name is not None and name not in known:
        listed = ", ".join(known) or "none"
        raise ConfigError(
            f"strategy.baseline: space {space.name!r} has no model {name!r}{nearest(name, known)}; it has: {listed}"
        )
    start = known[name or next(iter(known))] if known else space.smallest()
    for changed in changes:
        space.decision(changed)

    def choose(decision: Decision) -> Any:
        value = changes.get(decision.name, start.get(decision.name))
        return _moved(decision, value, exact=decision.name in changes)

    return space.complete(space.decide(choose))


def _moved(decision: Decision, value: Any, exact: bool) -> Any:
    if value is None:
        return decision.offered[0]
    offered = [o for o in decision.options if o == value and type(o) is type(value)]
    offered = offered or [o for o in decision.options if o == value]
    if offered:
        return offered[0]
    if not exact:
        return decision.offered[0]
    shown = ", ".join(map(str, decision.options[:20]))
    raise ConfigError(f"strategy.point.{decision.name}: expected one of {shown}, got {value!r}")


def _nearest(decision: Decision, value: float) -> Any:
    return min(decision.options, key=lambda option: abs(option - value))  # type: ignore[operator]


def _reach(decision: Decision) -> float:
    """Return the largest number that has a nearest option: half a step beyond the last."""
    options = sorted(decision.options)  # type: ignore[type-var]
    step = options[-1] - options[-2] if len(options) > 1 else 0  # type: ignore[operator]
    whole = all(isinstance(option, int) for option in options)
    return float(options[-1] + (0 if whole else step / 2))  # type: ignore[operator]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
