"""Put the gradients of several paths together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Gradient = Sequence[Tensor | None]


def total(gradients: Sequence[Gradient]) -> list[Tensor | None]:
    """Return the sum of gradients; None where all are None."""
    summed: list[Tensor | None] = []
    for parts in zip(*gradients, strict=True):
        there = [part for part in parts if part is not None]
        summed.append(sum(there[1:], there[0]) if there else None)
    return summed


def projected(gradient: Gradient, onto: Gradient) -> list[Tensor | None]:
    """Return ``gradient`` without its part along ``onto`` in each weight where they are opposed."""
    found: list[Tensor | None] = []
    for own, other in zip(gradient, onto, strict=True):
        if own is None or other is None:
            found.append(own)
            continue
        size = torch.sum(other * other).clamp_min(torch.finfo(other.dtype).tiny)
        taken = (torch.sum(own * other) / size).clamp_max(0)
        found.append(own - taken * other)
    return found
