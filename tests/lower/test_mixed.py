"""Mixtures against sums written by hand, and what has none."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
import yaml

import nasflow
from nasflow import ir
from nasflow.errors import ConfigError, SpaceError
from nasflow.lower.mixed import Mixed, unmixed
from strategies.darts import discretise

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


def test_a_mixture_with_one_share_of_one_is_that_network(images: torch.Tensor) -> None:
    cells = {end: ir.choice(f"op{end}", "conv", "pool") for end in (0, 1)}
    x = y = ir.image(4, 6)
    for end, choice in cells.items():
        y = ir.Add()(ir.switch(choice, OPERATIONS)(y), x, name=f"node{end}")
    space = ir.Space(closing(y))
    mixed, plain = Mixed(space), space.bind(space.smallest()).to_torch(seed=3)
    ours = dict(zip(plain.state_dict(), [t for p in mixed.parts for t in p.state_dict().values()],
                    strict=True))  # fmt: skip
    plain.load_state_dict(ours)
    with torch.no_grad():
        for alpha in mixed.alphas:
            alpha.copy_(torch.tensor([1000.0, 0.0]))
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


def test_widths_are_mixed_where_the_paths_through_them_end_in_one_type(
    images: torch.Tensor,
) -> None:
    width = ir.choice("width", 4, 8, ordered=True)
    x = ir.Activation("relu")(ir.Conv2d(width, 3)(ir.image(4, 6), name="wide"))
    mixed = Mixed(ir.Space(ir.Conv2d(2, 1)(x, name="narrow")))
    with torch.no_grad():
        mixed.alphas[0].copy_(torch.tensor([1.0, -0.5]))
    first, second = mixed.alphas[0].softmax(0)
    wide = {p.state_dict()[k].shape[0]: p for p in mixed.parts for k in p.state_dict()
            if p.state_dict()[k].shape[-1] == 3}  # fmt: skip
    narrow = {p.state_dict()[k].shape[1]: p for p in mixed.parts for k in p.state_dict()
              if p.state_dict()[k].ndim == 4 and p.state_dict()[k].shape[-1] == 1}  # fmt: skip
    paths = [narrow[n](wide[n](images).relu()) for n in (4, 8)]
    assert torch.allclose(mixed(images), first * paths[0] + second * paths[1], atol=1e-6)


def test_what_is_let_in_is_multiplied_by_the_share_that_lets_it(images: torch.Tensor) -> None:
    x, keep = ir.image(4, 6), ir.choice("keep", False, True)
    other = ir.AvgPool(3)(x)
    space = ir.Space(ir.Add()(ir.Gated(other, keep), x))
    mixed = Mixed(space)
    with torch.no_grad():
        mixed.alphas[0].copy_(torch.tensor([0.0, 2.0]))
    share = mixed.alphas[0].softmax(0)[1]
    pooled = torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    assert torch.allclose(mixed(images), images + share * pooled, atol=1e-6)


def test_what_cannot_be_summed_is_held_and_the_rest_mixed() -> None:
    x = ir.Conv2d(ir.choice("width", 4, 8, ordered=True), 3)(ir.image(4, 6), name="stem")
    op = ir.choice("op", *OPERATIONS)
    operations = {**OPERATIONS, "conv": lambda x: ir.Conv2d(x.dim("C"), 3)(x)}
    x = ir.repeat(
        lambda x: ir.Add()(ir.switch(op, operations)(x), x), ir.choice("depth", 1, 2, ordered=True)
    )(x)
    x = ir.Add()(x, ir.Conv2d(x.dim("C"), 1)(x, name="end"))
    space = ir.Space(closing(x))
    assert unmixed(space)[0] == {"width": 8, "depth": 2}
    mixed = Mixed(space, hold="smallest")
    assert mixed.held == {"width": 4, "depth": 1}
    assert mixed.reasons["depth"] == "a decision counts repeats"
    assert "C=4 H=6 W=6 and C=8 H=6 W=6" in mixed.reasons["width"]
    assert [d.name for d in mixed.decisions] == ["op"]
    with pytest.raises(ConfigError, match="expected one of biggest, smallest, got 'most'"):
        Mixed(space, hold="most")  # type: ignore[arg-type]


def test_a_space_in_which_nothing_can_be_summed_is_refused_in_one_line() -> None:
    x = ir.image(4, 6)
    x = ir.repeat(lambda x: OPERATIONS["conv"](x), ir.choice("depth", 1, 2, ordered=True))(x)
    with pytest.raises(
        SpaceError, match=r"\(a decision counts repeats\); darts is for choices .* and inputs$"
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


CONF = Path(__file__).resolve().parents[2] / "conf" / "space"
REFUSED = {"gpt", "rir", "xception"}


@functools.cache
def reduced(name: str, **given: int) -> ir.Space:
    """Return a space as the command line has it, or as published."""
    path = CONF / f"{name}.yaml"
    settings = yaml.safe_load(path.read_text()) if path.is_file() else {}
    return nasflow.space(name, **{k: v for k, v in settings.items() if k != "name"} | given)


@pytest.mark.parametrize("name", nasflow.spaces())
def test_every_space_is_mixed_or_refused_in_one_line(name: str) -> None:
    space = reduced(name)
    if name in REFUSED:
        with pytest.raises(SpaceError, match=r"options of none of its decisions") as caught:
            unmixed(space)
        assert "\n" not in str(caught.value)
        return
    held, reasons = unmixed(space)
    searched = [d.name for d in space.decisions if d.searched]
    assert held.keys() == reasons.keys() < set(searched)
    assert all(value in space.decision(name).options for name, value in held.items())
    if name in ("darts", "enas", "nas_bench_201", "nas_bench_macro"):
        assert not held


@pytest.mark.parametrize("name", ["mobilenet_v2", "vit", "mixer", "resnet"])
def test_the_weights_of_one_share_of_one_are_those_of_its_network(name: str) -> None:
    space = reduced(name, size=32)
    mixed = Mixed(space, hold="smallest")
    held = {name: (value, "") for name, value in mixed.held.items()}
    point = discretise(space, {"decisions": {}, "edges": [], "held": held})
    with torch.no_grad():
        for decision, alpha in zip(mixed.decisions, mixed.alphas, strict=True):
            chosen = point.get(decision.name, decision.options[0])
            alpha.zero_()[decision.options.index(chosen)] = 1000.0
        for weight in mixed.weights():  # some start as nothing and let no gradient through
            weight.normal_(0.0, 0.1)
    (kind,) = mixed.inputs
    mixed(torch.randn(2, *kind.shape)).square().sum().backward()
    used = [p for p in mixed.weights() if p.grad is not None and bool(p.grad.any())]
    child = space.bind(point)
    assert sum(p.numel() for p in used if p.ndim > 1) == sum(
        p.numel() for p in child.to_torch().parameters() if p.ndim > 1
    )
