"""What a repeat, a condition and a block become when they are bound."""

from __future__ import annotations

from nasflow import ir


@ir.block
def cell(previous: ir.Value, current: ir.Value, out: int) -> ir.Value:
    return ir.Add()(ir.Conv2d(out)(previous), ir.Conv2d(out)(current))


def bound(*outputs: ir.Value) -> ir.Graph:
    return ir.Space(outputs, name="net").bind({})


def test_an_iteration_that_passes_a_value_on_is_only_its_node() -> None:
    x = ir.Conv2d(8)(ir.image(3, 8))
    _, y = ir.repeat(lambda h, x: (x, cell(h, x, 8)), 3, name="cells")(x, x)
    repeat = bound(y).nodes[-1].content
    assert isinstance(repeat, ir.Graph) and repeat.kind == "repeat"
    assert [node.content.name for node in repeat.nodes] == ["cell"] * 3
    assert [node.inputs for node in repeat.nodes] == [(0, 1), (1, 2), (2, 3)]
    assert repeat.results == (3, 4)
    assert repeat.input_names == ("h", "x")
    again = ir.Graph.from_json(bound(y).to_json())
    assert again.nodes[-1].content.nodes[2].inputs == (2, 3)


def test_blocks_know_what_their_inputs_are_called() -> None:
    x = ir.image(3, 8)
    graph = bound(cell(ir.Conv2d(4)(x), current=x, out=8))
    assert graph.nodes[-1].content.input_names == ("previous", "current")


def test_a_condition_names_its_branches() -> None:
    def net(out: int) -> list[str]:
        x = ir.image(3, 8)
        fit = ir.when(x.dim("C") == out, ir.Activation(), ir.Conv2d(out))
        return [node.name for node in bound(fit(x, name="fit")).nodes]

    assert net(3) == ["fit"]
    assert net(4) == ["fit_else"]


def test_blocks_know_their_settings_even_where_decisions_decide_them() -> None:
    width = ir.choice("width", 8, 16)
    x = cell(ir.image(3, 8, name="a"), ir.image(3, 8, name="b"), 2 * width)
    graph = ir.Space(x, name="net").bind({"width": 16})
    assert graph.nodes[0].content.arguments == {"out": 32}
