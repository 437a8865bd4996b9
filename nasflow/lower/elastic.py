"""A space as one set of shared weights: any of its networks runs inside, or is cut out."""

from __future__ import annotations

import hashlib
import itertools
import math
import operator
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from nasflow.errors import SpaceError, TypeRuleError
from nasflow.ir.expression import Decision, Scalar
from nasflow.ir.graph import Graph
from nasflow.ir.space import Point, Space
from nasflow.ir.weight import Weight, axis
from nasflow.lower.assemble import assemble
from nasflow.lower.child import Child
from nasflow.lower.initialise import fans, fill
from nasflow.lower.plan import Planner
from nasflow.lower.shares import Segment, Shares

QUIET: Final = 128
"""A space counts as known when so many random points in a row bring nothing new."""
MOST_DRAWN: Final = 2048
EXTREME: Final = (0.1, 0.65)
"""How often an ordered decision has its first and its last option in points that are drawn large."""
MOST_TRIED: Final = 256
"""Points that are looked at beside those that made something wider."""
FEW: Final = 64
"""Decisions of more options stay as they are there."""
CHILDREN: Final = 16
"""How many children are kept ready to run again."""


class Supernet(nn.Module):
    """One set of weights that every network of a space is a part of.

    Weights have the biggest size of every axis; alternatives (operations, branches) have their own.
    When it is made, points are looked at: for every decision the biggest network with each option,
    ``points``, and random ones until nothing new turns up.

    Args:
        space: what the children are points of.
        seed: of the initialisation, by the laws that operations declare.
        points: networks that must fit, beside those found.

    Raises:
        SpaceError: an operation cannot follow index sets; the message names it.

    Attributes:
        space: the space.
        shares: what children take from them.
        notes: places where children are told apart by position only, and why.
    """

    def __init__(
        self, space: Space, seed: int = 0, points: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__()
        self.space = space
        self.shares = Shares()
        explore(self.shares, space, [space.complete(point) for point in points])
        self.notes: dict[str, str] = dict(self.shares.plot.notes)
        self._stored: dict[str, str] = {}
        self._maps: dict[str, dict[tuple[int, ...], str]] = {}
        for name, shared in self.shares.shared.items():
            if not shared.weight.trainable and shared.weight.name:
                continue  # statistics: each child has its own
            stored = self._stored[name] = name.replace(".", "_")
            tensor = torch.empty(shared.shape)
            if shared.weight.trainable:
                self.register_parameter(stored, nn.Parameter(tensor))
            else:
                self.register_buffer(stored, tensor)
            for kernel in sorted(shared.kernels, reverse=True)[1:]:
                matrix = nn.Parameter(torch.empty([math.prod(kernel)] * 2))
                matrix_name = f"{stored}@{'x'.join(map(str, kernel))}"
                self._maps.setdefault(name, {})[kernel] = matrix_name
                self.register_parameter(matrix_name, matrix)
        self.initialise(seed)
        self._children: OrderedDict[tuple[Any, ...], Child] = OrderedDict()
        self._planner: Planner | None = None
        self._held: list[Tensor | None] = []  # what the planner was made of

    @torch.no_grad()
    def initialise(self, seed: int = 0) -> None:
        """Start every weight by the law that its operation declares, at its biggest size.

        Maps of kernels start as the identity.
        """
        for name, stored in self._stored.items():
            shared = self.shares.shared[name]
            lead = name.rpartition("/")[0]
            group = []
            for weight in shared.group:
                of = self.shares.shared.get(f"{lead}/{weight.name or 'value'}", shared)
                group.append(
                    _resized(weight, of.shape) if of.weight.name == weight.name else weight
                )
            digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=7).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest))
            weight = _resized(shared.weight, shared.shape)
            fill(getattr(self, stored), weight, fans(group), generator)
        for matrices in self._maps.values():
            for matrix in matrices.values():
                nn.init.eye_(getattr(self, matrix))

    @torch.inference_mode(False)  # what is made here may train later
    def at(self, point: Mapping[str, Any]) -> Child:
        """Return a child, ready to run on its part of the weights.

        The last CHILDREN are kept, each with the running statistics of its own norms: recalibrate
        before evaluating one.

        Raises:
            PointError: the point does not fit the space.
            SpaceError: it makes no network, or needs more than was found when the supernet was made.
        """
        if self._planner is not None and any(map(operator.is_not, self._held, self._tensors())):
            self._forget()  # as when torch.func.functional_call puts others in their place
        full = self.space.complete(point)
        key = tuple(full.items())
        child = self._children.get(key)
        if child is None:
            try:
                graph = self.space.bind(full)
            except TypeRuleError as error:
                raise SpaceError(
                    f"{self.space.name}: the point makes no network: {error}"
                ) from error
            child = self._child(full, self.shares.lay(graph))
            self._children[key] = child
            if len(self._children) > CHILDREN:
                self._children.popitem(last=False)
        self._children.move_to_end(key)
        return child

    def _child(self, point: Point, segment: Segment) -> Child:
        self.shares.grow(segment)
        if self._planner is None:
            stored = {name: getattr(self, own) for name, own in self._stored.items()}
            maps = {
                name: {kernel: getattr(self, own) for kernel, own in matrices.items()}
                for name, matrices in self._maps.items()
            }
            self._planner = Planner(self.shares.shared, stored, maps)
            self._held = self._tensors()
        return Child(point, segment, self._planner).train(self.training)

    def _tensors(self) -> list[Tensor | None]:
        return [*self._parameters.values(), *self._buffers.values()]

    def weight(self, name: str) -> Tensor:
        """Return the shared tensor of a name in ``shares.shared``, as `initialise` fills it."""
        found: Tensor = getattr(self, self._stored[name])
        return found

    def extract(self, point: Mapping[str, Any]) -> nn.Module:
        """Return a child as an ordinary module of its own, weights and statistics copied."""
        return assemble(self.at(point))

    def forward(self, point: Mapping[str, Any], *inputs: Tensor) -> Any:
        """Run a child: ``supernet(point, x)`` is ``supernet.at(point)(x)``."""
        return self.at(point)(*inputs)

    def train(self, mode: bool = True) -> Supernet:
        """Put the supernet and the children that are kept into training or evaluation mode."""
        for child in self._children.values():
            child.train(mode)
        return super().train(mode)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Supernet:
        self._forget()
        return super()._apply(fn, recurse)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights as any module does; with ``assign`` children are made anew."""
        if assign:
            self._forget()
        return super().load_state_dict(state_dict, strict, assign)

    def _forget(self) -> None:
        """Drop what holds the tensors, which are about to be moved, cast or exchanged."""
        self._children.clear()
        self.shares.forget()
        self._planner = None


def _resized(weight: Weight, shape: Iterable[int]) -> Weight:
    return replace(weight, axes=tuple(axis(size) for size in shape))


def explore(shares: Shares, space: Space, points: Iterable[Point]) -> None:
    """Find the biggest size of every axis of every weight, then hold them."""
    graphs: list[Graph] = []
    widened: list[Point] = []
    asked_for = [(point, space.bind(point)) for point in points]
    for point, graph in itertools.chain(asked_for, _bound(space, extremes(space))):
        graphs.append(graph)
        known = shares.plot.widened
        shares.grow(shares.lay(graph))
        if shares.plot.widened != known:
            widened.append(point)
    tries = MOST_TRIED
    for base in widened:  # more are found on the way
        for point, graph in _bound(space, itertools.islice(_beside(space, base), tries)):
            tries -= 1
            known = shares.plot.widened
            if shares.grow(shares.lay(graph)):
                graphs.append(graph)
            if shares.plot.widened != known:
                widened.append(point)
    quiet = 0
    for _, graph in _bound(space, sampled(space, MOST_DRAWN)):
        grown = shares.grow(shares.lay(graph))
        if grown:
            graphs.append(graph)
        quiet = 0 if grown else quiet + 1
        if quiet >= min(QUIET, space.size):
            break
    if shares.plot.stale:
        shares.restart()
    # What stands behind a concatenation moves as its parts grow, so weights may grow again.
    laid = [-1] * len(graphs)  # the version of the plot at which each was
    while behind := [i for i, version in enumerate(laid) if version != shares.plot.version]:
        for i in behind:
            laid[i] = shares.plot.version
            shares.grow(shares.lay(graphs[i]))
    shares.plot.frozen = True


def _bound(space: Space, points: Iterable[Point]) -> Iterator[tuple[Point, Graph]]:
    """Yield those points that make a network, with it."""
    for point in points:
        try:
            yield point, space.bind(point)
        except TypeRuleError:
            continue


def extremes(space: Space) -> Iterator[Point]:
    """Yield the largest point, a large one with each option of each decision, then the smallest.

    A large one has the last option of all other decisions, but of those that open its own.
    """
    largest = space.largest()
    yield largest
    known = [largest]
    for decision in space.decisions:
        for option in decision.offered:
            base = next((p for p in known if decision.name in p), None)
            if base is None or base[decision.name] == option:
                continue
            point = _completed(space, {**base, decision.name: option})
            known.append(point)
            yield point
    yield space.smallest()


def _beside(space: Space, base: Point) -> Iterator[Point]:
    """Yield the points that differ from one in one ordered decision of few options.

    Where widths are rounded to whole groups, the widest network has neither the biggest group nor
    what goes best with that: from a point that made something wider another step may, too.
    """
    for decision in space.decisions:
        if decision.searched and decision.ordered and len(decision.options) <= FEW:
            for option in decision.options:
                if decision.name in base and base[decision.name] != option:
                    yield _completed(space, {**base, decision.name: option})


def sampled(space: Space, count: int) -> Iterator[Point]:
    """Yield so many random points, always the same: in turns uniform and drawn large."""
    rng = random.Random(0)
    for number in range(count):
        yield drawn_large(space, rng) if number % 2 else space.sample(rng)


def drawn_large(space: Space, rng: random.Random) -> Point:
    """Return a random point, most of its ordered decisions at an extreme and mostly the last."""

    def choose(decision: Decision) -> Scalar:
        at = rng.random() if decision.ordered else 1.0
        if at < EXTREME[0]:
            return decision.offered[0]
        if at < sum(EXTREME):
            return decision.offered[-1]
        return rng.choice(decision.offered)

    return space.decide(choose)


def _completed(space: Space, wanted: Mapping[str, Any]) -> Point:
    """Return the point that agrees with ``wanted`` and has the last option elsewhere."""
    return space.decide(lambda decision: wanted.get(decision.name, decision.offered[-1]))
