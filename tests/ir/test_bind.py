"""What switches, picks, conditions, repeats, shared blocks and gated inputs mean once bound."""

from __future__ import annotations

import pytest

from nasflow import ir
from nasflow.errors import GraphError, NasflowError, SpaceError, TypeRuleError
from nasflow.ir.graph import Graph


def names(graph: Graph) -> list[str]:
    return [type(node.content.op).__name__ for _, node, _ in graph.walk()]  # type: ignore[union-attr]


def test_a_switch_runs_the_chosen_branch_only() -> None:
    kind = ir.choice("kind", "conv", "pool", "none")
    branches = {
        "conv": lambda x: ir.Conv2d(8, 3)(x),
        "pool": lambda x: ir.MaxPool(3)(x),
        "none": lambda x: x,
    }
    space = ir.Space(ir.Activation()(ir.switch(kind, branches)(ir.image(3, 8))))
    bound = {option: names(space.bind({"kind": option})) for option in branches}
    assert bound == {
        "conv": ["Conv2d", "Activation"],
        "pool": ["MaxPool", "Activation"],
        "none": ["Activation"],
    }


def test_a_switch_needs_a_branch_for_each_option_of_equal_results() -> None:
    kind = ir.choice("kind", "conv", "pool")
    with pytest.raises(SpaceError, match=r"expected a branch for each option, no \['pool'\]"):
        ir.switch(kind, conv=lambda x: x)
    with pytest.raises(SpaceError, match="branches give differing numbers of values"):
        ir.switch(kind, conv=lambda x: x, pool=lambda x: (x, x))(ir.image(3, 8))


def test_a_pick_takes_one_value_and_the_others_die() -> None:
    x = ir.image(3, 8)
    values = [ir.Conv2d(4, k)(x) for k in (1, 3, 5)]
    space = ir.Space(ir.pick(ir.choice("which", 0, 1, 2), values))
    kernels = []
    for which in range(3):
        (node,) = space.bind({"which": which}).nodes
        kernels.append(node.content.op.attributes()[1])  # type: ignore[union-attr]
    assert kernels == [1, 3, 5]


def test_a_pick_beyond_the_values_is_an_error_that_names_it() -> None:
    x = ir.image(3, 8)
    space = ir.Space(ir.Activation()(ir.pick(ir.choice("which", 0, 1, 2), [x, x], name="source")))
    with pytest.raises(SpaceError, match="source: expected an index from 0 to 1, got 2"):
        space.bind({"which": 2})


def test_a_condition_may_look_at_types_and_gates_nothing() -> None:
    x = ir.Conv2d(ir.choice("width", 4, 8))(ir.image(3, 8))

    def project(x: ir.Value) -> ir.Value:
        return ir.Conv2d(8, ir.choice("kernel", 1, 3))(x)

    space = ir.Space(ir.when(x.dim("C") != 8, project, lambda x: x)(x))
    assert space.size == 4
    counts = {p["width"]: len(space.bind(p).nodes) for p in space.enumerate()}
    assert counts == {4: 2, 8: 1}


def test_attributes_may_follow_the_input() -> None:
    x = ir.Conv2d(ir.choice("width", 4, 8))(ir.image(3, 8))
    space = ir.Space(ir.Conv2d(x.dim("C"), 3, groups=x.dim("C"), bias=False)(x))
    assert [space.bind({"width": w}).nodes[1].content.params for w in (4, 8)] == [36, 72]


def test_a_repeat_runs_as_often_as_the_point_says() -> None:
    def layer(x: ir.Value, i: int, n: ir.Operand) -> ir.Value:
        return ir.Conv2d(4 + i, bias=False)(ir.Dropout(i / (2 * n))(x))  # type: ignore[operator]

    space = ir.Space(ir.repeat(layer, ir.integer("depth", 0, 3))(ir.image(3, 8)))
    bound = {depth: space.bind({"depth": depth}) for depth in range(4)}
    assert [graph.params for graph in bound.values()] == [0, 12, 12 + 20, 12 + 20 + 30]
    rates = [
        node.content.op.attributes()[0]  # type: ignore[union-attr]
        for _, node, _ in bound[3].walk()
        if type(node.content.op).__name__ == "Dropout"  # type: ignore[union-attr]
    ]
    assert rates == [1 / 6, 2 / 6]  # a rate of 0 leaves no node


def test_decisions_inside_a_repeat_are_one_per_iteration_and_outside_tied() -> None:
    width = ir.choice("width", 3, 6)

    def layer(x: ir.Value) -> ir.Value:
        return ir.Conv2d(width, ir.choice("kernel", 1, 3))(x)

    space = ir.Space(ir.repeat(layer, ir.integer("depth", 1, 2), name="stage")(ir.image(3, 8)))
    names = {decision.name for decision in space.decisions}
    assert names == {"depth", "width", "stage/0/kernel", "stage/1/kernel"}
    assert space.size == 2 * (2 + 4)


def test_a_repeat_must_give_what_it_takes() -> None:
    with pytest.raises(SpaceError, match="expected 1 results from its body"):
        ir.repeat(lambda x: (x, x), 2)(ir.image(3, 8))
    with pytest.raises(SpaceError, match="expected a count of 0 or more, got -1"):
        ir.repeat(lambda x: x, ir.choice("n", 0, 1) - 1)


