"""Predict rewards from points with Gaussian processes whose length scales are drawn, not fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular  # type: ignore[import-untyped,unused-ignore]

from nasflow.errors import NasflowError
from nasflow.ir import Decision, Graph, Point, Space
from nasflow.ir.cost import shortest_path
from strategies._points import key

Array = np.ndarray[Any, np.dtype[Any]]

ABSENT = -1.0  # the code of a decision that is inactive
# Medians of the priors: of a decision's rate, of the noise's variance, of the share of the variance
# that is a sum over decisions.
RATE, NOISE, SHARE = 0.3, 0.05, 0.7
TREND = 1.0  # variance of a figure's slope, in scores for a deviation
KNOWN = 5_000  # points whose rows are remembered
COUNT = 3  # figures of a network


def figures(graph: Graph) -> tuple[float, ...]:
    """Return the logarithm of a network's multiply-adds, and the layers on its shortest and longest path.

    The multiply-adds tell how much it computes, the longest path how much of it in a row; the
    shortest is short where shortcuts lead around all of it.
    """
    return math.log(max(graph.macs, 1)), float(shortest_path(graph)), float(graph.cost().depth)


class Pairs(NamedTuple):
    """How far apart points are, and what they share; ``first`` and ``second`` are two rows of points.

    Attributes:
        decisions: (decisions, first, second), distances of 0 to 1.
        figures: (figures, first, second), distances in standard deviations.
        trend: (first, second), the covariance of what is linear in figures.
        own: (second,), the variance of that.
    """

    decisions: Array
    figures: Array
    trend: Array
    own: Array


class Codes:
    """Write points as rows of numbers, and tell how far rows are apart.

    A row holds for each searched decision of two options or more the position of its option, from 0
    to 1, and then the `figures` of the point's network.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.decisions: list[Decision] = [
            d for d in space.decisions if d.searched and len(d.options) > 1
        ]
        self.width = len(self.decisions)
        self.ordered = np.array([d.ordered for d in self.decisions], dtype=bool)
        self.codes = [
            {option: i / (len(d.options) - 1) for i, option in enumerate(d.options)}
            for d in self.decisions
        ]
        self.known: dict[
            int, list[float] | None
        ] = {}  # rows by keys: to bind takes most of the time

    def rows(self, points: Sequence[Point]) -> Array:
        """Return the numbers of points that can be bound, (points, decisions and figures)."""
        return np.array([self._row(point) for point in points]).reshape(-1, self.width + COUNT)

    def bound(self, point: Point) -> bool:
        """Whether a point can be bound."""
        return self._row(point) is not None

    def _row(self, point: Point) -> list[float] | None:
        name = key(point)
        if name not in self.known:
            if len(self.known) > KNOWN:
                self.known.clear()
            self.known[name] = self._made(point)
        return self.known[name]

    def _made(self, point: Point) -> list[float] | None:
        try:
            graph = self.space.bind(point)
        except NasflowError:  # its types do not fit
            return None
        codes = (
            code[point[d.name]] if d.name in point else ABSENT
            for d, code in zip(self.decisions, self.codes, strict=True)
        )
        return [*codes, *figures(graph)]

    def standard(self, rows: Array, told: Array) -> Array:
        """Return rows whose figures are of mean 0 and deviation 1 in those of ``told``."""
        spread = told[:, self.width :].std(axis=0)
        found = rows.copy()
        found[:, self.width :] -= told[:, self.width :].mean(axis=0)
        found[:, self.width :] /= np.where(spread > 1e-9, spread, np.inf)  # what is constant is 0
        return found

    def pairs(self, first: Array, second: Array) -> Pairs:
        """Return how far apart rows are; decisions by order, or whether they differ."""
        apart = np.empty((self.width, len(first), len(second)))
        for j, ordered in enumerate(self.ordered):
            here, there = first[:, None, j], second[None, :, j]
            np.not_equal(here, there, out=apart[j])
            if ordered:
                both = (here != ABSENT) & (there != ABSENT)
                np.copyto(apart[j], np.abs(here - there), where=both)
        here, there = first[:, self.width :], second[:, self.width :]
        figures_apart = np.abs(here.T[:, :, None] - there.T[:, None, :])
        return Pairs(apart, figures_apart, TREND * here @ there.T, TREND * (there**2).sum(axis=1))


