"""Which permutations of a value later weights absorb, so that an order of concatenation is free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from nasflow.ir.graph import Graph
from nasflow.ir.operation import Applied
from nasflow.ir.rules import permuted, rule

Free = frozenset[tuple[int, str]]
Condition = bool | Free
"""When a permutation is absorbed: always, never, or where permutations of these (result, axis)
pairs of the graph are."""
Lookup = Callable[[int, str], Condition]
"""When a permutation of a result along an axis is absorbed, seen from further out."""


def holds(condition: Condition | None, free: Free) -> bool:
    """Whether a condition holds where permutations of the pairs in ``free`` are absorbed."""
    if isinstance(condition, frozenset):
        return condition <= free
    return bool(condition)


@lru_cache(10_000)
def of_results(result: int, axis: str) -> Condition:
    """Return the condition that a permutation of a result is absorbed, left open."""
    return frozenset([(result, axis)])


def within(graph: Graph, value: int, axis: str, lookup: Lookup) -> Condition:
    """Return when a permutation of a value is absorbed, seen from further out."""
    return through(absorbed(graph, value, axis), lookup)


def through(condition: Condition, lookup: Lookup) -> Condition:
    """Return a condition on a graph's results as one on what they become further out."""
    if isinstance(condition, frozenset):
        return every(lookup(result, axis) for result, axis in condition)
    return condition


def every(conditions: Iterable[Condition]) -> Condition:
    """Return when all of the conditions hold."""
    pairs: Condition = True
    for condition in conditions:
        pairs = both(pairs, condition)
    return pairs


def both(first: Condition, second: Condition) -> Condition:
    """Return when two conditions hold."""
    if first is True or second is False:
        return second
    if second is True or first is False:
        return first
    return first | second


def absorbed(graph: Graph, value: int, axis: str) -> Condition:
    """Return when permuting a value along an axis changes nothing that later weights cannot undo.

    Every use must lead, through operations that keep the permutation, to weights used only there,
    or to a result of the graph; those results are the condition.
    """
    return _absorbed(graph, axis)[value]


def _absorbed(graph: Graph, axis: str) -> list[Condition]:
    memo: dict[str, list[Condition]] | None = graph.__dict__.get("_absorbed")
    if memo is None:
        memo = graph.__dict__["_absorbed"] = {}
    found = memo.get(axis)
    if found is None:
        found = memo[axis] = _of_values(graph, axis)
    return found


def _of_values(graph: Graph, axis: str) -> list[Condition]:
    """Return the condition of every value of a graph, last ones first found."""
    found: list[Condition] = [True] * len(graph.types)
    for position, result in enumerate(graph.results):
        found[result] = both(found[result], of_results(position, axis))
    sharing = shared_weights(graph)
    passed_on = of_results(0, axis)
    first = len(graph.types)
    for node in reversed(graph.nodes):
        content: Any = node.content
        first -= len(content.outputs)
        if sharing and node.weights in sharing:  # weights used elsewhere too absorb nothing
            moves: Sequence[Condition] = (False,) * len(node.inputs)
        elif content.__class__ is Graph:
            moves = (content.__dict__.get("_absorbed") or _NONE).get(axis) or _absorbed(
                content, axis
            )
        else:
            moves = (content.rule or rule(content)).moves.get(axis) or _moves(content, axis)
        for value, inner in zip(node.inputs, moves, strict=False):  # inputs come first
            if inner is True:
                continue
            before = found[value]
            if before is False or inner is False:
                found[value] = False
                continue
            if inner is passed_on:
                inner = found[first]
            else:
                inner = every([
                    found[first + i] if onward == axis else absorbed(graph, first + i, onward)
                    for i, onward in inner
                ])  # fmt: skip
            found[value] = inner if before is True else both(before, inner)
    return found


def _moves(content: Applied, axis: str) -> Sequence[Condition]:
    """Return where an operation takes a permutation of each input, as conditions on its results."""
    onward = permuted(content, axis)
    condition: Condition = False if onward is None else frozenset(onward) or True
    if condition == of_results(0, axis):
        condition = of_results(0, axis)  # that very object, to be told quickly
    found = rule(content).moves[axis] = (condition,) * len(content.inputs)
    return found


_NONE: Final[dict[str, list[Condition]]] = {}


def shared_weights(graph: Graph) -> frozenset[str]:
    """Return the names under which several nodes share weights."""
    found: frozenset[str] | None = graph.__dict__.get("_sharing")
    if found is None:
        names = [node.weights for node in graph.nodes]
        few = len(set(names)) == len(names)
        found = frozenset() if few else frozenset(n for n in names if names.count(n) > 1)
        graph.__dict__["_sharing"] = found
    return found
