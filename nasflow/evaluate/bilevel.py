"""Gradients of architecture parameters through the training of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Loss = Callable[[], Tensor]
"""Computes a loss with the parameters as they are."""
RADIUS = 0.01
"""Of the finite difference, by the gradient's norm (Liu et al., 2019, section 2.3)."""


def first_order(validation: Loss, alphas: Sequence[nn.Parameter]) -> list[Tensor]:
    """Return the validation loss's gradient by ``alphas``, the weights taken as they are."""
    return _gradients(validation(), alphas)


def second_order(
    train: Loss,
    validation: Loss,
    weights: Sequence[nn.Parameter],
    alphas: Sequence[nn.Parameter],
    rate: float,
    decay: float = 0.0,
    velocity: Sequence[Tensor] | None = None,
    momentum: float = 0.0,
) -> list[Tensor]:
    """Return the gradient by ``alphas`` of the validation loss one step of training later.

    The step is ``w' = w - rate (momentum velocity + dL_train/dw + decay w)``. The product with the
    mixed second derivatives is a difference of two gradients at weights moved along
    ``dL_validation/dw'`` (Liu et al., 2019, equations 7 and 8). Weights are left as they were.
    """
    kept = [weight.detach().clone() for weight in weights]
    before = velocity or [torch.zeros_like(weight) for weight in kept]
    try:
        down = _gradients(train(), weights)
        with torch.no_grad():
            for weight, gradient, speed in zip(weights, down, before, strict=True):
                weight.sub_(rate * (momentum * speed + gradient + decay * weight))
        both = _gradients(validation(), [*alphas, *weights])
        direct, along = both[: len(alphas)], both[len(alphas) :]
        radius = RADIUS / (float(torch.stack([g.norm() for g in along]).norm()) + 1e-12)
        sides = []
        for sign in (1, -1):
            _move(weights, kept, along, sign * radius)
            sides.append(_gradients(train(), alphas))
    finally:
        _move(weights, kept, kept, 0.0)
    return [d - rate * (up - low) / (2 * radius) for d, up, low in zip(direct, *sides, strict=True)]


@torch.no_grad()
def _move(
    weights: Sequence[nn.Parameter], kept: Sequence[Tensor], along: Sequence[Tensor], by: float
) -> None:
    for weight, origin, direction in zip(weights, kept, along, strict=True):
        weight.copy_(origin + by * direction if by else origin)


def _gradients(loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Return gradients, zero where a parameter has no part in the loss."""
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
