"""Cut a child's weight out of a shared one, so that gradients find their way back."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from nasflow.ir.flow import Spans
from nasflow.ir.span import Entries
from nasflow.ir.weight import Weight

Pull = Callable[[Tensor], Tensor]
KEPT: Final = 1 << 12


def pull(weight: Weight, spans: Spans, shape: Sequence[int]) -> Pull | None:
    """Return what cuts a child's tensor out of the shared one; None where it is all of it."""
    slices: list[slice] = []
    gathers: list[tuple[int, Entries]] = []
    resized: list[tuple[int, int]] = []
    for number, (axis, span, size) in enumerate(zip(weight.axes, spans, shape, strict=True)):
        slices.append(slice(None))
        if axis[0].shrink == "interpolate":
            if len(span) != size:
                resized.append((number, len(span)))
        elif isinstance(span.entries, range):
            if len(span) != size:
                slices[-1] = slice(span.entries.start, span.entries.stop)
        else:
            gathers.append((number, span.entries))
    if all(s == slice(None) for s in slices) and not gathers and not resized:
        return None
    window = tuple(slices)
    while window and window[-1] == slice(None):
        window = window[:-1]
    if not gathers and not resized:
        return lambda shared: shared[window]
    return functools.partial(_cut, window, tuple(gathers), tuple(resized))


def _cut(
    window: tuple[slice, ...],
    gathers: tuple[tuple[int, Entries], ...],
    resized: tuple[tuple[int, int], ...],
    shared: Tensor,
) -> Tensor:
    cut = shared[window] if window else shared
    for axis, entries in gathers:
        cut = cut.index_select(axis, _index(entries, shared.device))
    for axis, size in resized:
        cut = resample(cut, axis, size)
    return cut


@functools.lru_cache(KEPT)
def _index(entries: Entries, device: torch.device) -> Tensor:
    return torch.tensor(entries, device=device)


def resample(table: Tensor, axis: int, size: int) -> Tensor:
    """Return a table with an axis of positions interpolated to ``size`` entries.

    A square number of positions is a square grid, interpolated bicubically; one more is such a
    grid behind an entry of its own (a class token), which stays; other numbers are interpolated
    linearly along the axis.
    """
    matrix = _resampling(table.shape[axis], size, table.dtype, table.device)
    return torch.tensordot(matrix, table, dims=([1], [axis])).movedim(0, axis)


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
