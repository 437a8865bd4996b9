"""Scale a baseline in depth, width and resolution together, as EfficientNet was made."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from nasflow import ir
from nasflow.errors import ConfigError
from nasflow.ir import Point, Space
from nasflow.search.remarks import Remarks
from nasflow.search.strategy import Result, create
from strategies._points import key
from strategies._scaling import Scaler, baseline_point

Triple = tuple[float, float, float]  # alpha, beta, gamma
INFEASIBLE = Result(error="alpha * beta^2 * gamma^2 is off its target")
BISECTIONS = 30  # of phi for a budget


class CompoundScaling:
    """Find alpha, beta and gamma at phi = 1, then emit the baseline scaled by their powers.

    Tan & Le, 2019, "EfficientNet", section 3.3: depth grows by alpha^phi, width by beta^phi and
    resolution by gamma^phi, with alpha * beta^2 * gamma^2 near `target`, so that multiply-adds grow
    by about target^phi. Triples of a grid of `step` that meet the target within `tolerance` are tried
    by `search` (a strategy's name, or a mapping with its options), at most `candidates` of them, each
    for its network at phi = 1; `factors` gives the three numbers instead. The best by reward makes
    the family: a network for each of `phis`, and for each budget of `macs` the largest within it.

    `baseline` is a named model of the space's family (the first by default) with the decisions of
    `point` changed; a value that the space does not offer gives way to the first it does. `depth`, `width` and
    `resolution` are names or patterns of the decisions to scale; by default those of `ir.factors`,
    else what the space calls depth (or layers), width and resolution.
    """

    exact_proposals: ClassVar[bool] = True
    """Hard limits refuse proposals, they do not move them: a network near a scaled one is not it."""

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        baseline: str | None = None,
        point: Mapping[str, Any] | None = None,
        depth: tuple[str, ...] = (),
        width: tuple[str, ...] = (),
        resolution: tuple[str, ...] = (),
        search: str | Mapping[str, Any] = "grid",
        step: float = 0.1,
        target: float = 2.0,
        tolerance: float = 0.1,
        candidates: int | None = None,
        factors: tuple[float, ...] = (),
        phis: tuple[float, ...] = (1, 2, 3),
        macs: tuple[float, ...] = (),
    ) -> None:
        self.target, self.tolerance, self.candidates = target, tolerance, candidates
        self.base = baseline_point(space, baseline, point or {})
        self.scaler = Scaler(space, self.base, depth=depth, width=width, resolution=resolution)
        self.base_macs = space.bind(self.base).macs
        self.space, self.phis, self.budgets = space, _phis(phis), self._budgets(macs)
        self.given = self._given(factors) if factors else None
        self.inner = _plane(step, target)
        self.search = create(
            {"name": search} if isinstance(search, str) else search, self.inner, seed
        )
        self._check_some_triple_fits()
        self.tried: list[Triple] = []  # in the order they were proposed
        self.searched = self.given is not None
        self.proposed: set[int] = set()  # keys of points
        self.told: dict[int, float | None] = {}  # reward by key
        self._named: dict[str, float] | None = None  # phi by name, once the factors are known

    # -- the protocol -------------------------------------------------------------------------------

    def ask(self) -> Point | None:
        """Propose the baseline, then triples at phi = 1, then the family; None while rewards are awaited."""
        if key(self.base) not in self.proposed:
            return self._propose(self.base)
        while not self.searched:
            triple = self._triple()
            if triple is None:
                if any(name not in self.told for name in self.proposed):
                    return None
                self.searched = True
                break
            self.tried.append(triple)
            made = self.scaler.scaled(triple, 1)
            if key(made) not in self.proposed:
                return self._propose(made)
            if key(made) in self.told:
                self._answer(triple)
        for member in self.family().values():
            if key(member) not in self.proposed:
                return self._propose(member)
        return None

    def tell(self, point: Point, result: Result) -> None:
        """Learn the reward of a point; the strategy that searches the triples learns it too."""
        name = key(point)
        first = name not in self.told
        self.told[name] = result.reward
        for triple in self.tried if first else ():
            if key(self.scaler.scaled(triple, 1)) == name:
                self._answer(triple)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on identically, as JSON."""
        return {
            "search": self.search.state(),
            "searched": self.searched,
            "tried": [list(triple) for triple in self.tried],
            "proposed": sorted(self.proposed),
            "told": sorted(self.told.items()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.search.restore(state["search"])
        self.searched = state["searched"]
        self.tried = [(a, b, c) for a, b, c in state["tried"]]
        self.proposed = set(state["proposed"])
        self.told = dict(state["told"])

    # -- what was found -----------------------------------------------------------------------------

    @property
    def factors(self) -> Triple | None:
        """Return alpha, beta, gamma: as given, or of the best network at phi = 1; of equals the first tried."""
        if self.given:
            return self.given
        rated = [
            (reward, i) for i, t in enumerate(self.tried) if (reward := self._reward(t)) is not None
        ]
        best = max(rated, key=lambda pair: (pair[0], -pair[1]), default=None)
        return self.tried[best[1]] if best and self.searched else None

    def family(self) -> dict[str, Point]:
        """Return the scaled networks by name, in the order asked for; empty while factors are not known."""
        return {
            name: self.scaler.scaled(self._known(), phi) for name, phi in self._phi_of().items()
        }

    def remarks(self) -> Remarks:
        """Say which factors were found, and how much the family's multiply-adds grew against target^phi."""
        if self.factors is None:
            short = f"the budget ended after {len(self.told)} networks; `resume` with a larger one goes on"
            why = "no candidate succeeded" if self.searched else short
            return Remarks(f"compound scaling: no factors found, {why}")
        alpha, beta, gamma = self.factors
        product = alpha * beta**2 * gamma**2
        tried = "given" if self.given else f"the best of {len(self.tried)} triples"
        text = (
            f"compound scaling: alpha {alpha:g} (depth), beta {beta:g} (width), gamma {gamma:g} (resolution); "
            f"alpha * beta^2 * gamma^2 = {product:.3g}, {tried}"
        )
        header = (
            "network",
            "phi",
            "depth",
            "width",
            "resolution",
            "macs",
            "growth",
            "predicted",
            "reward",
        )
        phis = {"baseline": 0.0, **self._phi_of()}
        rows = [self._row(name, phi) for name, phi in phis.items()]
        return Remarks(text, header, rows, self.family())

    def _row(self, name: str, phi: float) -> tuple[object, ...]:
        point = self.scaler.scaled(self._known(), phi) if phi else self.base
        macs, reward = self.space.bind(point).macs, self.told.get(key(point))
        grown = (f"{factor**phi:.2f}" for factor in self._known())
        return (
            *(name, f"{phi:.2f}", *grown, f"{macs:,}", f"{macs / self.base_macs:.2f}"),
            *(f"{self.target**phi:.2f}", "" if reward is None else f"{reward:.4g}"),
        )

    def _known(self) -> Triple:
        assert self.factors is not None
        return self.factors

    def _phi_of(self) -> dict[str, float]:
        """Return phi by the network's name."""
        if self.factors is None:
            return {}
        if self._named is None:
            named = {f"phi_{phi:g}".replace(".", "_"): phi for phi in self.phis}
            self._named = named | {
                f"macs_{budget:.0f}": self._within(budget) for budget in self.budgets
            }
        return self._named

    def _within(self, budget: float) -> float:
        """Return the largest phi, nearly, whose network keeps to a budget of multiply-adds."""
        low, high = 0.0, self.scaler.largest_phi(self._known())
        high = min(high, 3 * math.log(budget / self.base_macs, self.target) + 3)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            fits = self._macs(self._known(), middle) <= budget
            low, high = (middle, high) if fits else (low, middle)
        return low

    def _macs(self, triple: Triple, phi: float) -> int:
        return self.space.bind(self.scaler.scaled(triple, phi)).macs

    # -- the search of the factors ------------------------------------------------------------------

    def _triple(self) -> Triple | None:
        """Return the next triple that meets the target and that the space can hold; None at the end."""
        if self.candidates is not None and len(self.tried) >= self.candidates:
            return None
        while (chosen := self.search.ask()) is not None:
            alpha, beta, gamma = (float(chosen[name]) for name in NAMES)  # type: ignore[arg-type]
            if self._fits((alpha, beta, gamma)):
                return alpha, beta, gamma
            self.search.tell(chosen, INFEASIBLE)
        return None

    def _fits(self, triple: Triple) -> bool:
        """Tell whether a triple meets the target, and the space holds all that is asked for of it."""
        alpha, beta, gamma = triple
        if abs(alpha * beta**2 * gamma**2 - self.target) > self.tolerance:
            return False
        most = self.scaler.largest_phi(triple)
        if most < max(self.phis, default=1):
            return False
        return not self.budgets or self._macs(triple, most) >= max(self.budgets)

    def _check_some_triple_fits(self) -> None:
        options = [self.inner.decision(name).options for name in NAMES]
        triples = [self.given] if self.given else itertools.product(*options)
        if any(self._fits(triple) for triple in triples):  # type: ignore[arg-type]
            return
        asked = [f"phi = {max(self.phis):g}"] if self.phis else []
        asked += [f"{max(self.budgets):,.0f} MACs"] if self.budgets else []
        raise ConfigError(
            f"compound_scaling: no alpha, beta, gamma {'given' if self.given else 'on the grid'} within "
            f"{self.tolerance:g} of {self.target:g} take space {self.space.name!r} as far as "
            f"{' and '.join(asked) or 'phi = 1'}; ask for less, make strategy.step finer, or give the space larger "
            "factors (space.scale)"
        )

    def _reward(self, triple: Triple) -> float | None:
        return self.told.get(key(self.scaler.scaled(triple, 1)))

    def _answer(self, triple: Triple) -> None:
        reward = self._reward(triple)
        point: Point = dict(zip(NAMES, triple, strict=True))
        self.search.tell(
            point,
            Result(reward=reward, values=(reward,))
            if reward is not None
            else Result(error="failed"),
        )

    def _propose(self, point: Point) -> Point:
        self.proposed.add(key(point))
        return dict(point)

    def _given(self, factors: Sequence[float]) -> Triple:
        if len(factors) != 3 or not all(isinstance(f, int | float) and f >= 1 for f in factors):
            raise ConfigError(
                f"strategy.factors: expected alpha, beta, gamma, each 1 or more, got {list(factors)}"
            )
        alpha, beta, gamma = (float(factor) for factor in factors)
        product = alpha * beta**2 * gamma**2
        if abs(product - self.target) > self.tolerance:
            raise ConfigError(
                f"strategy.factors: expected alpha * beta^2 * gamma^2 within {self.tolerance:g} of "
                f"{self.target:g}, got {product:.4g}"
            )
        return alpha, beta, gamma

    def _budgets(self, macs: Sequence[float]) -> list[float]:
        for budget in macs:
            if not isinstance(budget, int | float) or not budget >= self.base_macs:
                raise ConfigError(
                    f"strategy.macs: expected at least the baseline's {self.base_macs:,} MACs, got {budget!r}"
                )
        return [float(budget) for budget in macs]


NAMES = ("alpha", "beta", "gamma")


def _plane(step: float, target: float) -> Space:
    """Return the space of triples: alpha up to `target`, beta and gamma up to its root, in steps from 1."""
    if not step > 0 or not target > 1:
        raise ConfigError(
            f"compound_scaling: expected a positive step and a target above 1, got {step!r} and {target!r}"
        )
    x = ir.image(1, 1)
    for name, most in zip(NAMES, (target, target**0.5, target**0.5), strict=True):
        options = [round(1 + i * step, 6) for i in range(int((most - 1) / step + 1e-9) + 1)]
        x = ir.Scale(ir.choice(name, *options, ordered=True))(x)
    return ir.Space(x, name="factors")


def _phis(phis: Sequence[float]) -> list[float]:
    for phi in phis:
        if isinstance(phi, bool) or not isinstance(phi, int | float) or not phi >= 0:
            raise ConfigError(f"strategy.phis: expected numbers of 0 or more, got {phi!r}")
    return [float(phi) for phi in phis]