class Surrogate:
    """An ensemble of Gaussian processes over points; each has its own rate for every dimension.

    The covariance of two points is in part a sum over decisions (what each contributes), in part
    ``exp(-sum of rate * distance)`` over decisions and figures (how they interact), plus what is
    linear in figures (the bigger the better, or the worse), plus noise. A member (the logarithms of
    its rates and noise, the log-odds of the parts) is a state of a Metropolis chain on the posterior,
    so that members disagree on what the results leave open. Targets are the `scores` of rewards.
    """

    def __init__(self, codes: Codes, members: int, steps: int, rng: np.random.Generator) -> None:
        self.steps, self.rates = steps, codes.width + COUNT
        self.members = [
            medians(self.rates) + np.append(rng.standard_normal(self.rates), [0.0, 0.0])
            for _ in range(members)
        ]

    def fits(self, pairs: Pairs, target: Array, rng: np.random.Generator) -> list[Fit]:
        """Return every member, each after steps of its chain on these results."""
        found = [self._walked(member, pairs, target, rng) for member in self.members]
        self.members = [fit.member for fit in found]
        return found

    def _walked(self, member: Array, pairs: Pairs, target: Array, rng: np.random.Generator) -> Fit:
        fit = Fit(pairs, target, member)
        for _ in range(self.steps):
            tried = Fit(pairs, target, self._step(fit.member, rng))
            if math.log(1.0 - rng.random()) < tried.posterior - fit.posterior:
                fit = tried
        return fit

    def _step(self, member: Array, rng: np.random.Generator) -> Array:
        if rng.random() < 0.5:
            moved = member.copy()
            moved[rng.integers(len(moved))] += rng.standard_normal()
            return moved
        return np.asarray(member + 0.3 * rng.standard_normal(len(member)))

    def state(self) -> list[list[float]]:
        """Return the members, as JSON."""
        return [member.tolist() for member in self.members]

    def restore(self, state: list[list[float]]) -> None:
        """Go on from `state`."""
        self.members = [np.array(member) for member in state]


class Fit:
    """A Gaussian process of one member, given results; its amplitude is integrated out."""

    def __init__(self, pairs: Pairs, target: Array, member: Array) -> None:
        self.member, count = member, len(target)
        matrix = covariance(pairs, member) + (math.exp(member[-2]) + 1e-8) * np.eye(count)
        self.factor = np.linalg.cholesky(matrix)
        self.whitened = solve_triangular(self.factor, target, lower=True, check_finite=False)
        # an inverse-gamma prior of weight 2 around 1 on the variance of the rewards' scores
        self.amplitude = (float(self.whitened @ self.whitened) + 2.0) / (count + 2.0)
        self.posterior = (  # its logarithm, but for a constant
            -0.5 * (count + 2.0) * math.log(self.amplitude)
            - float(np.log(np.diag(self.factor)).sum())
            - 0.5 * float(((member - medians(len(member) - 2)) ** 2).sum())
        )

    def predict(self, across: Pairs) -> tuple[Array, Array]:
        """Return means and deviations, (candidates,) each, from pairs of the results and them."""
        between = covariance(across, self.member)
        solved = solve_triangular(self.factor, between, lower=True, check_finite=False)
        variance = np.maximum(1.0 + across.own - (solved**2).sum(axis=0), 1e-9)
        return solved.T @ self.whitened, np.sqrt(self.amplitude * variance)


def medians(rates: int) -> Array:
    """Return the median member; each of its numbers has a normal prior of deviation 1."""
    return np.append(
        np.full(rates, math.log(RATE)), [math.log(NOISE), math.log(SHARE / (1 - SHARE))]
    )


def covariance(pairs: Pairs, member: Array) -> Array:
    """Return the prior covariance of pairs of points, (first, second)."""
    rates, share = np.exp(member[:-2]), 1 / (1 + math.exp(-member[-1]))
    width = len(pairs.decisions)
    between = np.tensordot(rates[:width], pairs.decisions, 1)
    product = np.exp(-between - np.tensordot(rates[width:], pairs.figures, 1))
    total = 1 - between / rates[:width].sum()
    return np.asarray((1 - share) * product + share * total + pairs.trend)


def scores(rewards: Array) -> Array:
    """Return the normal quantiles of rewards' ranks, of deviation 1; equal rewards share a rank."""
    distinct, place, counts = np.unique(rewards, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(rewards)
    quantile = NormalDist().inv_cdf
    found = np.array([quantile(share) for share in middle])[place]
    deviation = float(found.std())
    return np.asarray((found - found.mean()) / deviation if len(distinct) > 1 else found * 0.0)
