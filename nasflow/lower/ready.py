"""Operations made ready to run one by one: what a supernet's children are put together from."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasflow.ir.operation import Applied, Call
from nasflow.lower.module import Undrawn

PLAIN: Final = "{self}({all})"
KEPT: Final = 1 << 14
_SCOPE: Final = {"torch": torch, "F": F, "nn": nn, "math": math, "Tensor": Tensor}


class Ready:
    """An operation at its input types, ready to run.

    Attributes:
        module: what it keeps between calls, with weights on ``meta``; None for nothing. It is a
            pattern: :func:`replica` makes one to use.
        is_value: whether it is a bare tensor, a weight used as a value.
        function: (child, module, *inputs) -> result; None where that is the module's own call.
    """

    __slots__ = ("function", "is_value", "module")

    def __init__(self, content: Applied) -> None:
        source = content.op.source(*content.inputs)
        self.is_value = source.build is not None and source.build.callee in ("parameter", "buffer")
        self.module: nn.Module | None = None
        if source.build is not None and not self.is_value:
            self.module = _built(source.build, content)
        self.function: Callable[..., Any] | None = None
        if not self.is_value and source.forward != PLAIN:
            arguments = [f"x{i}" for i in range(len(content.inputs))]
            constants = {name: repr(value) for name, value in source.constants.items()}
            text = source.forward.format(
                *arguments, all=", ".join(arguments), self="m", **constants
            )
            names = ", ".join(("self", "m", *arguments))
            self.function = _function(names, text, content.op.support)


@functools.lru_cache(KEPT)
def _function(arguments: str, text: str, support: str) -> Callable[..., Any]:
    # The text is an operation's own, with plain values written by repr: no stored name is in it.
    made: Callable[..., Any] = eval(f"lambda {arguments}: {text}", dict(_support(support)))
    return made


def _built(call: Call, content: Applied) -> nn.Module:
    made: Any = _support(content.op.support)
    for part in call.callee.split("."):
        made = made[part] if isinstance(made, dict) else getattr(made, part)
    positional = [value for _, value in call.positional]
    keywords = {name: value for name, value, _ in call.keyword}
    # What has no weights may compute buffers of its own, so it needs a real device.
    device = "meta" if content.weights else "cpu"
    with torch.device(device), Undrawn():
        module: nn.Module = made(*positional, **keywords)
    return module


@functools.lru_cache(256)
def _support(source: str) -> dict[str, Any]:
    scope: dict[str, Any] = {**_SCOPE, "__name__": __name__}
    exec(source, scope)
    return scope


_ready: Final[dict[Applied, Ready]] = {}


def ready(content: Applied) -> Ready:
    """Return the operation made ready, once for all children."""
    found = _ready.get(content)
    if found is None:
        if len(_ready) >= KEPT:  # bounds memory in searches of many days
            _ready.clear()
        found = _ready[content] = Ready(content)
    return found


def replica(pattern: nn.Module, like: Tensor) -> nn.Module:
    """Return a module that shares nothing with its pattern; buffers are fresh, of like's kind.

    Much cheaper than constructing it; its weights are still to be given.
    """
    made: nn.Module = object.__new__(type(pattern))
    state = made.__dict__
    for name, value in pattern.__dict__.items():
        state[name] = value.copy() if isinstance(value, (dict, set)) else value
    buffers = state["_buffers"]
    for name, buffer in buffers.items():
        if buffer is not None:
            buffers[name] = _fresh(name, buffer, like)
    return made


def _fresh(name: str, buffer: Tensor, like: Tensor) -> Tensor:
    dtype = like.dtype if buffer.is_floating_point() else buffer.dtype
    if buffer.device.type != "meta":
        return buffer.to(like.device, dtype, copy=True)
    fill = torch.ones if name == "running_var" else torch.zeros
    return fill(buffer.shape, dtype=dtype, device=like.device)
