"""Shrink tables of positions by interpolation, and kernels by learned maps."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_KEPT: Final = 1 << 12


def resample(table: Tensor, axis: int, size: int) -> Tensor:
    """Return a table with an axis of positions interpolated to ``size`` entries.

    A square number of positions is a square grid, interpolated bicubically; one more is such a
    grid behind an entry of its own (a class token), which stays; other numbers are interpolated
    linearly along the axis.
    """
    matrix = _resampling(table.shape[axis], size, table.dtype, table.device)
    return torch.tensordot(matrix, table, dims=([1], [axis])).movedim(0, axis)


def mapped(
    weight: Tensor, kernels: Sequence[tuple[int, ...]], matrices: Sequence[Tensor]
) -> Tensor:
    """Return a convolution's weight with its kernel mapped linearly, then the centre of that, and so on.

    Args:
        weight: its kernel is of the first size.
        kernels: sizes, biggest first.
        matrices: for each size one of (taps, taps) that serves all channels. Cai et al. (2020),
            section 3.2.
    """
    matrix = matrices[0]  # all steps as one: few rows of small matrices instead of many channels
    for (before, after), last in zip(pairwise(kernels), matrices[1:], strict=True):
        matrix = last @ matrix.index_select(0, _centre(before, after, matrix.device))
    return (weight.flatten(-len(kernels[0])) @ matrix.t()).unflatten(-1, kernels[-1])


@functools.lru_cache(MOST_KEPT)
def _centre(old: tuple[int, ...], new: tuple[int, ...], device: torch.device) -> Tensor:
    """Return which taps of a kernel are the centre of that smaller size, in order."""
    taps = torch.arange(math.prod(old), device=device).reshape(old)
    for axis, (before, after) in enumerate(zip(old, new, strict=True)):
        taps = taps.narrow(axis, (before - after) // 2, after)
    return taps.flatten()


@functools.lru_cache(MOST_KEPT)
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
