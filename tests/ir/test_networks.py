from __future__ import annotations

import networkx

from nasflow import ir


def test_a_graph_becomes_one_node_for_each_operation() -> None:
    tied = ir.shared(lambda x: ir.Conv2d(3)(x))
    x = ir.image(3, 8)
    parts = ir.Split(3)(tied(tied(x, name="a"), name="b"))
    graph = ir.Space(ir.Concat()(parts[2], parts[0]), name="net").bind({})
    flat = graph.to_networkx()
    assert networkx.is_directed_acyclic_graph(flat)
    operations = [data["op"] for _, data in flat.nodes(data=True)]
    assert sorted(operations) == ["Concat", "Conv2d", "Conv2d", "Split", "input", "result"]
    weights = [data["weights"] for _, data in flat.nodes(data=True) if data["op"] == "Conv2d"]
    assert weights[0] == weights[1] is not None
    concat = next(name for name, data in flat.nodes(data=True) if data["op"] == "Concat")
    taken = {(data["source"], data["target"]) for *_, data in flat.in_edges(concat, data=True)}
    assert taken == {(2, 0), (0, 1)}


def test_nesting_leaves_the_flat_graph_alike() -> None:
    def body(x: ir.Value) -> ir.Value:
        return ir.Add()(ir.Conv2d(3)(x), x)

    x = ir.image(3, 8)
    flat = ir.Space(body(x)).bind({}).to_networkx()
    nested = ir.Space(ir.block(body)(x)).bind({}).to_networkx()
    assert networkx.is_isomorphic(flat, nested, node_match=lambda a, b: a["op"] == b["op"])
