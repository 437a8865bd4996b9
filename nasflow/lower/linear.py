"""A linear layer on a window of a shared weight."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return what ``F.linear`` does; a weight whose rows lie apart has its gradient by rows, too.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out).
    """
    plain = weight.is_contiguous() or not torch.is_grad_enabled()
    if plain or torch.is_autocast_enabled(x.device.type) or torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    found: Tensor = _Rows.apply(x, weight, bias)
    return found


class _Rows(torch.autograd.Function):
    """PyTorch lays the gradient of such a weight out by columns, which are slow to add to rows.

    Where the weight has a gradient, a window of the shared one, the product is added as it is made.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            (rows @ weight).view(x.shape) if needs_x else None,
            _product(rows.t(), x.reshape(-1, x.shape[-1]), weight) if needs_weight else None,
            rows.sum(0) if needs_bias else None,
        )


def _product(a: Tensor, b: Tensor, weight: Tensor) -> Tensor | None:
    """Return the gradient of a weight as a product, None once it is added to the one that is there."""
    if torch.is_grad_enabled() or not weight.is_leaf or weight.grad is None:
        return a @ b
    weight.grad.addmm_(a, b)
    return None
