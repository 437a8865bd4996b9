"""Which permutations of a value later weights absorb, so that an order of concatenation is free."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from nasflow.ir.graph import Graph
from nasflow.ir.operation import Applied
from nasflow.ir.rules import permuted

Free = frozenset[tuple[int, str]]
Condition = bool | Free
"""When a permutation is absorbed: always, never, or where permutations of these (result, axis)
pairs of the graph are."""
Moves = Condition | list[Condition]
"""When a permutation of each input of a node is absorbed; one condition where it is the same for all."""
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
    """Return when two conditions hold; of equal ones the first, so that identity tells more often."""
    if first is True or second is False:
        return second
    if second is True or first is False or first == second:
        return first
    return first | second


def absorbed(graph: Graph, value: int, axis: str) -> Condition:
    """Return when permuting a value along an axis changes nothing that later weights cannot undo.

    Every use must lead, through operations that keep the permutation, to weights used only there,
    or to a result of the graph; those results are the condition.
    """
    found = graph.absorbed.get(axis)
    if found is None:
        found = graph.absorbed[axis] = _of_values(graph, axis)
    return found[value]


def _of_values(graph: Graph, axis: str) -> list[Condition]:
    """Return the condition of every value of a graph, last ones first found."""
    found: list[Condition] = [True] * len(graph.types)
    for position, result in enumerate(graph.results):
        found[result] = both(found[result], of_results(position, axis))
    sharing = shared_weights(graph)
    passed_on = of_results(0, axis)
    first = len(graph.types)
    moves: Any
    for _, content, inputs, weights, _, _ in reversed(graph.nodes):
        first -= len(content.outputs)
        moves = content.moves.get(axis)
        if moves is None:
            moves = _moves(content, axis)
        if sharing and weights in sharing:  # weights used elsewhere too absorb nothing
            moves = False
        if moves.__class__ is not list:
            if moves is passed_on:
                moves = found[first]
            elif moves.__class__ is frozenset:
                moves = _onward(graph, found, first, axis, moves)
            if moves is not True:
                for value in inputs:
                    before = found[value]
                    found[value] = moves if before is True else both(before, moves)
            continue
        for value, inner in zip(inputs, moves, strict=True):
            if inner.__class__ is frozenset:
                inner = _onward(graph, found, first, axis, inner)
            found[value] = both(found[value], inner)
    return found


def _onward(graph: Graph, found: list[Condition], first: int, axis: str, pairs: Free) -> Condition:
    """Return the condition of what permutes results of the node whose first one is ``first``."""
    return every([
        found[first + i] if onward == axis else absorbed(graph, first + i, onward)
        for i, onward in pairs
    ])  # fmt: skip


def _moves(content: Applied | Graph, axis: str) -> Moves:
    """Return where a permutation of each input is absorbed, as conditions on the content's results."""
    found: Moves
    if isinstance(content, Graph):
        found = [absorbed(content, value, axis) for value in range(len(content.inputs))]
        if found and found.count(found[0]) == len(found):
            found = found[0]
    else:
        onward = permuted(content, axis)
        found = False if onward is None else frozenset(onward) or True
        if found == of_results(0, axis):
            found = of_results(0, axis)  # that very object, to be told quickly
    content.moves[axis] = found
    return found


def shared_weights(graph: Graph) -> frozenset[str]:
    """Return the names under which several nodes share weights."""
    found = graph.shared
    if found is None:
        names = [node.weights for node in graph.nodes]
        found = frozenset()
        if len({*names}) < len(names):
            found = frozenset(name for name in names if names.count(name) > 1)
        graph.shared = found
    return found
