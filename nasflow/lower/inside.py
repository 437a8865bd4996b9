"""Run a child on leaves that stand for its parts of the shared weights, as one function of these."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from nasflow.lower.cut import Cut

RUNNING: Final = threading.RLock()
"""Held while leaves stand for the tensors of one call: threads that run children take turns."""
BIG: Final = 1 << 18
"""Entries (1 MB of float32) from which on a matrix is not copied."""


class Leaf:
    """What stands for a tensor, or for a window of it, in the graph inside.

    It is the same memory, detached. A window that does not lie together is copied for each call that
    learns: convolutions would do so in both directions, and PyTorch lays the gradient of a matrix that
    lies apart out by columns. Big matrices are not copied, for fresh memory is faulted in page by page:
    :mod:`nasflow.lower.linear` sees to their gradients.

    Attributes:
        shared: the tensor.
        cut: the window; None for all of it.
        apart: the window in the tensor's memory, where the leaf is a copy of it.
        tensor: the leaf, once :meth:`refresh` made it.
    """

    __slots__ = ("apart", "cut", "pointer", "shared", "tensor")

    def __init__(self, shared: Tensor, cut: Cut | None = None) -> None:
        self.shared, self.cut = shared, cut
        self.apart: Tensor | None = None
        self.tensor: Any = None
        self.pointer = -1

    def __reduce__(self) -> tuple[Any, ...]:
        return Leaf, (self.shared, self.cut)

    def refresh(self, copy: bool) -> Tensor:
        """Return the leaf; a new one where it is a copy, or the tensor moved, was frozen or thawed."""
        shared = self.shared
        if self.pointer != shared.data_ptr():
            self._place()
        if self.apart is not None:
            if copy:  # in the order of the axes that it has: channels may come last
                self.tensor = self.apart.clone().requires_grad_(shared.requires_grad)
        elif self.tensor.requires_grad != shared.requires_grad:
            self.tensor = self.tensor.detach().requires_grad_(shared.requires_grad)
        return self.tensor

    def release(self) -> None:
        """Leave a copy to those graphs that it is in."""
        if self.apart is not None:
            self.tensor = self.apart

    def _place(self) -> None:
        """Find the window in the tensor's memory."""
        with torch.inference_mode(False):
            self.tensor = self.window(self.shared.detach())
        found = self.tensor
        copied = not _together(found) and (found.dim() > 2 or found.numel() < BIG)
        self.apart = found if copied else None
        if self.cut is not None:
            _hear_once()
        self.pointer = self.shared.data_ptr()  # last: what failed is tried again

    def window(self, tensor: Tensor) -> Tensor:
        """Return that part of a tensor of the shared one's shape."""
        return tensor if self.cut is None else self.cut.at_once(tensor)

    def spread(self, gradient: Tensor) -> Tensor:
        """Return the gradient of the leaf as one of the shared tensor."""
        if self.cut is None:
            return gradient
        full = torch.zeros_like(self.shared)
        self.window(full).add_(gradient)
        return full


def _together(tensor: Tensor) -> bool:
    """Whether a tensor's entries lie together in memory, channels first or last."""
    return tensor.is_contiguous() or (
        tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    )


Stands = tuple[Leaf, int, bool]
"""A leaf, which of the tensors it stands for, and whether it alone stands for all of that."""


def stands(leaves: Iterable[Leaf]) -> tuple[list[Tensor], list[Stands]]:
    """Return the tensors that leaves stand for, each once, and which stands for which."""
    places: dict[int, int] = {}
    tensors: list[Tensor] = []
    counts: list[int] = []
    found = []
    for leaf in dict.fromkeys(leaves):
        at = places.setdefault(id(leaf.shared), len(tensors))
        if at == len(tensors):
            tensors.append(leaf.shared)
            counts.append(0)
        counts[at] += 1
        found.append((leaf, at))
    return tensors, [(leaf, at, leaf.cut is None and counts[at] == 1) for leaf, at in found]


class Inside(torch.autograd.Function):
    """A graph on leaves of its own, as a function of the tensors that they stand for.

    Autograd's slices give a gradient of the shared tensor's full size for each cut, which for a
    narrow child is most of the work. Here the gradients of the leaves are windows of the shared
    tensors', so that what runs inside adds to the child's part and to nothing else, and autograd is
    given nothing to add; hooks on the accumulation (DistributedDataParallel's) run all the same,
    once the child is through. Where a tensor has no gradient yet, or somebody watches or asks for
    the gradient itself (a tensor hook, autograd.grad, a graph of the gradient), autograd is given
    the full one.
    """

    @staticmethod
    def forward(
        ctx: Any,
        work: Callable[[list[Any]], Sequence[Tensor]],
        leaves: Sequence[Stands],
        own: Sequence[Tensor],
        keep: bool,
        count: int,
        *tensors: Any,
    ) -> tuple[Tensor, ...]:
        """Return what ``work`` makes of the first ``count`` tensors; leaves stand for the others.

        ``own`` are the leaves' tensors as they are in this call.
        """
        ctx.set_materialize_grads(False)
        # Saved so that autograd notices a change of these before the backward pass: it sees copies.
        ctx.save_for_backward(*[leaf.shared for leaf, _, _ in leaves if leaf.apart is not None])
        needed = ctx.needs_input_grad[5:]
        inputs = [
            x.detach().requires_grad_() if needed[i] else x for i, x in enumerate(tensors[:count])
        ]
        with torch.enable_grad():
            results = work(inputs)
        ctx.leaves, ctx.own, ctx.keep, ctx.tensors = leaves, own, keep, tensors
        ctx.inputs, ctx.results = inputs, results
        found = tuple([x.detach() for x in results])
        ctx.mark_non_differentiable(
            *[new for new, x in zip(found, results, strict=True) if not x.requires_grad]
        )
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        _ = ctx.saved_tensors  # raises if one was changed since
        results, given = [], []
        for result, gradient in zip(ctx.results, gradients, strict=True):
            if gradient is not None and result.requires_grad:
                results.append(result)
                given.append(gradient)
        if torch.is_grad_enabled():
            return (None, None, None, None, None, *_derived(ctx, results, given))
        with RUNNING:
            return (None, None, None, None, None, *_gradients(ctx, results, given))


