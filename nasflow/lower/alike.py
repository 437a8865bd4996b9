"""Let the children of a supernet of picked operations start alike."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import torch

from nasflow.errors import SpaceError
from nasflow.ir.ops.combine import Add, Concat
from nasflow.ir.ops.convolution import Conv2d
from nasflow.ir.ops.linear import Linear
from nasflow.lower.elastic import Supernet, drawn_large, extremes
from nasflow.lower.residual import before_dropping, is_norm, scale_of
from nasflow.lower.shares import Placed

QUIET: Final = 64
"""Random children in a row, after the biggest one with each option, that show nothing new: enough were looked at."""
MOST_LOOKED_AT: Final = 1024

Made = Mapping[int, Placed]


@torch.no_grad()
def start_alike(supernet: Supernet) -> dict[str, str]:
    """Let a channel mean the same at first, whatever child it is in; return the weights changed and how.

    Random operations turn channels each in its own way, so what a weight learns in one child is of no use
    in another: gradients of two children are orthogonal. Therefore, in what the biggest children with each
    option and random ones have,

    - addends that end in a norm, and that not all children have, start as nothing ("zero"): operations
      without weights (pools, identities) say what a sum is at first;
    - 1x1 convolutions whose results, concatenated, are as many channels as each of them reads
      (a factorised reduction) start as the identity ("identity");
    - 1x1 convolutions and linear layers that read a concatenation of equal parts start with the same weights
      for each of them, whichever a child has ("repeat").
    """
    looked = _Looked(supernet)
    changed: dict[str, str] = {}
    for name in looked.picked():
        supernet.weight(name).zero_()
        changed[name] = "zero"
    for name, widths in looked.parts.items():
        weight, channels = supernet.weight(name), min(widths)
        if len(widths) == 1 and weight.shape[1] > channels and weight.shape[1] % channels == 0:
            weight.copy_(_repeated(weight, channels))
            changed[name] = "repeat"
    for name, first in looked.halves.items():
        if name in changed:
            continue  # it is a reduction of a concatenation, seen with few parts
        weight = supernet.weight(name)
        weight.zero_()
        weight.flatten(1).diagonal(first).fill_(1.0)
        changed[name] = "identity"
    return changed


class _Looked:
    """What random children have, by the names of weights.

    Attributes:
        children: how many were looked at.
        scales: scales of norms, and how many children have them.
        ends: scales of norms that end an addend in some child.
        halves: convolutions of a factorised reduction, and which channel their first result is.
        parts: what reads a concatenation of channels, and how many its parts have.
    """

    def __init__(self, supernet: Supernet) -> None:
        self.children = 0
        self.scales: Counter[str] = Counter()
        self.ends: set[str] = set()
        self.halves: dict[str, int] = {}
        self.parts: dict[str, set[int]] = {}
        rng = random.Random(0)
        quiet = 0
        with_each_option = list(extremes(supernet.space))
        random_ones = (drawn_large(supernet.space, rng) for _ in range(MOST_LOOKED_AT))
        for number, point in enumerate(itertools.chain(with_each_option, random_ones)):
            known = self._known
            try:
                child = supernet.at(point)
            except SpaceError:
                continue  # it needs weights that are not there
            self._look(child.segment.placed())
            is_random = number >= len(with_each_option)
            quiet = quiet + 1 if is_random and self._known == known else 0
            if quiet >= QUIET:
                break

    @property
    def _known(self) -> int:
        """How much is known: it only grows."""
        widths = sum(map(len, self.parts.values()))
        return len(self.scales) + len(self.ends) + len(self.halves) + widths

    def picked(self) -> list[str]:
        """Return the scales of norms that end an addend in some child and are not in all children."""
        return sorted(name for name in self.ends if self.scales[name] < self.children)

    def _look(self, placed: Sequence[Placed]) -> None:
        self.children += 1
        self.scales.update({scale_of(part.use) for part in placed if is_norm(part.use)})
        made = {value: part for part in placed for value in part.outputs}
        for part in placed:
            op = part.use.content.op
            if isinstance(op, Add) and len(part.inputs) > 1:
                self._end(part, made)
            elif _joins_channels(part):
                self.halves |= _halves(part, made)
            elif _pointwise(part):
                joined = _concatenation(part, made)
                if joined is not None:
                    widths = {kind.shape[0] for kind in joined.use.content.inputs}
                    self.parts.setdefault(part.use.takes["weight"][0], set()).update(widths)

    def _end(self, added: Placed, made: Made) -> None:
        """Note the norms that end addends, but for those of factorised reductions, which pass on what comes."""
        for value in added.inputs:
            last = before_dropping(value, made)
            if last is not None and is_norm(last.use):
                source = made.get(last.inputs[0])
                if source is None or not _halves(source, made):
                    self.ends.add(scale_of(last.use))


def _joins_channels(part: Placed) -> bool:
    """Tell whether an operation concatenates along the first axis, which channels are."""
    op = part.use.content.op
    return isinstance(op, Concat) and str(op.axis) == part.use.content.outputs[0].axes[0]


def _pointwise(part: Placed) -> bool:
    """Tell whether an operation is a matrix on channels; a linear layer is where there is no other axis."""
    op = part.use.content.op
    weight = part.use.takes.get("weight")
    if weight is None or not isinstance(op, Conv2d | Linear):
        return False
    if isinstance(op, Linear) and len(part.use.content.inputs[0].shape) > 1:
        return False
    sizes = [len(span) for span in weight[1]]
    return sizes[1] == part.use.content.inputs[0].shape[0] and all(size == 1 for size in sizes[2:])


def _halves(joined: Placed, made: Made) -> dict[str, int]:
    """Return the convolutions that a factorised reduction concatenates, and the place of their results."""
    found: dict[str, int] = {}
    if not _joins_channels(joined):
        return found
    first, whole = 0, joined.use.content.outputs[0].shape[0]
    for value, kind in zip(joined.inputs, joined.use.content.inputs, strict=True):
        part = made.get(value)
        if part is None or not _pointwise(part) or part.use.content.inputs[0].shape[0] != whole:
            return {}
        found[part.use.takes["weight"][0]] = first
        first += kind.shape[0]
    return found if len(found) > 1 else {}


def _concatenation(part: Placed, made: Made) -> Placed | None:
    """Return the concatenation that an operation reads, but for what keeps channels in between."""
    source = made.get(part.inputs[0])
    while source is not None and not _joins_channels(source):
        channels = {
            kind.shape[0] for kind in (*source.use.content.inputs, *source.use.content.outputs)
        }
        if source.use.takes or len(source.inputs) != 1 or len(channels) != 1:
            return None
        source = made.get(source.inputs[0])
    return source


def _repeated(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """Return a weight with its first ``channels`` inputs for all others too."""
    times = weight.shape[1] // channels
    return weight[:, :channels].repeat(1, times, *[1] * (weight.ndim - 2))
