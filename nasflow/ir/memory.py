"""How many elements are alive at once while a network runs, without flattening it.

Each sub-graph is run once for each way it is used: what matters of a use is which of its inputs are
one value, which nobody needs afterwards, which are weights, and which results somebody needs.
"""

from __future__ import annotations

from typing import NamedTuple

from nasflow.ir.graph import Graph


class Use(NamedTuple):
    """One way to use a graph; equal ways are run once.

    Attributes:
        inputs: for each input the first one that is the same value.
        disposable: inputs that go after their last use inside.
        weights: inputs that are weights used as values, which are no memory of activations.
        needed: positions of results that are used afterwards.
    """

    inputs: tuple[int, ...]
    disposable: frozenset[int]
    weights: frozenset[int]
    needed: frozenset[int]


def peak_elements(graph: Graph) -> int:
    """Return the most elements alive at once; see :class:`nasflow.ir.cost.Cost`."""
    inputs = range(len(graph.inputs))
    use = Use(tuple(inputs), frozenset(inputs), frozenset(), frozenset(range(len(graph.results))))
    return sum(type_.numel for type_ in graph.inputs) + _run(graph, use)[0]


def _run(graph: Graph, use: Use) -> tuple[int, int]:
    """Return by how many elements a use exceeds its start, at most and in the end."""
    memo: dict[Use, tuple[int, int]] = graph.__dict__.setdefault("_live", {})
    if use not in memo:
        memo[use] = _run_anew(graph, use)
    return memo[use]


def _run_anew(graph: Graph, use: Use) -> tuple[int, int]:
    same, weights = _values(graph, use.inputs, use.weights)
    count = len(use.inputs)
    last = {same[value]: step for step, node in enumerate(graph.nodes) for value in node.inputs}
    # Beyond the last step: what is needed afterwards, and inputs that are not ours to drop.
    last.update({same[graph.results[i]]: len(graph.nodes) for i in use.needed})
    last.update({i: len(graph.nodes) for i in range(count) if i not in use.disposable})
    live = peak = 0
    first = count
    for step, node in enumerate(graph.nodes):
        taken = [same[value] for value in node.inputs]
        made = [same[first + i] for i in range(len(node.content.outputs))]
        first += len(made)
        gone = {value for value in taken if last[value] == step}
        if isinstance(node.content, Graph):
            inner = Use(
                tuple([taken.index(value) for value in taken]),
                frozenset([i for i, value in enumerate(taken) if value in gone]),
                frozenset([i for i, value in enumerate(taken) if value in weights]),
                frozenset([i for i, value in enumerate(made) if last.get(value, -1) > step]),
            )
            most, change = _run(node.content, inner)
            peak = max(peak, live + most)
            live += change
            continue
        sizes = {v: graph.types[v].numel for v in (*made, *gone) if v not in weights}
        live += sum([sizes[value] for value in made if value in sizes])
        peak = max(peak, live)
        gone.update([value for value in made if value not in last])
        live -= sum([sizes[value] for value in gone if value in sizes])
    return peak, live


def _values(
    graph: Graph, inputs: tuple[int, ...], weights: frozenset[int]
) -> tuple[list[int], set[int]]:
    """Return for each id the first id that is the same value, and the ids that are weights."""
    same, found = list(inputs), set(weights)
    for node in graph.nodes:
        first = len(same)
        if not isinstance(node.content, Graph):
            same.extend(range(first, first + len(node.content.outputs)))
            if not node.inputs:
                found.update(same[first:])
            continue
        taken = [same[value] for value in node.inputs]
        pattern = tuple([taken.index(value) for value in taken])
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
    if pattern not in memo:
        same, weights = _values(graph, pattern, frozenset())
        values = [same[result] for result in graph.results]
        memo[pattern] = values, {i for i, value in enumerate(values) if value in weights}
    return memo[pattern]
