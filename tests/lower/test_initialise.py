"""Weights start by the laws that operations declare."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nasflow import ir
from nasflow.ir.weight import LAWS, Init, Weight, axis
from nasflow.lower import initialise
from nasflow.lower.initialise import LAWS as DRAWN
from nasflow.lower.initialise import fans, fill

FAN_IN, FAN_OUT = 64 * 9, 128 * 9


def drawn(law: str, *values: float) -> Tensor:
    weight = Weight("weight", (axis(128), axis(64), axis(3), axis(3)), Init(law, values))
    target = torch.full(weight.shape, math.nan)
    fill(target, weight, fans([weight]), torch.Generator().manual_seed(0))
    return target


def test_every_law_is_known() -> None:
    assert set(DRAWN) == set(LAWS)


@pytest.mark.parametrize(
    ("law", "values", "expected"),
    [("zeros", (), 0.0), ("ones", (), 1.0), ("constant", (0.25,), 0.25)],
)
def test_constants(law: str, values: tuple[float, ...], expected: float) -> None:
    assert torch.all(drawn(law, *values) == expected)


@pytest.mark.parametrize(
    ("law", "values", "deviation"),
    [
        ("normal", (0.02,), 0.02),
        ("kaiming_normal_fan_in", (), math.sqrt(2 / FAN_IN)),
        ("kaiming_normal_fan_out", (), math.sqrt(2 / FAN_OUT)),
        ("xavier_normal", (), math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("lecun_normal", (), math.sqrt(1 / FAN_IN)),
        ("trunc_normal", (0.02,), 0.02),  # cut off at 2, a hundred deviations away
    ],
)
def test_normal_laws(law: str, values: tuple[float, ...], deviation: float) -> None:
    x = drawn(law, *values)
    count = x.numel()
    assert abs(float(x.mean())) < 5 * deviation / math.sqrt(count)
    assert float(x.std()) == pytest.approx(deviation, rel=5 / math.sqrt(2 * count))
    tail = float((x.abs() > 2.01 * deviation).float().mean())
    if law == "lecun_normal":  # cut off at two deviations of the normal it is cut from
        assert float(x.abs().max()) <= 2 * deviation / 0.879 and tail < 0.04
    else:
        assert tail == pytest.approx(0.0444, abs=0.005)


@pytest.mark.parametrize(
    ("law", "values", "bound"),
    [
        ("uniform", (0.3,), 0.3),
        ("kaiming_uniform_fan_in", (), math.sqrt(6 / FAN_IN)),
        ("torch", (), 1 / math.sqrt(FAN_IN)),
        ("lecun_uniform", (), math.sqrt(3 / FAN_IN)),
        ("xavier_uniform", (), math.sqrt(6 / (FAN_IN + FAN_OUT))),
        ("fan_in_uniform", (), 1 / math.sqrt(FAN_IN)),
        ("fan_out_uniform", (), 1 / math.sqrt(FAN_OUT)),
    ],
)
def test_uniform_laws(law: str, values: tuple[float, ...], bound: float) -> None:
    x = drawn(law, *values)
    assert bound * 0.999 < float(x.abs().max()) <= bound
    assert float(x.std()) == pytest.approx(bound / math.sqrt(3), rel=0.01)


@pytest.mark.parametrize(("out", "channels"), [(8, 8), (16, 8), (8, 16)])
def test_identity_copies_channels(out: int, channels: int) -> None:
    """Yu & Koltun (2016), equations 4 and 5: what goes in comes out, spread or gathered."""
    weight = Weight(
        "weight", (axis(out), axis(channels), axis(3), axis(3)), Init("identity", (4.0, 0.0))
    )
    target = torch.full(weight.shape, math.nan)
    fill(target, weight, fans([weight]), torch.Generator().manual_seed(0))
    x = torch.randn(1, 4, 5, 5).repeat_interleave(channels // 4, dim=1)
    wanted = x[:, :: channels // 4].repeat_interleave(out // 4, dim=1) * channels / out
    assert torch.allclose(nn.functional.conv2d(x, target, padding=1), wanted)


def test_values_are_listed() -> None:
    weight = Weight("", (axis(2), axis(2)), Init("values", (1.0, 2.0, 3.0, 4.0)))
    target = torch.empty(2, 2)
    fill(target, weight, (1, 1), None)
    assert target.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_pytorchs_law_is_pytorchs() -> None:
    """The bound of a bias is that of its weight, for convolution and linear."""
    x = ir.Conv2d(64, 3, groups=2, init="torch")(ir.image(32, 8), name="conv")
    x = ir.Linear(200)(ir.Mean()(x), name="linear")
    module = ir.Space(x, name="net").bind({}).to_torch(seed=0)
    for mine, theirs in (
        (module.conv, nn.Conv2d(32, 64, 3, groups=2)),
        (module.linear, nn.Linear(64, 200)),
    ):
        for name, value in theirs.state_dict().items():
            found = mine.get_parameter(name).detach()
            assert float(found.abs().max()) == pytest.approx(float(value.abs().max()), rel=0.15)
            assert float(found.std()) == pytest.approx(float(value.std()), rel=0.15)


def test_order_of_the_graph_and_not_of_attributes_fixes_the_draws() -> None:
    graph = ir.Space(ir.Conv2d(4)(ir.Conv2d(4)(ir.image(3, 4))), name="net").bind({})
    module = graph.to_torch(seed=3)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    initialise(module, graph, seed=3)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    initialise(module.to("meta"), graph, seed=3)  # nothing to fill
