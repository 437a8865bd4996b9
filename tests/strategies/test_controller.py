from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import torch

from strategies._controller import Controller, pick
from tests.strategies.spaces import gated


def controller(**options: object) -> Controller:
    settings = {
        "hidden": 12,
        "init": 0.5,
        "temperature": 1.0,
        "tanh_limit": None,
        "seed": 0,
    } | options
    return Controller(gated(), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"temperature": 5.0, "tanh_limit": 2.5}])
def test_a_drawn_point_scores_as_it_was_drawn(options: dict[str, float]) -> None:
    model, rng = controller(**options), random.Random(0)
    drawn = [model.draw(rng) for _ in range(16)]
    steps = [model.steps(point) for point, _ in drawn]
    scores, entropy = model.score(steps)
    for row, (point, expected) in enumerate(drawn):
        model.space.check(point)
        count = len(expected)
        assert (
            count == len(steps[row]) == len(point) - 2
        )  # only: a single option; bias: not searched
        torch.testing.assert_close(scores[row, :count], torch.tensor(expected))
        assert (entropy[row, :count] > 0).all()
        assert not scores[row, count:].any() and not entropy[row, count:].any()


def test_probabilities_of_all_points_sum_to_one() -> None:
    model = controller()
    points = list(model.space.enumerate())
    scores, _ = model.score([model.steps(point) for point in points])
    assert scores.sum(dim=1).exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_draws_follow_the_probabilities() -> None:
    model, rng = controller(), random.Random(1)
    counts = Counter(str(model.draw(rng)[0]) for _ in range(3000))
    points = list(model.space.enumerate())
    scores, _ = model.score([model.steps(point) for point in points])
    expected = scores.sum(dim=1).exp().tolist()
    surprise = sum(
        (counts[str(p)] - 3000 * e) ** 2 / (3000 * e) for p, e in zip(points, expected, strict=True)
    )
    assert surprise < 195 + 4 * (2 * 195) ** 0.5  # chi-squared with 195 degrees of freedom


def test_heat_flattens_draws_and_keeps_scores() -> None:
    rng, logits = random.Random(0), [3.0, 0.0]
    cold = Counter(pick(logits, rng, 1.0) for _ in range(2000))
    hot = Counter(pick(logits, rng, 1000.0) for _ in range(2000))
    total = math.exp(3) + 1
    assert dict(list(cold)) == pytest.approx({0: 3 - math.log(total), 1: -math.log(total)})
    assert set(hot) == set(cold)
    assert cold[max(cold, key=cold.__getitem__)] > 1800
    assert 900 < hot[max(hot, key=hot.__getitem__)] < 1100


def test_the_same_seed_gives_the_same_weights_and_leaves_torch_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = controller(), controller(), controller(seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert first.head.weight.abs().max() <= 0.5