def test_a_gated_input_is_there_only_where_its_gate_holds() -> None:
    x = ir.image(3, 8)
    use = ir.choice("use", False, True)
    left, right = ir.Conv2d(4)(x), ir.Conv2d(5, 3)(x)
    space = ir.Space(ir.Concat()(left, ir.Gated(right, use)))
    assert [space.bind({"use": u}).outputs[0].shape[0] for u in (False, True)] == [4, 9]


def test_a_shared_block_has_one_set_of_weights() -> None:
    x = ir.image(3, 8)
    tied = ir.shared(lambda x: ir.Conv2d(3)(x))
    graph = ir.Space(tied(ir.Activation()(tied(x, name="a")), name="b")).bind({})
    assert graph.params == 12
    assert [(node.name, node.weights) for node in graph.nodes] == [
        ("a", "a"), ("activation", "activation"), ("b", "a"),
    ]  # fmt: skip


def test_shared_weights_on_other_types_are_refused_when_bound() -> None:
    x = ir.image(3, 8)
    tied = ir.shared(lambda x: ir.Conv2d(3)(x))
    space = ir.Space([tied(x, name="a"), tied(ir.MaxPool(1, 2)(x), name="b")])
    with pytest.raises(GraphError, match="b: shares the weights of 'a' but is another operation"):
        space.bind({})


def test_equal_blocks_are_one_object_even_across_points() -> None:
    @ir.block
    def inner(x: ir.Value) -> ir.Value:
        return ir.Activation()(ir.Conv2d(3)(x))

    x = ir.image(3, 8)
    space = ir.Space(ir.pick(ir.choice("deep", 0, 1), [inner(x), inner(inner(x))]))
    first, second = (space.bind({"deep": deep}) for deep in (0, 1))
    assert len({id(node.content) for node in (*first.nodes, *second.nodes)}) == 1


def test_unused_inputs_and_dead_nodes_go() -> None:
    a, b = ir.image(3, 8, name="a"), ir.image(3, 8, name="b")
    graph = ir.Space(ir.pick(ir.choice("which", 0, 1), [ir.Conv2d(4)(a), ir.Conv2d(5)(b)])).bind(
        {"which": 1}
    )
    assert graph.input_names == ("b",) and graph.params == 20


@pytest.mark.parametrize("name", ["Conv", "a-b", "", "a b", "x" * 81, "a\n"])
def test_names_that_cannot_be_attributes_are_refused(name: str) -> None:
    for make in (
        lambda: ir.choice(name, 1, 2),
        lambda: ir.image(3, 8, name=name),
        lambda: ir.scope(name).__enter__(),
    ):
        with pytest.raises(SpaceError, match="lower-case letters"):
            make()


def test_equal_names_are_numbered() -> None:
    x = ir.image(3, 8)
    graph = ir.Space(ir.Conv2d(3)(ir.Conv2d(3)(ir.Conv2d(3)(x)))).bind({})
    assert [node.name for node in graph.nodes] == ["conv2d", "conv2d_2", "conv2d_3"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda x: ir.Linear(3)(ir.Conv2d(3, groups=2)(x, name="mix")),
            "mix: Conv2d groups=2 does",
        ),
        (
            lambda x: ir.Add()(x, ir.Conv2d(4)(x)),
            "add: Add: expected equal types, got C=3 H=8 W=8 and",
        ),
        (
            lambda x: ir.Concat()(x, ir.MaxPool(2, 2)(x)),
            "concat: Concat on C: expected other axes to",
        ),
        (
            lambda x: ir.Conv2d(3, 99, padding=0)(x),
            "conv2d: expected at least 99 entries along the",
        ),
        (lambda x: ir.Activation("rleu")(x), "activation: Activation: expected one of relu"),
        (lambda x: ir.Dropout(1.5)(x), "dropout: Dropout: expected a rate from 0 up to 1, got 1.5"),
        (lambda x: ir.Conv2d(0)(x), "conv2d: Conv2d: expected out from 1, got 0"),
        (lambda x: ir.Matmul()(x, ir.Mean()(x)), "matmul: Matmul: expected inner sizes to agree"),
        (lambda x: ir.Slice("D", 0)(x), "slice: expected a value with axis D, got C=3 H=8 W=8"),
    ],
)
def test_type_errors_say_where_what_and_got(make: object, message: str) -> None:
    space = ir.Space(make(ir.image(3, 8)))  # type: ignore[operator]
    with pytest.raises(TypeRuleError) as caught:
        space.bind({})
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_an_error_inside_a_repeat_names_the_iteration() -> None:
    def layer(x: ir.Value, i: int) -> ir.Value:
        return ir.Conv2d(4 - i, groups=1 + i)(x, name="conv")

    space = ir.Space(ir.repeat(layer, 3, name="stage")(ir.image(4, 8)))
    with pytest.raises(
        NasflowError, match=r"^stage: 1/conv: Conv2d groups=2|^stage/1/conv: Conv2d groups=2"
    ):
        space.bind({})


def test_values_only_are_taken_and_given() -> None:
    with pytest.raises(SpaceError, match="expected values, got int 3"):
        ir.Conv2d(4)(3)  # type: ignore[arg-type]
    with pytest.raises(SpaceError, match="Conv2d: expected 1 inputs, got 2"):
        ir.Conv2d(4)(ir.image(3, 8), ir.image(3, 8))
    with pytest.raises(SpaceError, match="expected the values a network gives"):
        ir.Space([])
