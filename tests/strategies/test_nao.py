from __future__ import annotations

from statistics import fmean

import pytest
import torch

from nasflow import discovery
from nasflow.errors import DataError
from nasflow.evaluate import table
from nasflow.search.strategy import Result
from strategies.nao import NAO, Codec
from tests.strategies.spaces import flat, gated


def test_any_code_is_a_valid_point() -> None:
    space = gated()
    torch.manual_seed(0)
    codec = Codec(space, latent=16, hidden=64)
    points = [codec.decode(30 * torch.randn(1, 16)) for _ in range(50)]
    for point in points:
        space.check(point)
    assert len({point["kind"] for point in points}) == 2


def test_a_trained_decoder_returns_what_was_encoded() -> None:
    space = flat(4, 4, 4)
    strategy = NAO(space, seed=0, warmup=20)
    for i in range(20):
        strategy.tell(space.sample(i), Result(reward=float(i)))
    strategy.ask()
    assert strategy.model is not None
    told = [point for point, _ in strategy.told]
    equal = sum(strategy.model.decode(strategy.model.encode(p)) == p for p in told)
    assert equal >= 18


def test_a_step_raises_the_predicted_reward() -> None:
    torch.manual_seed(0)
    codec = Codec(flat(4, 4, 4), latent=8, hidden=16).requires_grad_(False)
    code = torch.randn(1, 8)
    moved = codec.moved(code, 0.1)
    assert float(codec.predictor(moved)) > float(codec.predictor(code))
    assert float((moved - code).norm()) == pytest.approx(0.1, rel=1e-4)


def test_it_climbs_towards_a_known_optimum() -> None:
    space = flat(*[5] * 8)
    hidden, strategy, rewards = space.sample(1), NAO(space, seed=0, batch=20), []
    for _ in range(80):
        point = strategy.ask()
        assert point is not None
        rewards.append(fmean(point[name] == value for name, value in hidden.items()))
        strategy.tell(point, Result(reward=rewards[-1]))
    assert fmean(rewards[40:]) > 2 * fmean(rewards[:20])


def test_later_proposals_beat_random_ones_on_a_table() -> None:
    try:
        rows = table.nas_bench_macro()
    except DataError as missing:
        pytest.skip(str(missing))
    space = discovery.space("nas_bench_macro")
    strategy, rewards = NAO(space, seed=0, batch=20), []
    for _ in range(80):
        point = strategy.ask()
        assert point is not None
        rewards.append(rows(None, point=point)["accuracy"])
        strategy.tell(point, Result(reward=rewards[-1]))
    drawn = [rows(None, point=space.sample(i))["accuracy"] for i in range(200)]
    assert fmean(rewards[40:]) > sorted(drawn)[150]