def _gradients(ctx: Any, results: Sequence[Tensor], given: Sequence[Tensor]) -> list[Any]:
    """Return the gradients of all tensors that autograd is to be given; the leaves add theirs."""
    leaves, own = ctx.leaves, ctx.own
    inputs = [x if _needs(x) else None for x in ctx.inputs]
    try:
        shared = ctx.tensors[len(inputs) :]
        found = _received(leaves, own, shared, _unrestricted(ctx.next_functions[-len(shared) :]))
        keep = ctx.keep or torch._C._autograd._get_current_graph_task_keep_graph()
        torch.autograd.backward(results, given, keep)
        for (leaf, at, alone), tensor in zip(leaves, own, strict=True):
            if alone and found[at] is leaf:
                found[at] = tensor.grad
        return [*(None if x is None else x.grad for x in inputs), *found]
    finally:
        for tensor in own:
            tensor.grad = None
        for x in inputs:
            if x is not None:
                x.grad = None


def _needs(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _received(
    leaves: Sequence[Stands], tensors: Sequence[Tensor], shared: Sequence[Tensor], plain: bool
) -> list[Any]:
    """Give each leaf a gradient to add to.

    ``plain`` says that all gradients are accumulated. Return for each tensor the full gradient that
    autograd is to be given, nothing where the leaves add to the one that is there, and a leaf whose
    own it will be.
    """
    totals: list[Tensor | None] = [None] * len(shared)
    found: list[Any] = [None] * len(shared)
    for (leaf, at, alone), tensor in zip(leaves, tensors, strict=True):
        if not tensor.requires_grad:
            continue
        total = totals[at]
        if total is None:
            own = shared[at]
            # Autograd would add to a gradient that is there, and nobody looks at what it adds.
            total = own.grad if plain and own.is_leaf else None
            if total is None or own._backward_hooks or own._post_accumulate_grad_hooks:
                if alone:
                    found[at] = leaf
                    continue
                total = found[at] = torch.zeros_like(own)
            totals[at] = total
        cut = leaf.cut
        tensor.grad = total if cut is None else cut.at_once(total)
    return found


def _unrestricted(edges: Sequence[tuple[Any, int]]) -> bool:
    """Whether the gradients that go along all of these edges are accumulated, not just some."""
    found = False
    for node, _ in edges:
        if hasattr(node, "variable"):  # it accumulates; other nodes have none
            try:
                found = torch._C._will_engine_execute_node(node)
            except RuntimeError:  # autograd.grad captures what arrives here
                found = False
            if not found:
                break
    return found


def _derived(ctx: Any, results: Sequence[Tensor], given: Sequence[Tensor]) -> tuple[Any, ...]:
    """Return the gradients of all tensors as functions of these and of the gradients given."""
    ctx.keep = True  # what is run inside now ends in the same graph
    inputs = ctx.inputs
    asked = [((Leaf(x), i, True), x) for i, x in enumerate(inputs) if _needs(x)]
    moved = [(leaf, at + len(inputs), alone) for leaf, at, alone in ctx.leaves]
    pairs = [*asked, *zip(moved, ctx.own, strict=True)]
    leaves = [stand for stand, tensor in pairs if tensor.requires_grad]
    own = [tensor for _, tensor in pairs if tensor.requires_grad]

    def work(gradients: list[Any]) -> list[Tensor]:
        found = torch.autograd.grad(
            results,
            own,
            gradients,
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        totals: dict[int, Tensor] = {}
        for (leaf, at, _), gradient in zip(leaves, found, strict=True):
            full = leaf.spread(gradient)
            totals[at] = totals[at] + full if at in totals else full
        return list(totals.values())

    found = Inside.apply(work, leaves, own, True, len(given), *given, *ctx.tensors)
    spots = list(dict.fromkeys(at for _, at, _ in leaves))
    by_place = dict(zip(spots, found, strict=True))
    return tuple([by_place.get(i) for i in range(len(ctx.tensors))])


@functools.cache
def _hear_once() -> None:
    """Have PyTorch say here, where nobody hears it, what it says once in each process.

    It is that a gradient which is a window is not laid out as the leaf: that is what is meant.
    """
    with warnings.catch_warnings(), torch.enable_grad(), torch.inference_mode(False):
        warnings.simplefilter("ignore")
        wide = torch.zeros(2, 2)
        leaf = wide[:, :1].detach().requires_grad_()
        leaf.grad = wide[:, :1]
        leaf.sum().backward()
