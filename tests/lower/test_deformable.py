"""Deformable convolution against a direct reading of its formula."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from nasflow import ir


def read(
    x: Tensor, offsets: Tensor, weight: Tensor, stride: int, pad: int, dilation: int
) -> Tensor:
    """Dai et al. (2017), equations 2 to 4: y(p) is the sum of w(n) x(p + n + offset), linear between pixels."""
    (out, channels, high, wide), (height, width) = weight.shape, x.shape[1:]
    y = torch.zeros(out, *offsets.shape[1:], dtype=x.dtype)
    for row, column in itertools.product(*map(range, offsets.shape[1:])):
        for tap, (i, j) in enumerate(itertools.product(range(high), range(wide))):
            down = row * stride - pad + i * dilation + offsets[2 * tap, row, column].item()
            right = column * stride - pad + j * dilation + offsets[2 * tap + 1, row, column].item()
            seen = torch.zeros(channels, dtype=x.dtype)
            for a, b in itertools.product((0, 1), (0, 1)):
                q, r = math.floor(down) + a, math.floor(right) + b
                if 0 <= q < height and 0 <= r < width:
                    seen += max(0.0, 1 - abs(q - down)) * max(0.0, 1 - abs(r - right)) * x[:, q, r]
            y[:, row, column] += weight[:, :, i, j] @ seen
    return y


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 2, 2), (1, 1, 0, 1), (2, 1, 0, 3)],
)
def test_it_is_the_formula(kernel: int, stride: int, padding: int, dilation: int) -> None:
    generator = torch.Generator().manual_seed(0)
    image = ir.image(2, 6)
    probe = ir.Conv2d(1, kernel, stride, padding=padding, dilation=dilation)
    field = ir.Conv2d(2 * kernel**2, kernel, stride, padding=padding, dilation=dilation)(
        image, name="field"
    )
    moved = ir.DeformableConv2d(3, kernel, stride, padding, dilation, bias=False)(
        image, field, name="conv"
    )
    module = ir.Space((moved, field, probe(image)), name="net").bind({}).to_torch(seed=0).double()
    with torch.no_grad():
        module.field.weight.mul_(3)  # offsets that leave the map, too
        x = torch.randn(2, 2, 6, 6, dtype=torch.float64, generator=generator)
        found, offsets, plain = module(x)
        assert offsets.abs().max() > 4 and found.shape[-2:] == plain.shape[-2:]
        for n in range(2):
            wanted = read(x[n], offsets[n], module.conv.weight, stride, padding, dilation)
            assert torch.allclose(found[n], wanted, atol=1e-12)


def test_without_offsets_it_is_a_convolution() -> None:
    image = ir.image(3, 7)
    field = ir.Conv2d(18, 3, init="zeros")(image, name="field")
    moved = ir.DeformableConv2d(4)(image, field, name="conv")
    module = ir.Space(moved, name="net").bind({}).to_torch(seed=0).double()
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    wanted = torch.nn.functional.conv2d(x, module.conv.weight, module.conv.bias, padding=1)
    assert torch.allclose(module(x), wanted, atol=1e-12)


def test_gradients_reach_the_offsets() -> None:
    image = ir.image(2, 5)
    field = ir.Conv2d(18, 3, init=("normal", 0.1))(image, name="field")
    module = ir.Space(ir.DeformableConv2d(2)(image, field), name="net").bind({}).to_torch(seed=0)
    module(torch.randn(1, 2, 5, 5)).square().sum().backward()
    assert module.field.weight.grad is not None and module.field.weight.grad.abs().max() > 0


def test_offsets_must_fit() -> None:
    image = ir.image(2, 5)
    with pytest.raises(ir.SpaceError, match="expected offsets C=18 H=5 W=5"):
        ir.Space(ir.DeformableConv2d(2)(image, ir.Conv2d(9, 3)(image)), name="net").verify()
