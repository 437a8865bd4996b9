"""A supernet whose children's weights are made, for each child anew, by a network that sees what it is."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasflow.errors import SpaceError
from nasflow.ir.flow import Spans
from nasflow.ir.space import Space
from nasflow.lower.child import Child
from nasflow.lower.elastic import Supernet, sampled
from nasflow.options import check_option

Which = Literal["all", "pointwise"]
WHICH: Final = get_args(Which)
BINS: Final = 8
"""Parts of an axis for each of which the network is told how much a child has of it."""
LOOKED_AT: Final = 64
"""Random children that tell which weights are the same in every one."""
SLOPE: Final = 0.02
"""Of the leaky rectifiers (the authors' code)."""
START: Final = 0.1
"""What a child's own code is multiplied by at first: children begin nearly alike."""


class HyperNet(nn.Module):
    """Make the entries of weights from a code of the child, and one of each piece of a weight.

    A piece is so many consecutive entries. Its input is the sum of a learned vector of its own, the
    embedded code of the child's point, and the embedded code of which part of that weight the child
    takes; then ``depth`` layers as wide as these vectors with leaky rectifiers, each concatenated to
    what it takes, and a linear map to the entries.

    Args:
        sizes: how many entries each weight has.
        code: length of a point's code.
        local: length of the code of a child's part.
        width: of the vectors.
        piece: entries of a piece.
        depth: layers.
    """

    def __init__(
        self, sizes: Mapping[str, int], code: int, local: int, width: int, piece: int, depth: int
    ) -> None:
        super().__init__()
        self.sizes = dict(sizes)
        self.counts = {name: math.ceil(size / piece) for name, size in self.sizes.items()}
        self.pieces = nn.Parameter(torch.randn(sum(self.counts.values()), width))
        ends = itertools.accumulate(self.counts.values())
        self.rows = {
            name: range(end - count, end)
            for (name, count), end in zip(self.counts.items(), ends, strict=True)
        }
        self.child = nn.Linear(code, width, bias=False)
        self.part = nn.Linear(local, width, bias=False)
        self.layers = nn.ModuleList(nn.Linear(width * (i + 1), width) for i in range(depth))
        self.last = nn.Linear(width * (depth + 1), piece, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.child.weight.mul_(START)
            self.part.weight.mul_(START)

    def forward(self, code: Tensor, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the entries, of unit variance, of the weights that ``parts`` has the codes of.

        Args:
            code: of the child, (code,).
            parts: for each name the code of the part that the child takes, (local,).

        Returns:
            for each name all entries of the weight, (sizes[name],).
        """
        names = list(parts)
        rows = torch.tensor([row for name in names for row in self.rows[name]], device=code.device)
        counts = [self.counts[name] for name in names]
        own = self.part(torch.stack([parts[name] for name in names]))
        repeats = torch.tensor(counts, device=code.device)
        x = (
            functional.embedding(rows, self.pieces)
            + self.child(code)
            + own.repeat_interleave(repeats, 0, output_size=len(rows))
        )
        for layer in self.layers:
            x = torch.cat([x, functional.leaky_relu(layer(x), SLOPE)], 1)
        made = self.last(x).split(counts)
        return {
            name: functional.rms_norm(flat := piece.flatten()[: self.sizes[name]], flat.shape)
            for name, piece in zip(names, made, strict=True)
        }


class HyperSupernet(Supernet):
    """A supernet with a `HyperNet` that makes the matrices in which its children differ.

    Made are the weights of convolutions and linear layers that not every child takes whole; with
    ``which="pointwise"`` only those of 1x1 convolutions and linear layers, as Brock et al. (2018) do.
    They are normalised as a whole and multiplied by a learned number for each weight, which starts
    as the deviation of the operation's own initialisation. All else (what every child has alike,
    depthwise kernels, norms, biases, tables) is learned as in any supernet.

    `write` puts a child's weights in place before it runs; after its backward pass `settle` takes
    their gradients on to the network that made them.

    Raises:
        ConfigError: ``which`` is neither of the two.
        SpaceError: there is no such weight.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        width: int = 64,
        piece: int = 256,
        depth: int = 3,
        which: Which = "all",
    ) -> None:
        super().__init__(space, seed)
        check_option("which", which, WHICH)
        self.made = self._chosen(which)
        if not self.made:
            raise SpaceError(
                f"space {space.name!r} has nothing for a hypernetwork to make: no "
                f"{'1x1 ' if which == 'pointwise' else ''}convolution or linear layer differs "
                "between its networks"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sizes = {name: self.weight(name).numel() for name in self.made}
            code = len(space.encode(space.smallest()))
            self.hypernet = HyperNet(sizes, code, 2 * BINS + 1, width, piece, depth)
        scales = [float(self.weight(name).detach().square().mean().sqrt()) for name in self.made]
        self.scales = nn.Parameter(torch.tensor(scales).log())
        for name in self.made:  # no optimiser is to move what is made
            self.weight(name).requires_grad_(False)
        self._pending: list[tuple[Tensor, Tensor]] = []

    def _chosen(self, which: Which) -> list[str]:
        """Return the names of the weights that are made."""
        count = 0
        whole: Counter[str] = Counter()
        for point in sampled(self.space, LOOKED_AT):
            try:
                child = self.at(point)
            except SpaceError:
                continue
            count += 1
            whole.update({name for name, spans in taken(child) if self._whole(name, spans)})
        self._children.clear()
        return [
            name
            for name, shared in self.shares.shared.items()
            if name in self._stored
            and whole[name] < count
            and shared.weight.trainable
            and is_matrix(shared.shape, which)
            and bool(self.weight(name).detach().abs().sum() > 0)  # zeros give no scale to begin at
            and all(
                len(part) == 1 and part[0].shrink != "interpolate"
                for part in shared.weight.axes[2:]
            )
            and shared.weight.name == "weight"
        ]

    def _whole(self, name: str, spans: Spans) -> bool:
        shape = self.shares.shared[name].shape
        return all(len(span) == size for span, size in zip(spans, shape, strict=True))

    def write(self, child: Child) -> None:
        """Put the made weights of a child in place; with gradients on, `settle` must follow."""
        like = self.scales
        wanted = set(self.made)
        parts = {name: _part(spans) for name, spans in taken(child) if name in wanted}
        self._pending = []
        if not parts:
            return
        code = torch.tensor(self.space.encode(child.point)).to(like)
        flat = self.hypernet(code, {name: part.to(like) for name, part in parts.items()})
        places = {name: number for number, name in enumerate(self.made)}
        for name, entries in flat.items():
            target = self.weight(name)
            value = (entries * self.scales[places[name]].exp()).view(target.shape)
            with torch.no_grad():
                target.copy_(value)
            if value.requires_grad:
                target.grad = None
                target.requires_grad_(True)
                self._pending.append((target, value))

    def settle(self) -> None:
        """Take the gradients of a child's weights on to the network that made them."""
        pairs = [(value, target.grad) for target, value in self._pending if target.grad is not None]
        for target, _ in self._pending:
            target.grad = None
            target.requires_grad_(False)
        self._pending = []
        if pairs:
            values, gradients = zip(*pairs, strict=True)
            torch.autograd.backward(values, gradients)

    def forward(self, point: Mapping[str, Any], *inputs: Tensor) -> Any:
        """Run a child on the weights made for it."""
        child = self.at(point)
        with torch.no_grad():
            self.write(child)
        return child(*inputs)

    def extract(self, point: Mapping[str, Any]) -> nn.Module:
        """Return a child as a module of its own, with the weights made for it."""
        with torch.no_grad():
            self.write(self.at(point))
        return super().extract(point)


def taken(child: Child) -> Iterator[tuple[str, Spans]]:
    """Yield (name of a shared weight, spans of its axes) for all that a child takes."""
    for _, use in child.uses():
        yield from use.takes.values()


def is_matrix(shape: list[int], which: Which) -> bool:
    """Tell whether a weight of a shape maps channels to channels, and at one place if asked for."""
    if len(shape) < 2 or shape[1] == 1 or shape[0] == 1:
        return False
    return which == "all" or math.prod(shape[2:]) == 1


def _part(spans: Spans) -> Tensor:
    """Return how much a child has of each part of a weight's first two axes, and of its kernel.

    For a memory of banks these are the banks that a layer writes to and reads from.
    """
    found = []
    for span in spans[:2]:
        counts = [0.0] * BINS
        for entry in span.entries:
            counts[entry * BINS // span.universe] += BINS / span.universe
        found += counts
    kernel = math.prod(len(span) / span.universe for span in spans[2:])
    return torch.tensor([*found, kernel])
