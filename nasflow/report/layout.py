"""Place the nodes of a directed acyclic graph in layers, edges pointing down."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

Node = Hashable
Edge = tuple[Node, Node]
WIDEST = 900.0  # pixels of boxes in one layer; more go to the next
SWEEPS = 12  # passes of the crossing-reducing order; more change nothing on cells of tens of nodes


@dataclass(frozen=True)
class Layout:
    """Centres of the boxes, and for each edge the points its line goes through, in pixels."""

    centres: dict[Node, tuple[float, float]]
    lines: list[tuple[Edge, list[tuple[float, float]]]]
    width: float
    height: float


def layered(
    widths: Mapping[Node, float],
    edges: Sequence[Edge],
    *,
    height: float = 26,
    gap: float = 18,
    rise: float = 30,
) -> Layout:
    """Lay out `edges` over nodes of the given box widths (pixels), after Sugiyama, Tagawa and Toda (1981).

    Every edge must point from an earlier key of `widths` to a later one. Edges longer than one layer bend around
    the boxes between: each layer they cross holds a thin place for them.
    """
    level = _levels(widths, edges, gap)
    chains = [_chain(index, edge, level) for index, edge in enumerate(edges)]
    sizes = {**widths, **{place: 8.0 for chain in chains for place in chain[1:-1]}}
    above, below = defaultdict(list), defaultdict(list)
    for chain in chains:
        for upper, lower in itertools.pairwise(chain):
            below[upper].append(lower)
            above[lower].append(upper)
    rows = _rows(sizes, level, chains)
    x = _order_and_place(rows, sizes, above, below, gap)
    left = min((x[node] - sizes[node] / 2 for node in sizes), default=0.0)
    y = {
        node: row * (height + rise) + height / 2 for row, nodes in enumerate(rows) for node in nodes
    }
    points = {node: (x[node] - left, y[node]) for node in sizes}
    right = max((points[node][0] + sizes[node] / 2 for node in sizes), default=0.0)
    lines = [
        (edge, [points[place] for place in chain])
        for edge, chain in zip(edges, chains, strict=True)
    ]
    return Layout(
        {node: points[node] for node in widths},
        lines,
        right,
        max(1, len(rows)) * (height + rise) - rise,
    )


def _levels(widths: Mapping[Node, float], edges: Sequence[Edge], gap: float) -> dict[Node, int]:
    """Return for each node the first layer below all its sources that has room."""
    into = defaultdict(list)
    for source, target in edges:
        into[target].append(source)
    level: dict[Node, int] = {}
    taken: defaultdict[int, float] = defaultdict(float)
    for node, width in widths.items():
        row = max((level[source] + 1 for source in into[node]), default=0)
        while taken[row] and taken[row] + width > WIDEST:
            row += 1
        level[node] = row
        taken[row] += width + gap
    return level


def _chain(index: int, edge: Edge, level: Mapping[Node, int]) -> list[Node]:
    source, target = edge
    return [source, *((index, row) for row in range(level[source] + 1, level[target])), target]


def _rows(
    sizes: Mapping[Node, float], level: Mapping[Node, int], chains: Sequence[list[Node]]
) -> list[list[Node]]:
    depth = {**level}
    for chain in chains:
        for offset, place in enumerate(chain[1:-1], 1):
            depth[place] = level[chain[0]] + offset
    rows: list[list[Node]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in sizes:
        rows[depth[node]].append(node)
    return rows


def _order_and_place(
    rows: list[list[Node]],
    sizes: Mapping[Node, float],
    above: Mapping[Node, list[Node]],
    below: Mapping[Node, list[Node]],
    gap: float,
) -> dict[Node, float]:
    """Order each row by the mean place of its neighbours, up and down in turn, and give every node its x."""
    x: dict[Node, float] = {}
    for row in rows:
        _pack(row, dict.fromkeys(row, 0.0), sizes, gap, x)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            near = above if down else below
            wish = {node: _mean([x[other] for other in near[node]], x[node]) for node in row}
            row.sort(key=lambda node, wish=wish: wish[node])  # type: ignore[misc]
            _pack(row, wish, sizes, gap, x)
    return x


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _pack(
    row: list[Node],
    wish: Mapping[Node, float],
    sizes: Mapping[Node, float],
    gap: float,
    x: dict[Node, float],
) -> None:
    """Put the row's nodes as near to where they wish as their widths allow, keeping their order.

    Neighbours that would overlap form a block whose offset is the mean of its members' wishes (isotonic regression).
    """
    blocks: list[tuple[float, int]] = []  # mean offset, members
    edge, starts = 0.0, []
    for node in row:
        starts.append(edge + sizes[node] / 2)
        edge += sizes[node] + gap
        blocks.append((wish[node] - starts[-1], 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (a, m), (b, n) = blocks[-2:]
            blocks[-2:] = [((a * m + b * n) / (m + n), m + n)]
    offsets = [offset for offset, members in blocks for _ in range(members)]
    for node, start, offset in zip(row, starts, offsets, strict=True):
        x[node] = start + offset
