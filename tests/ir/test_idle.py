"""Operations that change nothing at a point leave no node behind."""

from __future__ import annotations

from nasflow import ir


def net() -> ir.Space:
    x = ir.image(3, 8)
    shift = ir.choice("shift", 0, 2)
    y = ir.Roll((shift, shift), ("H", "W"))(ir.Pad((0, shift, 0, shift))(x))
    y = ir.Add()(ir.Slice("H", 0, 8 + shift)(y), ir.Gated(y, shift > 0))
    return ir.Space(ir.Activation("relu")(y), name="net")


def test_a_shift_by_nothing_leaves_no_node() -> None:
    graph = net().bind({"shift": 0})
    assert [node.name for node in graph.nodes] == ["activation"]
    assert graph.nodes[0].inputs == (0,)


def test_a_shift_by_something_stays() -> None:
    graph = net().bind({"shift": 2})
    names = [node.name for node in graph.nodes]
    assert names == ["pad", "roll", "add", "activation"]  # the slice keeps all of the map


def test_a_block_of_nothing_is_its_input() -> None:
    @ir.block
    def nothing(x: ir.Value) -> ir.Value:
        return ir.Pad((0, 0))(x)

    graph = ir.Space(ir.Activation()(nothing(ir.image(3, 8))), name="net").bind({})
    assert [node.name for node in graph.nodes] == ["activation"]


def test_dropping_nothing_leaves_no_node() -> None:
    rate = ir.choice("rate", 0.0, 0.5)
    y = ir.DropPath(rate)(ir.Dropout(rate)(ir.Activation()(ir.image(3, 8))))
    space = ir.Space(y, name="net")
    assert len(space.bind({"rate": 0.0}).nodes) == 1
    assert len(space.bind({"rate": 0.5}).nodes) == 3


def test_what_is_left_of_a_concatenation_stays_where_it_stood() -> None:
    first = ir.choice("first", 0, 1)
    x = ir.image(3, 8)
    parts = [ir.Activation(form)(x, name=form) for form in ("relu", "tanh")]
    y = ir.Concat()(ir.Gated(parts[0], first), parts[1])
    graph = ir.Space(ir.Mean()(y), name="net").bind({"first": 0})
    assert [(node.name, node.taken) for node in graph.nodes][1] == ("concat", (1,))
    same = ir.Space(ir.Mean()(parts[1]), name="net").bind({})
    assert graph.fingerprint == same.fingerprint
    assert graph.cost().peak_memory == same.cost().peak_memory
