"""Put a child's own module together from parts that are known, where writing it takes too long."""

from __future__ import annotations

import functools
import linecache
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn

from nasflow.lower import names
from nasflow.lower.ready import SCOPE, VALUE, Mould, ready
from nasflow.lower.shares import Part, Segment, Use

MOST_KEPT: Final = 1 << 12


def assemble(segment: Segment, tensors: Mapping[str, Tensor], like: Tensor) -> nn.Module:
    """Return the module of a segment, given its tensors by their keys in its state dict.

    It computes what the module written from the segment's graph does, and has its state dict; it
    takes milliseconds, because forwards of blocks that are wired alike are one function.
    """
    return _Assembly(tensors, like).module(segment, "")


class _Assembly:
    """One module being put together."""

    def __init__(self, tensors: Mapping[str, Tensor], like: Tensor) -> None:
        self.tensors = tensors
        self.like = like

    def module(self, segment: Segment, key: str) -> nn.Module:
        """Return the module of a segment that stands at a key."""
        if segment.pattern is None:
            segment.pattern = _pattern(segment)
        made: nn.Module = segment.pattern()
        lead = f"{key}." if key else ""
        modules = made._modules
        for part in segment.parts:
            attribute = part.attribute
            if attribute in modules or attribute in made._parameters or attribute in made._buffers:
                continue  # weights that are shared
            here = lead + attribute
            if isinstance(part.laid, Segment):
                modules[attribute] = self.module(part.laid, here)
            else:
                self._operation(made, part.laid, attribute, here)
        return made

    def _operation(self, made: nn.Module, use: Use, attribute: str, key: str) -> None:
        found = ready(use.content)
        if found.kind == VALUE:
            (weight,) = use.content.weights
            if weight.trainable:
                made._parameters[attribute] = nn.Parameter(self.tensors[key])
            else:
                made._buffers[attribute] = self.tensors[key]
            return
        if found.module is None:
            return
        if use.mould is None:
            use.mould = Mould(found.module, self.like)
        inner = made._modules[attribute] = use.mould(empty=bool(use.content.weights))
        for weight in use.content.weights:
            tensor = self.tensors[f"{key}.{weight.name}"]
            if weight.trainable:
                inner._parameters[weight.name] = nn.Parameter(tensor)
            elif weight.persistent:
                inner._buffers[weight.name] = tensor


def _pattern(segment: Segment) -> Mould:
    """Return what makes the empty modules of a segment: made once for all that are wired alike."""
    parts = []
    for part in segment.parts:
        wording = () if isinstance(part.laid, Segment) else ready(part.laid.content).wording
        parts.append((part.attribute, wording, part.inputs, part.outputs))
    graph = segment.graph
    key = (graph.name, len(graph.inputs), graph.results, tuple(parts))
    found = _patterns.get(key)
    if found is None:
        if len(_patterns) >= MOST_KEPT:  # bounds memory in searches of many days
            _patterns.clear()
        texts = sorted({wording[2] for _, wording, _, _ in parts if wording} - {""})
        cls = _class(names.camel(graph.name), "\n".join(_lines(segment)), tuple(texts))
        found = _patterns[key] = Mould(cls(), torch.empty(0))
    return found


_patterns: Final[dict[tuple[Any, ...], Mould]] = {}


def _lines(segment: Segment) -> list[str]:
    """Return a forward method for a segment."""
    count = len(segment.graph.inputs)
    arguments = [f"v{i}" for i in range(count)]
    lines = [f"    def forward({', '.join(['self', *arguments])}):"]
    for part, gone in zip(segment.parts, segment.dead(), strict=True):
        lines.append(f"        {', '.join(f'v{i}' for i in part.outputs)} = {_expression(part)}")
        if gone:
            lines.append(f"        del {', '.join(f'v{i}' for i in gone)}")
    lines.append(f"        return {', '.join(f'v{i}' for i in segment.graph.results)}")
    return lines


def _expression(part: Part) -> str:
    inputs = [f"v{i}" for i in part.inputs]
    attribute = part.attribute  # a name by the rules of nasflow.lower.names: it cannot be code
    holder = f"self.{attribute}" if attribute.isidentifier() else f'self._modules["{attribute}"]'
    if isinstance(part.laid, Segment):
        return f"{holder}({', '.join(inputs)})"
    return ready(part.laid.content).expression(inputs, holder)


def _class(name: str, forward: str, support: tuple[str, ...]) -> type[nn.Module]:
    """Return a module class of that name with a forward method."""
    scope = _scope(support)
    number = len(scope)
    path = f"<{scope['__name__']}.{name}{number}>"
    text = f"class {name}{number}(nn.Module):\n{forward}\n"
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    exec(compile(text, path, "exec"), scope)
    made: type[nn.Module] = scope[f"{name}{number}"]
    made.__name__ = made.__qualname__ = name
    return made


@functools.lru_cache(None)
def _scope(support: tuple[str, ...]) -> dict[str, Any]:
    """Return what forwards can name, as the dictionary of a Python module."""
    name = f"nasflow_assembled_{len(_modules)}"
    module = _modules[name] = ModuleType(name)
    sys.modules[name] = module  # torch.compile looks a class's module up by name
    scope = module.__dict__
    scope.update(SCOPE)
    for text in support:
        exec(text, scope)
    return scope


_modules: Final[dict[str, ModuleType]] = {}
