"""Shake-Shake: counts of pytorchcv's networks, the mixture's law, and outputs against units written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nasflow
from nasflow import ir
from tests.conformance.reference import assert_counts, assert_equal_outputs

COUNTS = {
    "shakeshake_26_2x32d_cifar": (2_923_162, 426_689_792),
    "shakeshake_26_2x96d_cifar": (26_192_922, 3_776_892_672),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    assert_counts(nasflow.model(name), *COUNTS[name])


def branch(channels: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        *(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()),
        *(nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)),
    )


class Unit(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.a, self.b = branch(channels, out, stride), branch(channels, out, stride)
        self.stride = stride
        if stride > 1 or channels != out:
            self.even = nn.Conv2d(channels, out // 2, 1, bias=False)
            self.odd = nn.Conv2d(channels, out // 2, 1, bias=False)
            self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x) + self.b(x)
        if not hasattr(self, "norm"):
            return y + x
        even = odd = x.relu()
        if self.stride > 1:
            even, odd = even[:, :, ::2, ::2], F.pad(odd, (0, 1, 0, 1))[:, :, 1::2, 1::2]
        return y + self.norm(torch.cat([self.even(even), self.odd(odd)], 1))


def test_outputs_with_branches_in_equal_shares() -> None:
    space = nasflow.space("shakeshake", size=16, widths=(16, 32))
    point = {"width": 32, "mix": "even", "stage1/depth": 2, "stage2/depth": 1, "stage3/depth": 1}
    reference = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)),
        *(Unit(16, 32, 1), Unit(32, 32, 1), Unit(32, 64, 2), Unit(64, 128, 2)),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)),
    )
    assert_equal_outputs(space.bind(point), reference, double=True)


def test_shaking_mixes_at_random_and_its_gradients_too() -> None:
    x = ir.image(1, 4)
    other = ir.Scale(3.0)(x)
    module = ir.Space(ir.Shake()(x, other)).bind({}).to_torch()
    value = torch.ones(1000, 1, 4, 4, requires_grad=True)
    module.eval()
    assert torch.equal(module(value), torch.full_like(value, 2.0))
    module.train()
    seen = module(value)
    seen.sum().backward()
    shares = (3 - seen[:, 0, 0, 0]) / 2  # of the first branch
    learned = (3 - value.grad[:, 0, 0, 0]) / 2
    for share in (shares, learned):
        assert share.min() >= 0 and share.max() <= 1
        assert share.mean().item() == pytest.approx(0.5, abs=0.05)
        assert share.std().item() == pytest.approx(12**-0.5, abs=0.03)
    assert torch.corrcoef(torch.stack([shares.detach(), learned]))[0, 1].abs() < 0.15
