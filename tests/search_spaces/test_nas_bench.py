"""The spaces of the tables: as large as they, and each network has the parameters they print."""

from __future__ import annotations

import random

import pytest

import nasflow
from nasflow.errors import DataError
from nasflow.evaluate import table


def nas_bench_201():  # type: ignore[no-untyped-def]
    try:
        return table.nas_bench_201()
    except DataError as missing:
        pytest.skip(str(missing))


def nas_bench_macro():  # type: ignore[no-untyped-def]
    try:
        return table.nas_bench_macro()
    except DataError as missing:
        pytest.skip(str(missing))


def live(point: dict[str, str]) -> set[str]:
    """Return the edges on a path from the cell's input to its output along which something flows."""
    edges = {tuple(map(int, name.split("_")[1:])): op for name, op in point.items() if op != "none"}
    forward, backward = {0}, {3}
    for end in (1, 2, 3):
        if any((end, start) in edges and start in forward for start in range(end)):
            forward.add(end)
    for start in (2, 1, 0):
        if any((end, start) in edges and end in backward for end in range(start + 1, 4)):
            backward.add(start)
    return {f"edge_{e}_{s}" for e, s in edges if s in forward and e in backward}


def expected_params(operations: list[str]) -> int:
    """Return what the table's own rule gives for these edges."""
    return (
        73306 + 28000 * operations.count("nor_conv_1x1") + 243040 * operations.count("nor_conv_3x3")
    )


def test_every_cell_of_nas_bench_201_can_be_proposed() -> None:
    assert nasflow.space("nas_bench_201").size == 5**6


def test_nas_bench_201_has_the_printed_parameters_and_macs_where_no_edge_is_dead() -> None:
    rows, space, rng, whole = nas_bench_201(), nasflow.space("nas_bench_201"), random.Random(0), 0
    for _ in range(150):
        point = space.sample(rng)
        graph, printed = space.bind(point), rows(None, point=point)
        alive = live(point)  # type: ignore[arg-type]
        assert graph.params == expected_params([str(point[edge]) for edge in alive])
        assert printed["params"] == expected_params([str(op) for op in point.values()])
        if all(edge in alive for edge, op in point.items() if str(op).startswith("nor_conv")):
            whole += 1
            assert graph.params == printed["params"]
            assert graph.macs + 10 == printed["macs"]  # they count the classifier's ten biases
    assert whole > 50


def test_a_cell_that_passes_nothing_on_is_still_a_network() -> None:
    space = nasflow.space("nas_bench_201")
    assert space.bind(dict.fromkeys(table.EDGES, "none")).params == 73306


def test_nas_bench_macro_has_the_printed_parameters_and_macs() -> None:
    rows, space, rng = nas_bench_macro(), nasflow.space("nas_bench_macro"), random.Random(0)
    assert space.size == 3**8
    for _ in range(50):
        point = space.sample(rng)
        graph, printed = space.bind(point), rows(None, point=point)
        assert (graph.params, graph.macs) == (printed["params"], printed["macs"])


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("nas_bench_201_resnet", 559386),
        ("nas_bench_201_best", 1288506),
        ("nas_bench_macro_best", 1985514),
    ],
)
def test_named_points(model: str, params: int) -> None:
    assert nasflow.model(model).params == params
