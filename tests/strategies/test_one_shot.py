"""What one-shot strategies add: paths, losses and updates, each against a formula or a count."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nasflow import ir
from nasflow.errors import ConfigError, NasflowWarning
from nasflow.search.strategy import Result, create
from strategies._distil import adaptive, alpha_divergence, soft_cross_entropy
from strategies._gradients import projected
from strategies._paths import Fair, Shrinking
from tests.strategies.spaces import flat, gated


def priced() -> ir.Space:
    """Return a space of 4 x 3 x 2 points whose multiply-adds differ."""
    x = ir.image(3, 8)
    with ir.scope("a"):
        x = ir.Conv2d(ir.choice("width", 4, 8, 12, 16, ordered=True), 3)(x)
    with ir.scope("b"):
        x = ir.Conv2d(
            ir.choice("width", 4, 8, 12, ordered=True), ir.choice("kernel", 1, 3, ordered=True)
        )(x)
    return ir.Space(x, name="priced")


def logits(seed: int, spread: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(6, 5, generator=generator, dtype=torch.float64) * spread
    return drawn.requires_grad_()


# -- distillation ---------------------------------------------------------------------------------


def divergence(q: Tensor, p: Tensor, alpha: float) -> Tensor:
    """The definition (AlphaNet, equation 4), term by term."""
    if alpha == 1:
        return (p * (p / q).log()).sum(1)
    if alpha == 0:
        return (q * (q / p).log()).sum(1)
    return (q * ((p / q) ** alpha - 1)).sum(1) / (alpha * (alpha - 1))


@pytest.mark.parametrize("alpha", [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
def test_alpha_divergence_and_its_gradient_are_the_definitions(alpha: float) -> None:
    student, teacher = logits(0), logits(1).detach()
    found = alpha_divergence(student, teacher, alpha, clip=1e9)
    (own,) = torch.autograd.grad(found.sum(), student)
    wanted = divergence(student.softmax(1), teacher.softmax(1), alpha)
    (direct,) = torch.autograd.grad(wanted.sum(), student)
    assert torch.allclose(found, wanted, rtol=1e-9)
    assert torch.allclose(own, direct, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("alpha", [-1.0, 1.0])
def test_importance_weights_are_clipped_in_the_gradient(alpha: float) -> None:
    student, teacher = logits(0, 4.0), logits(1, 4.0).detach()
    (own,) = torch.autograd.grad(alpha_divergence(student, teacher, alpha, 5.0).sum(), student)
    q, p = student.detach().softmax(1), teacher.softmax(1)
    weight = ((p / q) ** alpha).clamp(max=5.0)
    assert ((p / q) ** alpha > 5).any()
    # -1/alpha sum_k q_k w_k grad log q_k, with grad_j log q_k = [j = k] - q_j
    wanted = -(q * weight - q * (q * weight).sum(1, keepdim=True)) / alpha
    assert torch.allclose(own, wanted, rtol=1e-9, atol=1e-12)


def test_the_larger_divergence_of_each_sample_counts() -> None:
    student = torch.cat([logits(seed) for seed in range(20)])
    teacher = torch.cat([logits(seed, 1.0) for seed in range(20, 40)]).detach()
    low = alpha_divergence(student, teacher, -1.0, 5.0)
    high = alpha_divergence(student, teacher, 1.0, 5.0)
    assert (low > high).any() and (low < high).any()
    assert torch.allclose(
        adaptive(student, teacher, -1.0, 1.0, 5.0), torch.maximum(low, high).mean()
    )


def test_soft_cross_entropy_is_cross_entropy_against_probabilities() -> None:
    student, teacher = logits(0), logits(1).detach()
    wanted = F.cross_entropy(student, teacher.softmax(1))
    assert torch.allclose(soft_cross_entropy(student, teacher), wanted)


# -- gradients ------------------------------------------------------------------------------------


def test_a_conflicting_gradient_is_projected_onto_the_normal_plane_of_its_weight() -> None:
    big = [torch.tensor([1.0, -3.0]), None, torch.tensor([2.0]), torch.tensor([1.0, 1.0])]
    small = [torch.tensor([0.5, 2.0]), torch.tensor([1.0]), None, torch.tensor([1.0, 0.0])]
    first, second, third, fourth = projected(big, small)
    assert abs(float((first * small[0]).sum())) < 1e-6
    gone = (first - big[0]) / small[0]
    assert torch.allclose(gone, gone[0].expand(2))  # only the part along the other is taken
    assert second is None and third is big[2]
    assert torch.equal(fourth, big[3])  # these agree


def test_projection_may_begin_late() -> None:
    strategy = create({"name": "nasvit", "after": 0.5}, flat(2), 0)
    big, small = [torch.tensor([1.0, -3.0])], [torch.tensor([0.5, 2.0])]
    strategy.paths(4, 10)
    assert torch.allclose(strategy.update([big, small])[0], (big[0] + small[0]) / 2)
    strategy.paths(5, 10)
    assert not torch.allclose(strategy.update([big, small])[0], (big[0] + small[0]) / 2)


def test_gradients_that_agree_stay_as_they_are() -> None:
    big, small = [torch.tensor([1.0, 3.0])], [torch.tensor([0.5, 2.0])]
    assert torch.equal(projected(big, small)[0], big[0])
    strategy = create({"name": "nasvit"}, flat(2), 0)
    (mean,) = strategy.update([big, small, small])
    assert torch.allclose(mean, (big[0] + 2 * small[0]) / 3)
    (mean,) = strategy.update([[-big[0]], small, small])
    normal = -big[0] + (big[0] @ small[0]) / (small[0] @ small[0]) * small[0]
    assert torch.allclose(mean, (normal + 2 * small[0]) / 3)


# -- paths ----------------------------------------------------------------------------------------


def test_the_sandwich_has_the_biggest_the_smallest_and_random_ones() -> None:
    space = gated()
    strategy = create({"name": "sandwich", "children": 3}, space, 0)
    paths = strategy.paths(5, 100)
    assert len(paths) == 5
    assert paths[:2] == [space.largest(), space.smallest()]
    assert paths == create({"name": "sandwich", "children": 3}, space, 0).paths(5, 100)
    assert paths[2:] != strategy.paths(6, 100)[2:]
    assert [strategy.regularises(i) for i in range(3)] == [True, False, False]
    big = {"name": "sandwich", "biggest": {"bias": False}}
    first, second, *_ = create(big, space, 0).paths(0, 1)
    assert first["bias"] is False and second["bias"] is True


def test_fair_paths_train_every_option_of_every_decision_equally_often() -> None:
    space = flat(2, 3, 6)
    strategy = create({"name": "single_path", "sampling": "fair"}, space, 0)
    assert strategy.children == 6
    counts: Counter[tuple[str, object]] = Counter()
    for step in range(5):
        counts.update(item for path in strategy.paths(step, 5) for item in path.items())
        for decision in space.decisions:
            turns = {counts[decision.name, option] for option in decision.options}
            assert turns == {(step + 1) * 6 // len(decision.options)}
    late = create({"name": "single_path", "sampling": "fair"}, space, 0)
    assert late.paths(4, 5) == strategy.paths(4, 5)  # a resumed training takes the same ones


def test_fair_paths_are_fair_to_conditional_decisions_too() -> None:
    space = gated()
    paths = Fair(space, 0).paths(0, 50)
    for decision in space.decisions:
        if decision.searched:
            turns = Counter(path[decision.name] for path in paths if decision.name in path)
            assert max(turns.values()) - min(turns[o] for o in decision.options) <= 1


def test_single_paths_are_uniform_over_each_decision() -> None:
    strategy = create({"name": "single_path"}, gated(), 0)
    depths = Counter(strategy.paths(step, 300)[0]["depth"] for step in range(300))
    assert all(70 < depths[depth] < 130 for depth in (1, 2, 3))  # not by the points each has


def test_shrinking_opens_one_kind_after_the_other() -> None:
    space = priced()
    shrinking = Shrinking(space, 0, ("kernel", "width"), (), full=0.2)
    assert shrinking.draw(19, 100, 2) == [space.largest()] * 2
    kernels = {p["b/kernel"] for s in range(20, 60) for p in shrinking.draw(s, 100, 2)}
    widths = {p["a/width"] for s in range(20, 60) for p in shrinking.draw(s, 100, 2)}
    assert kernels == {1, 3} and widths == {16}
    early = {p["a/width"] for s in range(60, 70) for p in shrinking.draw(s, 100, 4)}
    late = {p["a/width"] for s in range(90, 100) for p in shrinking.draw(s, 100, 4)}
    assert early == {12, 16} and late == {4, 8, 12, 16}


def test_once_for_all_freezes_its_teacher_when_shrinking_begins() -> None:
    settings = {"name": "ofa", "phases": ["kernel", "width"], "children": [1, 2], "full": 0.25}
    strategy = create(settings, priced(), 0)
    assert [step for step in range(40) if strategy.freeze(step, 40)] == [10]
    assert [len(strategy.paths(step, 40)) for step in (0, 10, 30)] == [1, 1, 2]
    student, teacher = logits(0), logits(1).detach()
    hard = strategy.loss(0, student, lambda x: x.sum(), None)
    soft = strategy.loss(0, student, lambda x: x.sum(), teacher)
    assert torch.allclose(soft - hard, soft_cross_entropy(student, teacher))


# -- selection ------------------------------------------------------------------------------------


def told(strategy, space: ir.Space, count: int) -> list[ir.Point]:  # type: ignore[no-untyped-def]
    proposed = []
    for _ in range(count):
        point = strategy.ask()
        proposed.append(point)
        macs = float(space.bind(point).cost().macs)
        accuracy = macs / 1e6 + point["b/kernel"] / 100
        strategy.tell(point, Result({"accuracy": accuracy, "macs": macs}, accuracy))
    return proposed


def test_the_grid_lies_just_under_the_budgets_and_the_best_is_refined() -> None:
    space = priced()
    macs = sorted(space.bind(p).cost().macs for p in space.enumerate())
    budgets = [macs[8], macs[-1]]
    strategy = create({"name": "sandwich", "budgets": budgets, "coarse": 2}, space, 0)
    grid = told(strategy, space, 4)
    costs = [space.bind(p).cost().macs for p in grid]
    assert all(cost <= budgets[0] for cost in costs[:2]) and costs[2] == budgets[1]
    assert grid[0]["a/width"] == space.decision("a/width").options[0] or costs[0] > macs[2]
    told(strategy, space, 16)
    networks = strategy.remarks().networks
    best = max(
        (p for p in space.enumerate() if space.bind(p).cost().macs <= budgets[0]),
        key=lambda p: space.bind(p).cost().macs / 1e6 + p["b/kernel"] / 100,
    )
    assert networks == {"budget1": best, "budget2": space.largest()}


def test_budgets_come_from_the_space_where_none_are_given() -> None:
    space = priced()
    strategy = create({"name": "alphanet"}, space, 0)
    rng = random.Random(1)
    assert len(strategy.budgets) == 3
    share = [
        sum(space.bind(space.sample(rng)).cost().macs <= b for _ in range(200)) / 200
        for b in strategy.budgets
    ]
    assert share == pytest.approx([0.25, 0.5, 0.75], abs=0.15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "sandwich", "budgets": [1]}, "the least that was found among the smallest child"),
        ({"name": "sandwich", "budgets": ["a"]}, r"budgets: expected a number above 0, got 'a'"),
        ({"name": "sandwich", "children": -3}, r"children: expected a whole number from 0, got -3"),
        ({"name": "sandwich", "children": True}, r"children: expected a whole number from 0"),
        ({"name": "sandwich", "coarse": "many"}, r"coarse: expected a whole number from 0"),
        ({"name": "sandwich", "zero_init": "maybe"}, r"zero_init must be true or false"),
        ({"name": "sandwich", "biggest": [1]}, r"biggest: expected decisions and their values"),
        ({"name": "alphanet", "clip": 0}, r"clip: expected a number above 0, got 0"),
        ({"name": "alphanet", "low": "a"}, r"low: expected a number, got 'a'"),
        ({"name": "nasvit", "after": 2}, r"after: expected a number from 0 to 1, got 2"),
        (
            {"name": "single_path", "children": 0},
            r"children: expected a whole number from 1, got 0",
        ),
        ({"name": "ofa", "children": ["a", 1, 2]}, r"children: expected a whole number from 1"),
        ({"name": "ofa", "phases": "kernel"}, r"phases: expected a list, got 'kernel'"),
        ({"name": "ofa", "distil": -1}, r"distil: expected a number from 0, got -1"),
        ({"name": "sandwich", "budgets": 5}, "expected a list"),
        ({"name": "sandwich", "cost": "mac"}, "did you mean 'macs'"),
        ({"name": "single_path", "sampling": "fairly"}, "did you mean 'fair'"),
        ({"name": "ofa", "children": [1]}, "as many children as phases"),
    ],
)
def test_wrong_settings_are_one_line(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        create(settings, priced(), 0)
    assert "\n" not in str(caught.value)


def test_a_phase_that_opens_nothing_is_mentioned() -> None:
    with pytest.warns(
        NasflowWarning, match=r"called 'widht' \(did you mean 'width'\?\); that phase"
    ):
        create({"name": "ofa", "phases": ["widht"], "children": [1]}, priced(), 0)


def test_budgets_may_be_below_the_first_options_where_others_are_cheaper() -> None:
    branches = {"wide": ir.Conv2d(64, 3), "narrow": ir.Conv2d(4, 1)}
    x = ir.switch(ir.choice("op", *branches), branches)(ir.image(1, 8))
    space = ir.Space(ir.Mean()(x), name="cells")
    dear, cheap = (space.bind({"op": name}).cost().macs for name in branches)
    assert cheap < dear == space.bind(space.smallest()).cost().macs
    assert create({"name": "sandwich", "budgets": [cheap]}, space, 0).budgets == (cheap,)
