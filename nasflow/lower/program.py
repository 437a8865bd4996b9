"""Values that decisions make different ones, and the program of a mixture that sums them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from nasflow.ir.expression import Scalar
from nasflow.ir.types import Type

When = tuple[tuple[str, Scalar], ...]
"""Decisions and the options they have."""


class Way(NamedTuple):
    """One of the values that a place has, with the decisions that make it this one."""

    when: When
    value: int
    type: Type


Value = tuple[Way, ...]


@dataclass(frozen=True)
class Run:
    """Run module number ``module`` on values."""

    module: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Mix:
    """Sum ways by the weights of their options; with ``edges``, by those of that group of edges."""

    ways: tuple[tuple[When, int], ...]
    output: int
    edges: int = -1


@dataclass(frozen=True)
class Edges:
    """Alike pairs of an input pick and an operation choice whose results are added.

    As in DARTS every input is there once, through a mixture of all operations and of none; a point
    takes the inputs whose strongest operation is strongest, one for each pair of ``slots``.
    """

    slots: tuple[tuple[str, str], ...]
    inputs: tuple[Scalar, ...]
    options: tuple[Scalar, ...]


def differ(ways: Value) -> bool:
    """Tell whether these cannot be summed: their types differ."""
    return len({way.type for way in ways}) > 1


def tag(when: When) -> str:
    """Return what the options add to the name of a place; nothing where there are none."""
    return "@" + ".".join(str(option) for _, option in when) if when else ""


def together(when: When, more: When) -> When | None:
    """Return the options of both, None where they contradict each other."""
    known = dict(when)
    if any(known.get(name, option) != option for name, option in more):
        return None
    return when + tuple(pair for pair in more if pair[0] not in known)


def telling(value: Value) -> list[str]:
    """Return the decisions that ways of different types differ in alone; all, where none is alone."""
    seen: dict[Any, Type] = {}
    found: dict[str, None] = {}
    for way in value:
        for number, (name, _) in enumerate(way.when):
            others = (name, *way.when[:number], *way.when[number + 1 :])
            if seen.setdefault(others, way.type) != way.type:
                found[name] = None
    return list(found) or list(dict.fromkeys(n for way in value for n, _ in way.when))
