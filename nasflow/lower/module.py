"""Run written source: a graph's module is an instance of the class that export would write."""

from __future__ import annotations

import hashlib
import linecache
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from types import ModuleType
from typing import Any, Final, SupportsIndex
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nasflow.errors import GraphError
from nasflow.ir.graph import Graph
from nasflow.lower.initialise import initialise
from nasflow.lower.source import write
from nasflow.lower.weights import state_dict_names

MOST_KEPT: Final = 256
_kept: Final[OrderedDict[str, ModuleType]] = OrderedDict()
_lock: Final = Lock()


class Undrawn(TorchFunctionMode):
    """Leave the weights of modules made inside as they lie in memory: they are drawn later."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


_DRAWS: Final = frozenset(
    {nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_, Tensor.uniform_, Tensor.normal_}
)


def to_torch(
    graph: Graph, seed: int | None = None, device: torch.device | str | None = None
) -> nn.Module:
    """Return the network as an ordinary module, initialised as its operations declare.

    Its forward is the source that :func:`nasflow.lower.to_source` writes, so nothing interprets the
    graph while it runs. With a ``seed`` the weights are reproducible and the global random state is
    left alone; without, they are drawn from it. ``device`` is PyTorch's default device; on ``meta``
    nothing is allocated.

    Raises:
        GraphError: a name or value of the graph cannot stand in source, or an operation keeps
            other tensors than it declares.
    """
    module = construct(graph, device)
    _check(graph, module)
    initialise(module, graph, seed)
    return module


def construct(graph: Graph, device: torch.device | str | None = None) -> nn.Module:
    """Return the graph's module with its weights as they lie in memory."""
    source, name = write(graph)
    device = torch.get_default_device() if device is None else device
    with torch.device(device), Undrawn():
        module: nn.Module = getattr(load(source), name)()
    return module


def _check(graph: Graph, module: nn.Module) -> None:
    """Raise GraphError unless the module's stored tensors are those that the graph declares."""
    stored = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    wanted = {key: shape for key, weight, shape in state_dict_names(graph) if weight.persistent}
    if stored != wanted:
        key = min(set(stored.items()) ^ set(wanted.items()))[0]
        raise GraphError(
            f"{key}: the operation declares {wanted.get(key, 'nothing')} but its module keeps "
            f"{stored.get(key, 'nothing')}"
        )


def load(source: str) -> ModuleType:
    """Return the Python module of written source; the same text gives the same module.

    Tracebacks and debuggers show its lines. The last MOST_KEPT modules are kept.
    """
    name = f"nasflow_written_{hashlib.blake2b(source.encode(), digest_size=8).hexdigest()}"
    with _lock:
        found = _kept.get(name)
        if found is not None:
            _kept.move_to_end(name)
            return found
        path = f"<{name}>"
        module = ModuleType(name)
        module.__file__ = path
        linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
        sys.modules[name] = module  # torch.compile looks a class's module up by name
        exec(compile(source, path, "exec"), module.__dict__)
        for made in [*vars(module).values()]:
            if isinstance(made, type) and made.__module__ == name:
                portable(made, written_class, source, made.__name__)
        _kept[name] = module
        if len(_kept) > MOST_KEPT:
            old, _ = _kept.popitem(last=False)
            sys.modules.pop(old, None)
            linecache.cache.pop(f"<{old}>", None)
        return module


def written_class(source: str, name: str) -> Any:
    """Return a class of written source."""
    return getattr(load(source), name)


def portable(cls: type, make: Callable[..., type], *arguments: Any) -> None:
    """Let modules of a class that was made from text be pickled, also for processes that never made it.

    ``make(*arguments)``, which such a process can import, makes it there.
    """

    def reduce(self: Any, protocol: SupportsIndex) -> Any:
        if type(self) is not cls:  # somebody's subclass
            return object.__reduce_ex__(self, protocol)
        return _revived, (make, arguments), self.__getstate__()

    _portable[make, arguments] = cls
    # Its text has no base class of ours to say this in: it is the text that users are given.
    cls.__reduce_ex__ = reduce  # type: ignore[method-assign, assignment]


def _revived(make: Callable[..., type], arguments: tuple[Any, ...]) -> Any:
    cls: Any = _portable.get((make, arguments)) or make(*arguments)
    return cls.__new__(cls)


_portable: Final[WeakValueDictionary[tuple[Any, ...], type]] = WeakValueDictionary()
"""The classes that there are, also those of text that is kept no longer."""
