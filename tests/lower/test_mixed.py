"""Mixtures against sums written by hand, and what has none."""

from __future__ import annotations

import pytest
import torch

import nasflow
from nasflow import ir
from nasflow.errors import SpaceError
from nasflow.lower.mixed import Mixed

OPERATIONS = {
    "skip": lambda x: x,
    "conv": lambda x: ir.BatchNorm()(ir.Conv2d(4, 3, bias=False)(x)),
    "pool": lambda x: ir.AvgPool(3)(x),
}


def closing(x: ir.Value) -> ir.Value:
    return ir.Linear(3)(ir.Mean()(x))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))


def test_a_choice_is_the_sum_of_its_branches_by_their_shares(images: torch.Tensor) -> None:
    choice = ir.choice("op", *OPERATIONS)
    mixed = Mixed(ir.Space(closing(ir.switch(choice, OPERATIONS)(ir.image(4, 6)))))
    with torch.no_grad():
        mixed.alphas[0].copy_(torch.tensor([0.3, -1.0, 2.0]))
    skip, conv, pool = mixed.alphas[0].softmax(0)
    head = next(p for p in mixed.parts if [t.ndim for t in p.state_dict().values()] == [2, 1])
    branch = next(p for p in mixed.parts if len(p.state_dict()) > 2)
    pooled = torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    total = (skip * images + conv * branch(images) + pool * pooled).mean((2, 3))
    assert torch.allclose(mixed(images), head(total), atol=1e-6)
    assert mixed.shares()[0] == {
        "op": pytest.approx([share.item() for share in (skip, conv, pool)])
    }


def test_equal_decisions_are_tied_and_have_weights_of_their_own(images: torch.Tensor) -> None:
    choice = ir.choice("op", "conv", "skip")
    x = ir.repeat(lambda x: ir.switch(choice, OPERATIONS)(x), 3, name="cells")(ir.image(4, 6))
    mixed = Mixed(ir.Space(closing(x)))
    assert [tuple(alpha.shape) for alpha in mixed.alphas] == [(2,)]
    assert sum(weight.ndim == 4 for weight in mixed.weights()) == 3
    mixed(images).sum().backward()
    assert all(parameter.grad is not None for parameter in mixed.parameters())


def test_a_mixture_of_one_network_is_that_network(images: torch.Tensor) -> None:
    cells = {end: ir.choice(f"op{end}", "conv") for end in (0, 1)}
    x = y = ir.image(4, 6)
    for end, choice in cells.items():
        y = ir.Add()(ir.switch(choice, OPERATIONS)(y), x, name=f"node{end}")
    space = ir.Space(closing(y))
    mixed, plain = Mixed(space), space.bind(space.smallest()).to_torch(seed=3)
    ours = dict(zip(plain.state_dict(), [t for p in mixed.parts for t in p.state_dict().values()],
                    strict=True))  # fmt: skip
    plain.load_state_dict(ours)
    assert torch.allclose(mixed(images), plain(images), atol=1e-5)


def pair(states: list[ir.Value], side: int) -> ir.Value:
    with ir.scope("node"):
        source = ir.pick(ir.choice(f"input{side}", *range(len(states))), states)
        return ir.switch(ir.choice(f"op{side}", *OPERATIONS), OPERATIONS)(source)


def test_alike_pairs_of_picks_and_choices_are_one_node_of_edges(images: torch.Tensor) -> None:
    x = ir.image(4, 6)
    states = [x, ir.Conv2d(4, 1)(x, name="other"), ir.Conv2d(4, 1)(x, name="third")]
    y = ir.Add()(pair(states, 0), pair(states, 1))
    mixed = Mixed(ir.Space(closing(y)))
    (group,) = mixed.edges
    assert group.slots == (("node/input0", "node/op0"), ("node/input1", "node/op1"))
    assert (group.inputs, group.options) == ((0, 1, 2), tuple(OPERATIONS))
    assert [tuple(alpha.shape) for alpha in mixed.alphas] == [(3, 4)] and not mixed.decisions
    assert sum(w.shape == (4, 4, 3, 3) for w in mixed.weights()) == 3  # one of each edge
    assert not torch.allclose(mixed(images), mixed(2 * images))
    with torch.no_grad():  # all weight on "none": nothing arrives
        mixed.alphas[0].zero_()[:, -1] = 100.0
    assert torch.allclose(mixed(images), mixed(2 * images), atol=1e-5)


def test_the_darts_space_has_a_group_of_edges_for_each_node() -> None:
    space = nasflow.space("darts", layers=3, filters=4, nodes=2, size=8)
    mixed = Mixed(space)
    assert [len(group.inputs) for group in mixed.edges] == [2, 3, 2, 3]
    assert not mixed.decisions
    assert mixed(torch.randn(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("where", ["width", "depth"])
def test_a_space_of_other_decisions_is_refused_in_one_line(where: str) -> None:
    x = ir.image(4, 6)
    if where == "width":
        x = ir.Conv2d(ir.choice("width", 4, 8, ordered=True), 3)(x)
    else:
        x = ir.repeat(lambda x: OPERATIONS["conv"](x), ir.choice("depth", 1, 2, ordered=True))(x)
    with pytest.raises(
        SpaceError, match=r"darts is for choices of operations and inputs$"
    ) as caught:
        Mixed(ir.Space(closing(x)))
    assert "\n" not in str(caught.value)


def test_a_branch_may_be_a_block_of_many_operations() -> None:
    space = nasflow.space("nas_bench_macro", size=8, channels=4)
    mixed = Mixed(space)
    assert [d.name for d in mixed.decisions] == [d.name for d in space.decisions]
    logits = mixed(torch.randn(2, 3, 8, 8))
    logits.sum().backward()
    found = [alpha.grad for alpha in mixed.alphas]
    assert all(gradient is not None and float(gradient.abs().sum()) > 0 for gradient in found)


@pytest.mark.parametrize(
    ("name", "settings", "what"),
    [
        ("nasnet", {"blocks": 1, "repeats": 1, "filters": 4}, "combine"),
        ("ofa", {}, "input's size"),
        ("inception", {}, "repeats"),
    ],
)
def test_what_stands_in_the_way_is_named(name: str, settings: dict[str, int], what: str) -> None:
    with pytest.raises(SpaceError, match=what):
        Mixed(nasflow.space(name, **settings))
