"""A network inside a supernet: it runs on windows of the shared weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasflow.ir.expression import Scalar
from nasflow.ir.graph import Graph
from nasflow.lower.inside import RUNNING, Inside, Stands, stands
from nasflow.lower.plan import Planner, fresh, leaves
from nasflow.lower.shares import Segment, Use


class Child(nn.Module):
    """One network of a supernet: an ordinary module to call, train and recalibrate.

    Its weights are parts of the supernet's: gradients arrive there, and an optimiser is given the
    supernet's parameters. Buffers (the running statistics of norms) are its own; its modules are
    those that keep some, or that training changes. Keys of :meth:`tensors` are those of the written
    module's state dict.
    """

    def __init__(self, point: Mapping[str, Scalar], segment: Segment, planner: Planner) -> None:
        super().__init__()
        self.point = dict(point)
        self.segment = segment
        self._planner = planner
        self.plan = planner.plan(segment)
        self.state = fresh(self.plan, self._modules)
        self._stands: tuple[list[Tensor], list[Stands]] | None = None

    @property
    def graph(self) -> Graph:
        """The child's graph."""
        return self.segment.graph

    def forward(self, *inputs: Tensor) -> Any:
        results = self._run(inputs)
        return results[0] if len(results) == 1 else tuple(results)

    def _run(self, inputs: Sequence[Any]) -> Sequence[Tensor]:
        if torch.compiler.is_compiling():
            return self._work(inputs)
        if self._stands is None:
            self._stands = stands(leaves(self.plan))
        shared, own = self._stands
        if not torch.is_grad_enabled():
            for leaf, _, _ in own:
                leaf.refresh(copy=False)
            return self._work(inputs)
        with RUNNING:
            tensors = [leaf.refresh(copy=True) for leaf, _, _ in own]
            try:
                return Inside.apply(self._work, own, tensors, False, len(inputs), *inputs, *shared)
            finally:
                for leaf, _, _ in own:
                    leaf.release()

    def _work(self, inputs: Sequence[Any]) -> list[Tensor]:
        return self.plan.run(self, self.state, inputs)

    def uses(self) -> Iterator[tuple[str, Use]]:
        """Yield (key in the written module's state dict, operation) in order."""
        return self.segment.uses()

    def tensors(self) -> dict[str, Tensor]:
        """Return the child's weights and buffers, by the keys of its written module's state dict."""
        found: dict[str, Tensor] = {}
        for key, use in self.segment.uses():
            if not use.content.weights:
                continue
            for name, shared, cut in self._planner.action(use).pulled:
                found[f"{key}.{name}" if name else key] = shared if cut is None else cut(shared)
            own = self._modules.get(key)
            if own is not None:
                for name, buffer in own._buffers.items():
                    if buffer is not None:
                        found[f"{key}.{name}"] = buffer
        return found
