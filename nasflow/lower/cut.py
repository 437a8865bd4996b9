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

KEPT: Final = 1 << 14

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
        steps: (size, matrix) for kernels whose centre is mapped, one after the other.
        geometry: strides of the shared tensor; shape, strides and offset of the window in it.
    """

    window: tuple[slice, ...]
    blocks: tuple[tuple[int, int, int], ...] = ()
    gathers: tuple[tuple[int, Tensor], ...] = ()
    resized: tuple[tuple[int, int], ...] = ()
    steps: Steps = ()
    geometry: tuple[Any, ...] | None = None

    @property
    def whole(self) -> bool:
        """Whether what is taken is the result: nothing is resampled or mapped."""
        return not (self.resized or self.steps)

    def __call__(self, shared: Tensor) -> Tensor:
        """Return the part that the child takes; autograd follows."""
        return self.adapted(self.taken(shared))

    def taken(self, shared: Tensor) -> Tensor:
        """Return the window and what is gathered from it."""
        cut = self._view(shared)
        for axis, _, _ in reversed(self.blocks):
            cut = cut.flatten(axis, axis + 1)
        for axis, entries in self.gathers:
            cut = cut.index_select(axis, entries)
        return cut

    def at_once(self, shared: Tensor) -> Tensor:
        """Return what :meth:`taken` does, of a tensor that autograd does not follow."""
        cut = self._strided(shared)
        for axis, _, _ in reversed(self.blocks):
            cut = cut.flatten(axis, axis + 1)
        for axis, entries in self.gathers:
            cut = cut.index_select(axis, entries)
        return cut

    def _strided(self, shared: Tensor) -> Tensor:
        """Return what :meth:`_view` does, by one operation: it runs for every weight of every step."""
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
        found = self.adapted(self.at_once(shared))
        return found.clone() if self.whole and not (self.gathers or self.blocks) else found

    def adapted(self, cut: Tensor) -> Tensor:
        """Return what was taken, its tables resampled and its kernel mapped."""
        for axis, size in self.resized:
            cut = resample(cut, axis, size)
        for kernel, matrix in self.steps:
            cut = mapped(cut, kernel, matrix)
        return cut

    def add(self, gradient: Tensor, total: Tensor) -> None:
        """Add the gradient of what was taken to that of the shared tensor, in place."""
        if not self.gathers:
            place = self._strided(total)
            place.add_(gradient.reshape(place.shape) if self.blocks else gradient)
            return
        place = total[self.window]
        (axis, entries), *others = self.gathers
        for other, inner in others:
            wide = gradient.new_zeros(
                [place.shape[i] if i == other else n for i, n in enumerate(gradient.shape)]
            )
            gradient = wide.index_copy(other, inner, gradient)
        place.index_add_(axis, entries, gradient)


def cut(
    weight: Weight, spans: Spans, shape: Sequence[int], device: torch.device, steps: Steps = ()
) -> Cut | None:
    """Return how a child's tensor is cut out of the shared one; None where it is all of it."""
    window: list[slice] = []
    blocks: list[tuple[int, int, int]] = []
    gathers: list[tuple[int, Tensor]] = []
    resized: list[tuple[int, int]] = []
    for number, (axis, span, size) in enumerate(zip(weight.axes, spans, shape, strict=True)):
        window.append(slice(None))
        if axis[0].shrink == "interpolate":
            if len(span) != size:
                resized.append((number, len(span)))
        elif axis[0].shrink == "transform":
            continue  # its centre is taken in steps
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


@functools.lru_cache(KEPT)
def _blocks(entries: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the stride and the length of evenly spaced blocks, None where entries are not such."""
    length = next((i for i, (a, b) in enumerate(pairwise(entries), 1) if b != a + 1), len(entries))
    stride = entries[length] - entries[0] if length < len(entries) else length
    if len(entries) % length:
        return None
    even = all(e == entries[0] + i // length * stride + i % length for i, e in enumerate(entries))
    return (stride, length) if even else None


class Scatter(torch.autograd.Function):
    """Cut several tensors at once; their gradients are added to the shared ones' in place.

    Autograd's own way allocates and adds a gradient of the shared tensor's full size for each cut,
    which for a narrow child is most of the work. Where the shared tensor has a gradient already,
    only the child's part of it is touched, and autograd is given nothing to add; hooks on the
    accumulation (DistributedDataParallel's) run all the same. Where it has none, or somebody
    watches or asks for the gradient itself (a tensor hook, autograd.grad, a graph of the
    gradient), autograd is given the full one.
    """

    @staticmethod
    def forward(ctx: Any, cuts: Sequence[Cut], *shared: Tensor) -> tuple[Tensor, ...]:
        ctx.cuts, ctx.shared = cuts, shared
        return tuple([cut.at_once(tensor) for cut, tensor in zip(cuts, shared, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        found: list[Tensor | None] = [None]
        nodes = [node for node, _ in ctx.next_functions]
        for cut, shared, gradient, node in zip(ctx.cuts, ctx.shared, gradients, nodes, strict=True):
            if gradient is None or node is None:
                found.append(None)
            elif _accumulates(shared, node):
                cut.add(gradient, shared.grad)
                found.append(None)
            else:
                full = gradient.new_zeros(shared.shape)
                cut.add(gradient, full)
                found.append(full)
        return tuple(found)


def _accumulates(shared: Tensor, node: Any) -> bool:
    """Whether autograd would add to a gradient that is there, and nobody looks at what it adds."""
    if torch.is_grad_enabled() or not shared.is_leaf or shared.grad is None:
        return False
    if shared._backward_hooks or shared._post_accumulate_grad_hooks:
        return False
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # autograd.grad captures what arrives here
        return False
