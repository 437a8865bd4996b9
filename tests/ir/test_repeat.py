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
    assert repeat.results == (4,)  # the value before the last one is nobody's
    assert repeat.input_names == ("h", "x")
    again = ir.Graph.from_json(bound(y).to_json())
    assert again.nodes[-1].content.nodes[2].inputs == (2, 3)


def test_an_iteration_that_feeds_an_unused_value_only_is_not_part_of_the_network() -> None:
    def turns(x: ir.Value, y: ir.Value, i: int) -> tuple[ir.Value, ir.Value]:
        return (ir.Conv2d(3)(x), y) if i % 2 else (x, ir.Conv2d(4, 3)(y))

    x = ir.image(3, 8)
    first, second = ir.repeat(turns, 5)(x, ir.Conv2d(4)(x))
    one = bound(first)
    assert [node.name for node in one.nodes] == ["blocks"]  # what made the other value is gone, too
    assert [node.name for node in one.nodes[0].content.nodes] == ["1", "3"]
    assert one.params == 2 * (3 * 3 + 3)
    assert one.fingerprint == bound(ir.Conv2d(3)(ir.Conv2d(3)(x))).fingerprint
    both = bound(first, second)
    assert len(both.nodes[-1].content.nodes) == 5
    assert bound(ir.repeat(turns, 1)(x, ir.Conv2d(4)(x))[0]).nodes == ()


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


def test_a_repeat_that_never_runs_gives_what_it_takes() -> None:
    x = ir.Conv2d(4)(ir.image(3, 8))
    assert [n.name for n in bound(ir.repeat(lambda x: ir.Conv2d(4)(x), 0)(x)).nodes] == ["conv2d"]
