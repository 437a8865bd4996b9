from __future__ import annotations

import dataclasses
import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasflow import ir
from nasflow.ir.cost import Cost, rows
from nasflow.ir.graph import Graph

from . import tiny


def bound(*outputs: ir.Value) -> Graph:
    return ir.Space(outputs, name="net").bind({})


@ir.block
def stem(x: ir.Value) -> ir.Value:
    return ir.Activation("relu")(ir.BatchNorm()(ir.Conv2d(8, 3, 2, bias=False)(x)))


def network() -> Graph:
    x = stem(ir.image(3, 16))  # 8 x 8 x 8
    y = ir.Conv2d(8, 3)(x, name="first")
    y = ir.Conv2d(8, 5, groups=8)(y, name="second")
    y = ir.Add()(x, y)
    return bound(ir.Linear(10)(ir.Flatten()(y), name="head"))


def test_counts_by_hand() -> None:
    cost = network().cost()
    assert cost.params == 3 * 8 * 9 + 16 + (8 * 8 * 9 + 8) + (8 * 25 + 8) + (512 * 10 + 10)
    assert cost.macs == 64 * (3 * 8 * 9 + 8 * 8 * 9 + 8 * 25) + 512 * 10
    assert cost.activations == 3 * 512 + 10
    assert cost.depth == 4
    # At most the sum's two inputs and its result, 512 elements each, or the image and the stem.
    assert cost.peak_memory == 4 * max(3 * 512, 3 * 256 + 512)


def test_dead_nodes_cost_nothing() -> None:
    x = ir.image(3, 16)
    ir.Conv2d(64, 3)(x)
    gate = ir.choice("second", False, True)
    y = ir.Add()(ir.Conv2d(4)(x), ir.Gated(ir.Conv2d(4, 3)(x), gate))
    space = ir.Space(y)
    assert space.bind({"second": False}).cost().params == 16
    assert space.bind({"second": True}).cost().params == 16 + 3 * 4 * 9 + 4


def test_shared_weights_count_once_and_their_multiplications_each_time() -> None:
    x = ir.image(3, 16)
    tied = ir.shared(lambda x: ir.Conv2d(3)(x))
    graph = bound(tied(tied(x, name="a"), name="b"))
    assert graph.cost().params == 12
    assert graph.cost().macs == 2 * 9 * 256
    counted = [(row.path.rpartition("/")[0], row.params, row.macs) for row in rows(graph)]
    assert counted in ([("a", 12, 2304), ("b", 0, 2304)], [("", 12, 2304), ("", 0, 2304)])


def test_rows_add_up() -> None:
    graph = network()
    assert sum(row.params for row in rows(graph)) == graph.params
    assert sum(row.macs for row in rows(graph)) == graph.macs
    first = next(iter(rows(graph)))
    assert first.path == "stem/conv2d"
    assert first.operation.startswith("Conv2d(out=8, kernel=3, stride=2")
    assert str(first.outputs[0]) == "C=8 H=8 W=8"


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([ir.Conv2d(4, 3)], 3),
        ([ir.Conv2d(4, 3), ir.Conv2d(4, 3)], 5),
        ([ir.Conv2d(4, 3, 2), ir.Conv2d(4, 3)], 7),
        ([ir.Conv2d(4, 3, dilation=2)], 5),
        ([ir.MaxPool(2, 2, padding=0), ir.Conv2d(4, 3, 2), ir.AvgPool(3)], 2 + 2 * 2 + 4 * 2),
        ([ir.Conv2d(4, 3), ir.Mean()], None),
        ([ir.Conv2d(4, 3), ir.Flatten(), ir.Linear(3)], None),
        ([ir.Activation()], 1),
    ],
)
def test_receptive_field(layers: list[ir.Operation], expected: int | None) -> None:
    x = ir.image(3, 32)
    for layer in layers:
        x = layer(x)
    assert bound(x).cost().receptive_field == expected


