"""Recover from the wiring of a repeat's iterations the loop that a person would write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations

from nasflow.ir.graph import Graph
from nasflow.lower.form import Recurrence

MOST_CARRIED = 4


def recurrence(graph: Graph) -> Recurrence | None:
    """Return how the nodes of a repeat pass values on, or None where no loop does it."""
    if not graph.nodes or len({len(node.content.outputs) for node in graph.nodes}) != 1:
        return None
    if len({len(node.inputs) for node in graph.nodes}) != 1:
        return None
    outer = _outer(graph)
    carried = [i for i in range(len(graph.inputs)) if i not in outer]
    if len(carried) > MOST_CARRIED:
        return None
    for start in permutations(carried):
        found = _follow(graph, start, outer)
        if found is not None:
            return found
    return None


def _outer(graph: Graph) -> set[int]:
    """Return the inputs that every iteration takes at the same place."""
    if len(graph.nodes) < 2:  # a captured value or one that is carried: it makes no difference
        return set()
    alike = [set(column) for column in zip(*(node.inputs for node in graph.nodes), strict=True)]
    fixed = {next(iter(column)) for column in alike if len(column) == 1}
    moving = {value for column in alike if len(column) > 1 for value in column}
    return {value for value in fixed - moving if value < len(graph.inputs)} - set(graph.results)


def _follow(graph: Graph, start: Sequence[int], outer: set[int]) -> Recurrence | None:
    """Run the iterations with the state in this order; None where two of them differ."""
    state = list(start)
    made: list[int] = []
    takes = update = None
    value = len(graph.inputs)
    width = len(graph.nodes[0].content.outputs)
    needed_later = _needed(graph, outer)
    for i, node in enumerate(graph.nodes):
        if any(v not in state and v not in outer for v in node.inputs):
            return None
        here = tuple(("state", state.index(v)) if v in state else ("outer", v) for v in node.inputs)
        made = list(range(value, value + width))
        value += width
        if i + 1 < len(graph.nodes):
            then = _sources(sorted(needed_later[i]), made, state)
        elif update is None:
            then = _sources(dict.fromkeys(graph.results), made, state)
        else:
            then = update
        if (takes is not None and here != takes) or (update is not None and then != update):
            return None
        takes, update = here, then
        state = [made[k] if kind == "output" else state[k] for kind, k in then]
    assert takes is not None and update is not None
    if len(graph.nodes) > 1 and len(update) != len(start):
        return None
    begun = list(start)
    for v in dict.fromkeys(graph.results):
        if v not in state and v in made:  # of use only after the last iteration
            update = (*update, ("output", made.index(v)))
            state.append(v)
            begun.append(-1)
    if any(v not in state for v in graph.results):
        return None
    results = tuple(state.index(v) for v in graph.results)
    return Recurrence(tuple(begun), takes, update, results)


def _sources(
    values: Iterable[int], made: Sequence[int], state: Sequence[int]
) -> tuple[tuple[str, int], ...]:
    """Return where each of the values that are there comes from: what is just made, or the state."""
    return tuple(
        ("output", made.index(v)) if v in made else ("state", state.index(v))
        for v in values
        if v in made or v in state
    )


def _needed(graph: Graph, outer: set[int]) -> list[set[int]]:
    """Return for each iteration the values that later ones or the results need."""
    needed = set(graph.results)
    after = []
    for node in reversed(graph.nodes):
        after.append(set(needed))
        needed |= set(node.inputs) - outer
    return after[::-1]
