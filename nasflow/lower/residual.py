"""Start the residual branches of a supernet as nothing."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final

import torch

from nasflow.ir.ops.combine import Add
from nasflow.ir.ops.norm import BatchNorm
from nasflow.ir.ops.regularise import Dropout, DropPath
from nasflow.lower.elastic import Supernet
from nasflow.lower.shares import Placed, Use

LOOKED_AT: Final = 8
"""Random children that are looked at, beside the biggest and the smallest."""


@torch.no_grad()
def zero_residual(supernet: Supernet) -> list[str]:
    """Zero the scale of the last norm of every residual branch; return the names of the scales.

    A branch is the operand of an addition that took more operations, and it must end in a batch norm
    (Goyal et al., 2017, section 5.1). A norm that is not in a branch in some child, such as a
    block's whose channels change there, stays: nothing would come through it.
    """
    space, rng = supernet.space, random.Random(0)
    points = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(LOOKED_AT))]
    branches: set[str] = set()
    others: set[str] = set()
    for point in points:
        placed = supernet.at(point).segment.placed()
        inside = _ends(placed)
        branches |= inside
        others |= {scale_of(part.use) for part in placed if is_norm(part.use)} - inside
    found = sorted(branches - others)
    for name in found:
        supernet.weight(name).zero_()
    return found


def _ends(placed: Sequence[Placed]) -> set[str]:
    """Return the scales of the norms that residual branches of a child end in."""
    made = {value: part for part in placed for value in part.outputs}
    depth: dict[int, int] = {}
    for part in placed:
        length = 1 + max((depth.get(value, 0) for value in part.inputs), default=0)
        depth.update(dict.fromkeys(part.outputs, length))
    found = set()
    for part in placed:
        if isinstance(part.use.content.op, Add) and len(part.inputs) > 1:
            branch = max(part.inputs, key=lambda value: depth.get(value, 0))
            last = before_dropping(branch, made)
            if last is not None and is_norm(last.use):
                found.add(scale_of(last.use))
    return found


def before_dropping(value: int, made: Mapping[int, Placed]) -> Placed | None:
    """Return what made a value, before dropout and drop path."""
    last = made.get(value)
    while last is not None and isinstance(last.use.content.op, Dropout | DropPath):
        last = made.get(last.inputs[0])
    return last


def is_norm(use: Use) -> bool:
    """Tell whether an operation is a batch norm with a scale."""
    return isinstance(use.content.op, BatchNorm) and "weight" in use.takes


def scale_of(use: Use) -> str:
    """Return the name of a norm's scale."""
    return use.takes["weight"][0]