def test_the_widest_branch_decides_the_field_and_the_longest_path_the_depth() -> None:
    x = ir.image(4, 32)
    left = ir.Conv2d(4, 7)(x)
    right = ir.Conv2d(4)(ir.Conv2d(4, 3)(x))
    cost = bound(ir.Add()(left, right, x)).cost()
    assert (cost.receptive_field, cost.depth) == (7, 2)


def test_peak_memory_of_nested_blocks_is_that_of_the_flat_network() -> None:
    def body(x: ir.Value) -> ir.Value:
        y = ir.Conv2d(16)(x)
        return ir.Add()(ir.Conv2d(4)(ir.Activation()(y)), x)

    x = ir.image(4, 8)
    flat, nested = bound(body(body(x))), bound(ir.block(body)(ir.block(body)(x)))
    assert flat.cost().peak_memory == nested.cost().peak_memory == 4 * 64 * (4 + 16 + 16)


def flat_peak(graph: Graph) -> int:
    """Return the peak by flattening: the plain reading of the definition."""
    sizes = [type_.numel for type_ in graph.inputs]
    steps: list[tuple[list[int], list[int]]] = []

    def run(inner: Graph, values: list[int]) -> list[int]:
        for node in inner.nodes:
            taken = [values[i] for i in node.inputs]
            if isinstance(node.content, Graph):
                values.extend(run(node.content, taken))
                continue
            made = list(range(len(sizes), len(sizes) + len(node.content.outputs)))
            sizes.extend(type_.numel if taken else 0 for type_ in node.content.outputs)
            values.extend(made)
            steps.append((taken, made))
        return [values[i] for i in inner.results]

    results = run(graph, list(range(len(graph.inputs))))
    last = {value: step for step, (taken, _) in enumerate(steps) for value in taken}
    last.update(dict.fromkeys(results, len(steps)))
    live = peak = sum(sizes[: len(graph.inputs)])
    for step, (taken, made) in enumerate(steps):
        live += sum(sizes[value] for value in made)
        peak = max(peak, live)
        live -= sum(sizes[value] for value in {*taken, *made} if last.get(value, step) == step)
    return 4 * peak


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 10))
def test_peak_memory_of_any_nesting_is_that_of_the_flat_network(seed: int, nodes: int) -> None:
    graph = tiny.random_network(random.Random(seed), nodes)
    assert graph.cost().peak_memory == flat_peak(graph)


def test_peak_memory_where_values_pass_through_blocks() -> None:
    @ir.block
    def swap(a: ir.Value, b: ir.Value) -> tuple[ir.Value, ...]:
        table = ir.Parameter(("C", "H", "W"), (4, 8, 8))()
        return b, ir.Add()(ir.Conv2d(4)(a), table), ir.Activation()(b), table

    x = ir.image(4, 8)
    y = ir.Conv2d(4, 3)(x)
    for _ in range(3):
        a, b, c, table = swap(x, y)
        x, y = swap(ir.Add()(b, table), a)[:2]
        x = ir.Add()(x, swap(c, c)[0])
    for outputs in ((x,), (x, y), (y, y)):
        graph = bound(*outputs)
        assert graph.cost().peak_memory == flat_peak(graph)


def test_weights_as_values_are_no_activations() -> None:
    x = ir.trace.source("x", ("L", "D"), (8, 4), "float")
    y = ir.Add()(x, ir.Parameter(("L", "D"), (8, 4))())
    assert bound(y).cost().peak_memory == 4 * 64


def test_cost_is_lazy_plain_and_travels() -> None:
    cost = network().cost()
    assert cost.params and "_graph" in vars(cost) and "depth" not in vars(cost)
    assert dataclasses.asdict(cost)["depth"] == 4
    assert pickle.loads(pickle.dumps(cost)) == cost == Cost.of(network())
    with pytest.raises(AttributeError, match="it has params, macs"):
        _ = cost.flops  # type: ignore[attr-defined]
