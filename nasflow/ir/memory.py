"""How many elements are alive at once while a network runs, without flattening it.

Each sub-graph is run once for each way it is used: what matters of a use is which of its inputs are
one value, which nobody needs afterwards, which are weights, and which results somebody needs.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, NamedTuple

from nasflow.ir.graph import Graph


class Use(NamedTuple):
    """One way to use a graph; equal ways are run once. Sets are bits of an integer.

    Attributes:
        inputs: for each input the first one that is the same value.
        disposable: inputs that go after their last use inside.
        weights: inputs that are weights used as values, which are no memory of activations.
        needed: positions of results that are used afterwards.
    """

    inputs: tuple[int, ...]
    disposable: int
    weights: int
    needed: int


def peak_elements(graph: Graph) -> int:
    """Return the most elements alive at once; see :class:`nasflow.ir.cost.Cost`."""
    inputs = tuple(range(len(graph.inputs)))
    use = Use(inputs, (1 << len(inputs)) - 1, 0, (1 << len(graph.results)) - 1)
    return sum(type_.numel for type_ in graph.inputs) + _run(graph, use)[0]


def _run(graph: Graph, use: tuple[tuple[int, ...], int, int, int]) -> tuple[int, int]:
    """Return by how many elements a use exceeds its start, at most and in the end."""
    memo: dict[Any, tuple[int, int]] = graph.__dict__.setdefault("_live", {})
    found = memo.get(use)
    if found is None:
        found = memo[use] = _run_anew(graph, *use)
    return found


def _run_anew(
    graph: Graph, inputs: tuple[int, ...], disposable: int, weighty: int, needed: int
) -> tuple[int, int]:
    same, weights = _values(graph, inputs, {i for i in inputs if weighty >> i & 1})
    last = {same[value]: step for step, node in enumerate(graph.nodes) for value in node.inputs}
    # Beyond the last step: what is needed afterwards, and inputs that are not ours to drop.
    end = len(graph.nodes)
    last.update({same[r]: end for i, r in enumerate(graph.results) if needed >> i & 1})
    last.update({i: end for i in range(len(inputs)) if not disposable >> i & 1})
    types = graph.types
    live = peak = 0
    first = len(inputs)
    for step, node in enumerate(graph.nodes):
        content = node.content
        taken = [same[value] for value in node.inputs]
        count = len(content.outputs)
        made = same[first : first + count]
        first += count
        if content.__class__ is Graph:
            pattern = (0,) if len(taken) == 1 else tuple([taken.index(value) for value in taken])
            use = (
                pattern,
                sum([1 << i for i, value in enumerate(taken) if last[value] == step]),
                sum([1 << i for i, v in enumerate(taken) if v in weights]) if weights else 0,
                sum([1 << i for i, value in enumerate(made) if last.get(value, -1) > step]),
            )
            most, change = _run(content, use)
            if live + most > peak:
                peak = live + most
            live += change
            continue
        for value in () if content.idle else made:  # type: ignore[union-attr]
            if value not in weights:
                live += types[value].numel
        if live > peak:
            peak = live
        for value in {*taken, *made}:
            if last.get(value, -1) <= step and value not in weights:
                live -= types[value].numel
    return peak, live


def _values(graph: Graph, inputs: tuple[int, ...], weights: Set[int]) -> tuple[list[int], set[int]]:
    """Return for each id the first id that is the same value, and the ids that are weights."""
    same, found = list(inputs), set(weights)
    for node in graph.nodes:
        first = len(same)
        if not isinstance(node.content, Graph):
            if node.content.idle:
                same.append(same[node.inputs[0]])
            elif len(node.content.outputs) == 1:
                same.append(first)
            else:
                same.extend(range(first, first + len(node.content.outputs)))
            if not node.inputs:
                found.update(same[first:])
            continue
        taken = [same[value] for value in node.inputs]
        pattern = (0,) if len(taken) == 1 else tuple([taken.index(value) for value in taken])
        inner, inner_weights = _results(node.content, pattern)
        for i, result in enumerate(inner):
            if result < len(taken):
                same.append(taken[result])
            else:
                same.append(first + inner.index(result))
                if i in inner_weights:
                    found.add(first + i)
    return same, found


def _results(graph: Graph, pattern: tuple[int, ...]) -> tuple[list[int], set[int]]:
    """Return the values that a graph gives, and which of its results are weights made inside."""
    memo: dict[tuple[int, ...], tuple[list[int], set[int]]]
    memo = graph.__dict__.setdefault("_results", {})
    found = memo.get(pattern)
    if found is None:
        same, weights = _values(graph, pattern, set())
        values = [same[result] for result in graph.results]
        found = memo[pattern] = values, {i for i, v in enumerate(values) if v in weights}
    return found
