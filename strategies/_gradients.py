"""Put the gradients of several paths together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Gradient = Sequence[Tensor | None]


def dot(first: Gradient, second: Gradient) -> float:
    """Return the inner product of two gradients; None is zero."""
    pairs = zip(first, second, strict=True)
    parts = [torch.sum(a * b) for a, b in pairs if a is not None and b is not None]
    return float(torch.stack(parts).sum()) if parts else 0.0


def total(gradients: Sequence[Gradient]) -> list[Tensor | None]:
    """Return the sum of gradients; None where all are None."""
    summed: list[Tensor | None] = []
    for parts in zip(*gradients, strict=True):
        there = [part for part in parts if part is not None]
        summed.append(sum(there[1:], there[0]) if there else None)
    return summed


def projected(gradient: Gradient, onto: Gradient) -> list[Tensor | None]:
    """Return ``gradient`` without its part along ``onto``, if they point in opposite directions."""
    along = dot(gradient, onto)
    size = dot(onto, onto)
    if along >= 0 or size == 0:
        return list(gradient)
    found: list[Tensor | None] = []
    for own, other in zip(gradient, onto, strict=True):
        if other is None:
            found.append(own)
        else:
            taken = -along / size * other
            found.append(taken if own is None else own + taken)
    return found
