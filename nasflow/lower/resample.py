"""Shrink tables of positions by interpolation, and kernels by learned maps."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

KEPT: Final = 1 << 12


def resample(table: Tensor, axis: int, size: int) -> Tensor:
    """Return a table with an axis of positions interpolated to ``size`` entries.

    A square number of positions is a square grid, interpolated bicubically; one more is such a
    grid behind an entry of its own (a class token), which stays; other numbers are interpolated
    linearly along the axis.
    """
    matrix = _resampling(table.shape[axis], size, table.dtype, table.device)
    return torch.tensordot(matrix, table, dims=([1], [axis])).movedim(0, axis)


def mapped(weight: Tensor, kernel: Sequence[int], matrix: Tensor) -> Tensor:
    """Return a convolution's weight with the centre of its kernel, of that size, mapped linearly.

    The matrix, (taps, taps), serves all channels. Cai et al. (2020), section 3.2.
    """
    for axis, size in enumerate(kernel, -len(kernel)):
        weight = weight.narrow(axis, (weight.shape[axis] - size) // 2, size)
    return F.linear(weight.flatten(-len(kernel)), matrix).unflatten(-1, tuple(kernel))


@functools.lru_cache(KEPT)
def _resampling(old: int, new: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the matrix, (new, old), that interpolates positions."""
    for extra in (0, 1):
        before, after = math.isqrt(old - extra), math.isqrt(new - extra)
        if before**2 == old - extra and after**2 == new - extra and min(before, after) > 0:
            grid = torch.eye(before**2, dtype=torch.float64).reshape(-1, 1, before, before)
            grid = F.interpolate(grid, size=(after, after), mode="bicubic", align_corners=False)
            matrix = torch.zeros(new, old, dtype=torch.float64)
            matrix[:extra, :extra] = torch.eye(extra, dtype=torch.float64)
            matrix[extra:, extra:] = grid.reshape(before**2, -1).T
            return matrix.to(device, dtype)
    rows = torch.eye(old, dtype=torch.float64)[:, None]
    rows = F.interpolate(rows, size=new, mode="linear", align_corners=False)
    return rows[:, 0].T.contiguous().to(device, dtype)
