"""Cut weights out of shared ones, so that gradients find their way back at little cost."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor

from nasflow.ir.flow import Spans
from nasflow.ir.weight import Weight
from nasflow.lower.resample import mapped, resample

MOST_KEPT: Final = 1 << 14

Steps = tuple[tuple[tuple[int, ...], Tensor], ...]
"""(size, matrix) for each size on the way from a shared kernel to a child's."""


@dataclass(slots=True, eq=False)
class Cut:
    """How a child's tensor is cut out of a shared one: a window, gathered, then resampled or mapped.

    Attributes:
        window: for each axis a slice.
        blocks: (axis, stride, length) for those that are evenly spaced blocks of the window, such as
            some of the heads of a fused projection; the last axis first.
        gathers: (axis, its entries) for those that are neither.
        resized: (axis, size) for tables that are interpolated.
        steps: (size, matrix) for kernels whose centre, which the window has, is mapped, then the
            centre of that, and so on.
        geometry: strides of the shared tensor; shape, strides and offset of the window in it.
    """

    window: tuple[slice, ...]
    blocks: tuple[tuple[int, int, int], ...] = ()
    gathers: tuple[tuple[int, Tensor], ...] = ()
    resized: tuple[tuple[int, int], ...] = ()
    steps: Steps = ()
    geometry: tuple[Any, ...] | None = None

    @property
    def plain(self) -> bool:
        """Whether the window is the result: nothing is joined, gathered, resampled or mapped."""
        return not (self.resized or self.steps or self.gathers or self.blocks)

    def __call__(self, shared: Tensor) -> Tensor:
        """Return the part that the child takes; autograd follows."""
        return self.shaped(self._view(shared), [matrix for _, matrix in self.steps])

    def at_once(self, shared: Tensor) -> Tensor:
        """Return the window, each axis of blocks as two, by one operation that autograd need not follow."""
        stride = shared.stride()
        if self.geometry is None or self.geometry[0] != stride:
            view = self._view(shared)
            offset = view.storage_offset() - shared.storage_offset()
            self.geometry = stride, view.shape, view.stride(), offset
        _, shape, strides, offset = self.geometry
        return shared.as_strided(shape, strides, shared.storage_offset() + offset)

    def _view(self, shared: Tensor) -> Tensor:
        """Return the window, each axis of blocks as two: which block, and where in it."""
        cut = shared[self.window]
        for axis, stride, length in self.blocks:
            cut = cut.unfold(axis, length, stride).movedim(-1, axis + 1)
        return cut

    def copy(self, shared: Tensor) -> Tensor:
        """Return the part that the child takes, in memory of its own; autograd is off."""
        found = self.at_once(shared)
        if self.plain:
            return found.clone()
        return self.shaped(found, [matrix for _, matrix in self.steps])

    def shaped(self, cut: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        """Return the window put in shape: blocks joined, entries gathered, tables resampled, kernels mapped."""
        for axis, _, _ in reversed(self.blocks):
            cut = cut.flatten(axis, axis + 1)
        for axis, entries in self.gathers:
            cut = cut.index_select(axis, entries)
        for axis, size in self.resized:
            cut = resample(cut, axis, size)
        if self.steps:
            cut = mapped(cut, [kernel for kernel, _ in self.steps], matrices)
        return cut


def cut(
    weight: Weight, spans: Spans, shape: Sequence[int], device: torch.device, steps: Steps = ()
) -> Cut | None:
    """Return how a child's tensor is cut out of the shared one; None where it is all of it."""
    window: list[slice] = []
    blocks: list[tuple[int, int, int]] = []
    gathers: list[tuple[int, Tensor]] = []
    resized: list[tuple[int, int]] = []
    centres = list(steps[0][0]) if steps else []
    for number, (axis, span, size) in enumerate(zip(weight.axes, spans, shape, strict=True)):
        window.append(slice(None))
        if axis[0].shrink == "interpolate":
            if len(span) != size:
                resized.append((number, len(span)))
        elif axis[0].shrink == "transform":
            if steps:
                window[-1] = _middle(size, centres.pop(0))
        elif not isinstance(span.entries, range):
            even = _blocks(span.entries)
            if even is None:
                gathers.append((number, torch.tensor(span.entries, device=device)))
            else:
                stride, length = even
                window[-1] = slice(span.entries[0], span.entries[-1] + 1)
                blocks.insert(0, (number, stride, length))
        elif len(span) != size:
            window[-1] = slice(span.entries.start, span.entries.stop)
    while window and window[-1] == slice(None):
        window.pop()
    if not (window or gathers or resized or steps):
        return None
    if gathers and blocks:  # rare; one way of gathering is enough
        for number, _, _ in blocks:
            entries = torch.tensor(spans[number].entries, device=device)
            gathers.append((number, entries))
            window[number] = slice(None)
        blocks.clear()
    return Cut(tuple(window), tuple(blocks), tuple(gathers), tuple(resized), steps)


def _middle(size: int, taken: int) -> slice:
    start = (size - taken) // 2
    return slice(start, start + taken)


@functools.lru_cache(MOST_KEPT)
def _blocks(entries: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the stride and the length of evenly spaced blocks, None where entries are not such."""
    length = next((i for i, (a, b) in enumerate(pairwise(entries), 1) if b != a + 1), len(entries))
    stride = entries[length] - entries[0] if length < len(entries) else length
    if len(entries) % length:
        return None
    even = all(e == entries[0] + i // length * stride + i % length for i, e in enumerate(entries))
    return (stride, length) if even else None
