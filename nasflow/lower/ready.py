"""Operations made ready to run one by one: what a supernet's children are put together from."""

from __future__ import annotations

import functools
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from nasflow.ir.operation import PLAIN_CALL, Applied, Call
from nasflow.lower.linear import linear
from nasflow.lower.module import Undrawn, portable

MOST_KEPT: Final = 1 << 14

PLAIN, WEIGHTED, OPEN, KEPT, VALUE = range(5)
"""Kinds: a function of the inputs; one that takes weights after them; an expression around such;
a module that each child has its own of; a weight used as a value."""

SCOPE: Final = {"torch": torch, "F": F, "nn": nn, "math": math, "Tensor": Tensor}


class Ready:
    """An operation at its input types, ready to run.

    Attributes:
        kind: one of those above.
        run: a function of the inputs (PLAIN) or of inputs and weights (WEIGHTED); what stands
            inside ``around`` (OPEN); a module with weights on ``meta``, a pattern of which
            :class:`Mould` makes one to use (KEPT).
        around: (child, module or function, *inputs) -> result, None where that is just a call.
        source: as the operation declares it.
        wording: what decides how the operation is written.
    """

    __slots__ = ("_moulds", "around", "kind", "module", "run", "source", "wording")

    def __init__(self, content: Applied) -> None:
        source = content.op.source(*content.inputs)
        build = source.build
        self.module: nn.Module | None = None
        self.around: Callable[..., Any] | None = None
        self.run: Any = None
        self._moulds: dict[tuple[torch.dtype, torch.device], Mould] = {}
        self.source = source
        self.wording = (source.forward, repr(dict(source.constants)), content.op.support)
        names = [f"x{i}" for i in range(len(content.inputs))]
        text = self.expression(names, "m")
        if build is not None and build.callee in ("parameter", "buffer"):
            self.kind = VALUE
            return
        if build is None and not re.search(r"\bself\b", text):
            self.kind = PLAIN
            self.run = _function(", ".join(names), text, content.op.support)
            return
        if source.forward != PLAIN_CALL:
            self.around = _function(", ".join(("self", "m", *names)), text, content.op.support)
        self.kind = OPEN
        if build is not None:
            self.module = _built(build, content)
            self.kind, self.run = _kind(self.module, content)
            if self.around is not None and self.kind != KEPT:
                self.kind = OPEN

    def mould(self, like: Tensor) -> Mould:
        """Return what makes modules like the operation's, in a tensor's precision and on its device."""
        key = (like.dtype, like.device)
        found = self._moulds.get(key)
        if found is None:
            assert self.module is not None
            found = self._moulds[key] = Mould(self.module, like)
        return found

    def expression(self, inputs: Sequence[str], module: str) -> str:
        """Return the operation as Python, on variables and on what holds its module."""
        constants = {name: repr(value) for name, value in self.source.constants.items()}
        everything = ", ".join(inputs)
        return self.source.forward.format(*inputs, all=everything, self=module, **constants)


def _kind(module: nn.Module, content: Applied) -> tuple[int, Any]:
    """Return how a module is run in children, and what."""
    if not content.weights:
        own = "training" in content.op.support or isinstance(module, _DropoutNd)
        return (KEPT if own else PLAIN), module
    function = FUNCTIONS.get(type(module))
    names = tuple(weight.name for weight in content.weights)
    if function is None or names not in (("weight",), ("weight", "bias")):
        return KEPT, module
    return WEIGHTED, function(module)


def _convolution(function: Callable[..., Tensor]) -> Callable[[Any], Callable[..., Tensor]]:
    def make(m: Any) -> Callable[..., Tensor]:
        if m.padding_mode != "zeros":
            return lambda x, weight, bias=None: m._conv_forward(x, weight, bias)
        settings = (m.stride, m.padding, m.dilation, m.groups)
        return lambda x, weight, bias=None: function(x, weight, bias, *settings)

    return make


def _layer_norm(m: Any) -> Callable[..., Tensor]:
    shape, eps = m.normalized_shape, m.eps
    return lambda x, weight, bias=None: F.layer_norm(x, shape, weight, bias, eps)


def _group_norm(m: Any) -> Callable[..., Tensor]:
    groups, eps = m.num_groups, m.eps
    return lambda x, weight, bias=None: F.group_norm(x, groups, weight, bias, eps)


FUNCTIONS: Final[dict[type[nn.Module], Callable[[Any], Callable[..., Tensor]]]] = {
    nn.Conv1d: _convolution(F.conv1d),
    nn.Conv2d: _convolution(F.conv2d),
    nn.Conv3d: _convolution(F.conv3d),
    nn.Linear: lambda m: linear,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
}
"""Modules that keep nothing but weights, as functions of the inputs and those."""


@functools.lru_cache(MOST_KEPT)
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
    scope: dict[str, Any] = {**SCOPE, "__name__": __name__}
    exec(source, scope)
    for name, made in scope.items():
        if isinstance(made, type) and made.__module__ == __name__:
            portable(made, supporting_class, source, name)
    return scope


def supporting_class(source: str, name: str) -> Any:
    """Return a class that an operation's source defines."""
    return _support(source)[name]


_ready: Final[dict[Applied, Ready]] = {}


def ready(content: Applied) -> Ready:
    """Return the operation made ready, once for all children."""
    found = _ready.get(content)
    if found is None:
        if len(_ready) >= MOST_KEPT:  # bounds memory in searches of many days
            _ready.clear()
        found = _ready[content] = Ready(content)
    return found


class Mould:
    """Makes modules like a pattern; much cheaper than constructing them.

    Weights are still to be given; buffers start afresh, on the device and in the precision of
    ``like``. Those that are in no state dict (tables of positions) are constants: all share one.
    Nothing of it is made in inference mode, whatever mode it is made in: others will train.
    """

    __slots__ = ("buffers", "cls", "constants", "empty", "filled", "plain")

    def __init__(self, pattern: nn.Module, like: Tensor) -> None:
        self.cls = type(pattern)
        state = pattern.__dict__
        held = {k: v for k, v in state.items() if isinstance(v, (dict, set)) and k != "_buffers"}
        self.plain = {k: v for k, v in state.items() if k not in held}
        self.empty = [k for k, v in held.items() if type(v) is OrderedDict and not v]
        self.filled = [(k, v) for k, v in held.items() if k not in self.empty]
        with torch.inference_mode(False):
            self.buffers = {
                name: None if buffer is None else _fresh(name, buffer, like)
                for name, buffer in pattern._buffers.items()
            }
        self.constants = pattern._non_persistent_buffers_set

    def __call__(self, empty: bool = False) -> nn.Module:
        """Return a new module; an ``empty`` one is to be given its buffers."""
        made: nn.Module = object.__new__(self.cls)
        state = made.__dict__
        state.update(self.plain)
        for name in self.empty:
            state[name] = OrderedDict()
        for name, held in self.filled:
            state[name] = held.copy()
        buffers, constants = ({} if empty else self.buffers), self.constants
        state["_buffers"] = {
            k: b if b is None or k in constants else b.clone() for k, b in buffers.items()
        }
        return made


def _fresh(name: str, buffer: Tensor, like: Tensor) -> Tensor:
    dtype = like.dtype if buffer.is_floating_point() else buffer.dtype
    if buffer.device.type != "meta":
        return buffer.to(like.device, dtype, copy=True)
    fill = torch.ones if name == "running_var" else torch.zeros
    return fill(buffer.shape, dtype=dtype, device=like.device)
