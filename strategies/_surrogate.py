"""Predict rewards from points with Gaussian processes whose length scales are drawn, not fitted."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular  # type: ignore[import-untyped,unused-ignore]

from nasflow.ir import Decision, Point, Space

Array = np.ndarray[Any, np.dtype[Any]]

ABSENT = -1.0  # the code of a decision that is inactive
# Medians of the priors: of a decision's rate, of the noise's variance, of the share of the variance
# that is a sum over decisions.
RATE, NOISE, SHARE = 0.3, 0.05, 0.7


class Codes:
    """Write points as rows of numbers, and measure how far rows are apart decision by decision.

    A row holds for each searched decision of two options or more the position of its option, from 0
    to 1.
    """

    def __init__(self, space: Space) -> None:
        self.decisions: list[Decision] = [
            d for d in space.decisions if d.searched and len(d.options) > 1
        ]
        self.width = len(self.decisions)
        self.ordered = np.array([d.ordered for d in self.decisions], dtype=bool)
        self.codes = [
            {option: i / (len(d.options) - 1) for i, option in enumerate(d.options)}
            for d in self.decisions
        ]

    def row(self, point: Point) -> list[float]:
        """Return a point's numbers."""
        return [
            code[point[d.name]] if d.name in point else ABSENT
            for d, code in zip(self.decisions, self.codes, strict=True)
        ]

    def apart(self, first: Array, second: Array) -> Array:
        """Return distances of 0 to 1, (decisions, first, second): of order, or whether they differ."""
        found = np.empty((self.width, len(first), len(second)))
        for j, ordered in enumerate(self.ordered):
            here, there = first[:, None, j], second[None, :, j]
            np.not_equal(here, there, out=found[j])
            if ordered:
                both = (here != ABSENT) & (there != ABSENT)
                np.copyto(found[j], np.abs(here - there), where=both)
        return found


class Surrogate:
    """An ensemble of Gaussian processes over points; each has its own rate for every decision.

    The covariance of two points is in part a sum over decisions (what each contributes), in part
    ``exp(-sum of rate * distance)`` (how they interact), plus noise. A member (the logarithms of its
    rates and noise, the log-odds of the parts) is a state of a Metropolis chain on the posterior,
    so that members disagree on what the results leave open. Targets are the `scores` of rewards.
    """

    def __init__(self, codes: Codes, members: int, steps: int, rng: np.random.Generator) -> None:
        self.codes, self.steps = codes, steps
        self.members = [
            medians(codes.width) + np.append(rng.standard_normal(codes.width), [0.0, 0.0])
            for _ in range(members)
        ]
        self.turn = 0

    def fits(self, rows: Array, target: Array, rng: np.random.Generator) -> list[Fit]:
        """Return every member, each after steps of its chain on these results."""
        apart = self.codes.apart(rows, rows)
        return [self._walked(i, apart, target, rng) for i in range(len(self.members))]

    def _walked(self, index: int, apart: Array, target: Array, rng: np.random.Generator) -> Fit:
        fit = Fit(apart, target, self.members[index])
        for _ in range(self.steps):
            tried = Fit(apart, target, self._step(fit.member, rng))
            if math.log(1.0 - rng.random()) < tried.evidence - fit.evidence:
                fit = tried
        self.members[index] = fit.member
        return fit

    def draw(self, rows: Array, target: Array, asked: Array, rng: np.random.Generator) -> Array:
        """Return the values of one function drawn from the next member, at the points asked for."""
        index, self.turn = self.turn, (self.turn + 1) % len(self.members)
        fit = self._walked(index, self.codes.apart(rows, rows), target, rng)
        return fit.draw(self.codes.apart(rows, asked), self.codes.apart(asked, asked), rng)

    def _step(self, member: Array, rng: np.random.Generator) -> Array:
        if rng.random() < 0.5:
            moved = member.copy()
            moved[rng.integers(len(moved))] += rng.standard_normal()
            return moved
        return np.asarray(member + 0.3 * rng.standard_normal(len(member)))

    def state(self) -> dict[str, Any]:
        """Return the members and whose turn it is, as JSON."""
        return {"members": [member.tolist() for member in self.members], "turn": self.turn}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.members = [np.array(member) for member in state["members"]]
        self.turn = state["turn"]


class Fit:
    """A Gaussian process of one member, given results; its amplitude is integrated out."""

    def __init__(self, apart: Array, target: Array, member: Array) -> None:
        self.member, count = member, len(target)
        matrix = covariance(apart, member) + (math.exp(member[-2]) + 1e-8) * np.eye(count)
        self.factor = np.linalg.cholesky(matrix)
        self.whitened = solve_triangular(self.factor, target, lower=True, check_finite=False)
        # an inverse-gamma prior of weight 2 around 1 on the variance of the rewards' scores
        self.amplitude = (float(self.whitened @ self.whitened) + 2.0) / (count + 2.0)
        self.evidence = (
            -0.5 * (count + 2.0) * math.log(self.amplitude)
            - float(np.log(np.diag(self.factor)).sum())
            - 0.5 * float(((member - medians(len(member) - 2)) ** 2).sum())
        )

    def predict(self, across: Array) -> tuple[Array, Array]:
        """Return means and deviations of candidates so far from the results, (D, results, candidates)."""
        solved = self._solved(across)
        variance = np.maximum(1.0 - (solved**2).sum(axis=0), 1e-9)
        return solved.T @ self.whitened, np.sqrt(self.amplitude * variance)

    def draw(self, across: Array, among: Array, rng: np.random.Generator) -> Array:
        """Return one function of the process at candidates so far from each other, (D, count, count)."""
        solved, count = self._solved(across), among.shape[1]
        left = covariance(among, self.member) - solved.T @ solved + 1e-6 * np.eye(count)
        luck = np.linalg.cholesky(left) @ rng.standard_normal(count)
        return np.asarray(solved.T @ self.whitened + math.sqrt(self.amplitude) * luck)

    def _solved(self, across: Array) -> Array:
        between = covariance(across, self.member)
        return np.asarray(solve_triangular(self.factor, between, lower=True, check_finite=False))


def medians(width: int) -> Array:
    """Return the median member; each of its numbers has a normal prior of deviation 1."""
    return np.append(
        np.full(width, math.log(RATE)), [math.log(NOISE), math.log(SHARE / (1 - SHARE))]
    )


def covariance(apart: Array, member: Array) -> Array:
    """Return the prior covariance of points so far apart, 1 where they are equal."""
    rates, share = np.exp(member[:-2]), 1 / (1 + math.exp(-member[-1]))
    distance = np.tensordot(rates, apart, 1)
    return np.asarray((1 - share) * np.exp(-distance) + share * (1 - distance / rates.sum()))


def scores(rewards: Array) -> Array:
    """Return the normal quantiles of rewards' ranks, of deviation 1; equal rewards share a rank."""
    distinct, place, counts = np.unique(rewards, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(rewards)
    quantile = NormalDist().inv_cdf
    found = np.array([quantile(share) for share in middle])[place]
    deviation = float(found.std())
    return np.asarray((found - found.mean()) / deviation if len(distinct) > 1 else found * 0.0)
