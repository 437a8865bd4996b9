"""Put a child's own module together from parts that are known, where writing it takes too long."""

from __future__ import annotations

import functools
import gc
import itertools
import linecache
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn

from nasflow.lower import names
from nasflow.lower.child import Child
from nasflow.lower.cut import Cut
from nasflow.lower.module import portable
from nasflow.lower.plan import Plan
from nasflow.lower.ready import SCOPE, Mould, ready
from nasflow.lower.shares import Part, Segment

MOST_KEPT: Final = 1 << 12

Entry = tuple[
    str, "Plan | None", "Mould | None", int, tuple[tuple[str, Tensor, "Cut | None", bool], ...]
]
"""Attribute; plan of an inner segment; mould of a module; its slot in the child's state; weights
as (name, shared tensor, how it is cut, whether it is trainable)."""


@torch.inference_mode(False)
@torch.no_grad()
def assemble(child: Child) -> nn.Module:
    """Return a child as a module of its own, weights and buffers copied.

    It computes what the module written from the child's graph does, and has its state dict; it
    takes milliseconds, because forwards of blocks that are wired alike are one function.
    """
    # Thousands of new dictionaries would have the garbage collector look through all that the
    # supernet keeps, again and again, while nothing here can be garbage.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _module(child.plan, child.state, child.training, {})
    finally:
        if collecting:
            gc.enable()


def _module(
    plan: Plan, state: Sequence[Any], training: bool, tables: dict[int, Tensor]
) -> nn.Module:
    """Return a segment's module; ``tables`` are the constants that are copied already."""
    if plan.entries is None:
        plan.entries = tuple(_entries(plan))
        plan.mould = _pattern(plan.segment)
    made: nn.Module = plan.mould()
    made.__dict__["training"] = training
    modules = made._modules
    for attribute, inner, mould, slot, weights in plan.entries:
        if inner is not None:
            modules[attribute] = _module(inner, state[slot] if slot >= 0 else (), training, tables)
            continue
        holder = made
        if mould is not None:
            holder = modules[attribute] = mould(empty=True)
            holder.__dict__["training"] = training
            kept = mould.buffers if slot < 0 else state[slot]._buffers
            for name, buffer in kept.items():
                holder._buffers[name] = _own(buffer, name in mould.constants, tables)
        for name, shared, cut, trainable in weights:
            tensor = shared.clone() if cut is None else cut.copy(shared)
            if trainable:
                held = torch.Tensor._make_subclass(nn.Parameter, tensor, True)
                holder._parameters[name or attribute] = held
            else:
                holder._buffers[name or attribute] = tensor
    return made


def _own(buffer: Tensor | None, constant: bool, tables: dict[int, Tensor]) -> Tensor | None:
    """Return a buffer in memory of the module's own: what is one constant stays one."""
    if buffer is None or not constant:
        return None if buffer is None else buffer.clone()
    if id(buffer) not in tables:
        tables[id(buffer)] = buffer.clone()
    return tables[id(buffer)]


def _entries(plan: Plan) -> Iterator[Entry]:
    """Yield what the module of a segment holds: what shares weights comes once."""
    seen = set()
    for part, (_, run, _, slot, pull, *_) in zip(plan.segment.parts, plan.steps, strict=True):
        if part.attribute in seen:
            continue
        seen.add(part.attribute)
        if isinstance(part.laid, Segment):
            yield part.attribute, run, None, slot, ()
            continue
        content = part.laid.content
        trainable = {weight.name: weight.trainable for weight in content.weights}
        pulled = [(name, shared, cut, trainable[name]) for name, shared, cut in pull.pulled]
        made = ready(content)
        if made.module is not None or pulled:
            mould = None if made.module is None else made.mould(plan.like)
            yield part.attribute, None, mould, slot, tuple(pulled)


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
        cls = assembled_class(names.camel(graph.name), "\n".join(_lines(segment)), tuple(texts))
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


@functools.lru_cache(MOST_KEPT)
def assembled_class(name: str, forward: str, support: tuple[str, ...]) -> type[nn.Module]:
    """Return a module class of that name with a forward method."""
    scope = _scope(support)
    path = f"<{scope['__name__']}.{name}{next(_numbers)}>"
    text = f"class {name}(nn.Module):\n{forward}\n"
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    own: dict[str, Any] = {}
    exec(compile(text, path, "exec"), scope, own)
    made: type[nn.Module] = own[name]
    portable(made, assembled_class, name, forward, support)
    return made


@functools.lru_cache(None)
def _scope(support: tuple[str, ...]) -> dict[str, Any]:
    """Return what forwards can name, as the dictionary of a Python module."""
    name = f"nasflow_assembled_{next(_numbers)}"
    module = ModuleType(name)
    sys.modules[name] = module  # torch.compile looks a class's module up by name
    scope = module.__dict__
    scope.update(SCOPE)
    for text in support:
        exec(text, scope)
    return scope


_numbers: Final = itertools.count()
