"""A network inside a supernet: it runs on parts of the shared weights, cut out at every call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from nasflow.ir.expression import Scalar
from nasflow.ir.graph import Graph
from nasflow.lower.plan import Planner, fresh
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

    @property
    def graph(self) -> Graph:
        """The child's graph."""
        return self.segment.graph

    def forward(self, *inputs: Tensor) -> Any:
        results = self.plan.run(self, self.state, inputs)
        return results[0] if len(results) == 1 else tuple(results)

    def uses(self) -> Iterator[tuple[str, Use]]:
        """Yield (key in the written module's state dict, operation) in order."""
        return self.segment.uses()

    def tensors(self) -> dict[str, Tensor]:
        """Return the child's weights and buffers, by the keys of its written module's state dict."""
        found: dict[str, Tensor] = {}
        for key, use in self.segment.uses():
            if not use.content.weights:
                continue
            for name, shared, cut in self._planner.step(use)[3]:
                found[f"{key}.{name}" if name else key] = shared if cut is None else cut(shared)
            own = self._modules.get(key)
            if own is not None:
                for name, buffer in own._buffers.items():
                    if buffer is not None:
                        found[f"{key}.{name}"] = buffer
        return found
