"""Name the blocks of a network, and order them so that inner ones come first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from nasflow.errors import GraphError
from nasflow.ir.graph import REPEAT, Graph
from nasflow.lower import names

DEEPEST: Final = 64
"""Levels of nesting; beyond it a graph is taken for a mistake."""
SHORTEST_LABEL: Final = 3
"""Names of blocks that say something; shorter ones are indices and keys of switches."""
_UNNAMED: Final = frozenset({"true", "false", "all", "none"})


def labels_of(root: Graph) -> dict[int, str]:
    """Return what each block is called: its own name, or where it has none, its place."""
    labels = {id(root): root.name}
    pending = [root]
    while pending:
        graph = pending.pop()
        for node in graph.nodes:
            content = node.content
            if not isinstance(content, Graph) or id(content) in labels:
                continue
            label = content.name
            if len(label) < SHORTEST_LABEL or label in _UNNAMED:
                label = names.singular(graph.name if graph.kind == REPEAT else node.name)
            labels[id(content)] = label
            pending.append(content)
    return labels


def _inner(graph: Graph) -> Iterator[Graph]:
    """Yield the blocks directly inside a block, those inside its repeats included."""
    for node in graph.nodes:
        if isinstance(node.content, Graph):
            if node.content.kind == REPEAT:
                yield from _inner(node.content)
            else:
                yield node.content


def groups_of(root: Graph, labels: dict[int, str]) -> list[list[Graph]]:
    """Return the blocks grouped by name, a group after all groups that its blocks contain."""
    blocks = [graph for graph in root.subgraphs() if graph.kind != REPEAT]
    heights: dict[int, int] = {}
    for graph in blocks:
        heights[id(graph)] = 1 + max((heights[id(inner)] for inner in _inner(graph)), default=0)
    if max(heights.values()) > DEEPEST:
        raise GraphError(f"{root.name}: expected at most {DEEPEST} levels of blocks")
    by_name = {id(graph): (labels[id(graph)], 0) for graph in blocks}
    by_name[id(root)] = (root.name, -1)
    ordered = _sorted(blocks, by_name)
    if ordered is None:  # a block inside another of its name: tell them apart by height
        keys = {id(graph): (labels[id(graph)], heights[id(graph)]) for graph in blocks}
        keys[id(root)] = (root.name, -1)
        ordered = _sorted(blocks, keys)
        assert ordered is not None
    return ordered


def _sorted(blocks: Sequence[Graph], keys: dict[int, tuple[str, int]]) -> list[list[Graph]] | None:
    """Return the blocks grouped by key in order of containment; None where groups form a cycle."""
    members: dict[tuple[str, int], list[Graph]] = {}
    for graph in blocks:
        members.setdefault(keys[id(graph)], []).append(graph)
    ordered: dict[tuple[str, int], list[Graph]] = {}
    open_: set[tuple[str, int]] = set()

    def visit(key: tuple[str, int]) -> bool:
        if key in ordered:
            return True
        if key in open_:
            return False
        open_.add(key)
        for graph in members[key]:
            for inner in _inner(graph):
                if not visit(keys[id(inner)]):
                    return False
        ordered[key] = members[key]
        return True

    return list(ordered.values()) if all(visit(key) for key in members) else None
