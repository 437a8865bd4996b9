"""A network inside a supernet: it runs on parts of the shared weights, cut out at every call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from nasflow.ir.expression import Scalar
from nasflow.ir.graph import Graph
from nasflow.lower.pull import Pull, pull
from nasflow.lower.ready import ready, replica
from nasflow.lower.shares import Laid, Shared

Line = tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""A function, the values it takes, those it makes, and those nobody needs any more."""


class Child(nn.Module):
    """One network of a supernet: an ordinary module to call, train and recalibrate.

    Its weights are parts of the supernet's: gradients arrive there, and an optimiser is given the
    supernet's parameters. Buffers (the running statistics of norms) are its own. Keys of
    :meth:`tensors` are those of the written module's state dict.
    """

    def __init__(
        self,
        point: Mapping[str, Scalar],
        graph: Graph,
        laid: Laid,
        shared: Mapping[str, Shared],
        stored: Mapping[str, Tensor],
        like: Tensor,
    ) -> None:
        super().__init__()
        self.point = dict(point)
        self.graph = graph
        self.laid = laid
        self._shared = shared
        self._stored = stored
        self._values: dict[int, tuple[Tensor, Pull | None]] = {}  # weights used as values
        self._whole: list[tuple[dict[str, Any], str, Tensor]] = []
        self._cut: list[tuple[dict[str, Any], str, Tensor, Pull]] = []
        self._lines = list(self._write(laid, like))

    def _write(self, laid: Laid, like: Tensor) -> Iterator[Line]:
        last = dict.fromkeys(laid.results, -1)
        for number, use in reversed(list(enumerate(laid.uses))):
            for value in (*use.inputs, *use.outputs):
                last.setdefault(value, number)
        for number, use in enumerate(laid.uses):
            made = ready(use.content)
            if made.is_value:
                self._values[use.outputs[0]] = self._pull(use, use.content.weights[0])
                continue
            module = None
            if made.module is not None:
                name = use.key
                module = self._modules.get(name)
                if module is None:
                    self._modules[name] = module = replica(made.module, like)
                    self._give(use, module)
            run: Callable[..., Any] = (
                module  # type: ignore[assignment]
                if made.function is None
                else functools.partial(made.function, self, module)
            )
            dead = tuple({v for v in (*use.inputs, *use.outputs) if last[v] == number})
            yield run, use.inputs, use.outputs, dead

    def _pull(self, use: Any, weight: Any) -> tuple[Tensor, Pull | None]:
        name, spans = use.takes[weight.name]
        return self._stored[name], pull(weight, spans, self._shared[name].shape)

    def _give(self, use: Any, module: nn.Module) -> None:
        """Give a module its weights, or note where they are cut from at every call."""
        for weight in use.content.weights:
            if not weight.trainable:
                continue
            shared, cut = self._pull(use, weight)
            if cut is None:
                module._parameters[weight.name] = shared  # type: ignore[assignment]
            else:
                module._parameters[weight.name] = None
                self._cut.append((module._parameters, weight.name, shared, cut))

    def forward(self, *inputs: Tensor) -> Any:
        for place, name, shared, cut in self._cut:
            place[name] = cut(shared)
        values: list[Any] = [None] * self.laid.count
        values[: len(inputs)] = inputs
        for number, (shared, whole) in self._values.items():
            values[number] = shared if whole is None else whole(shared)
        for run, taken, made, dead in self._lines:
            result = run(*[values[i] for i in taken])
            if len(made) == 1:
                values[made[0]] = result
            else:
                for i, part in zip(made, result, strict=True):
                    values[i] = part
            for i in dead:
                values[i] = None
        for place, name, _, _ in self._cut:  # the graph that made them is not kept alive
            place[name] = None
        results = [values[i] for i in self.laid.results]
        return results[0] if len(results) == 1 else tuple(results)

    def tensors(self) -> dict[str, Tensor]:
        """Return the child's weights and buffers, by the keys of its written module's state dict."""
        found: dict[str, Tensor] = {}
        for use in self.laid.uses:
            for weight in use.content.weights:
                key = f"{use.key}.{weight.name}" if weight.name else use.key
                if weight.trainable or not weight.name:
                    shared, cut = self._pull(use, weight)
                    found[key] = shared if cut is None else cut(shared)
                else:
                    found[key] = self._modules[use.key]._buffers[weight.name]  # type: ignore[union-attr,assignment]
        return found
