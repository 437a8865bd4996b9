"""Run written source: a graph's module is an instance of the class that export would write."""

from __future__ import annotations

import hashlib
import linecache
import sys
from collections import OrderedDict
from threading import Lock
from types import ModuleType
from typing import Final

import torch
from torch import nn

from nasflow.ir.graph import Graph
from nasflow.lower.initialise import initialise
from nasflow.lower.source import _write
from nasflow.lower.weights import state_dict_names

MOST_KEPT: Final = 256
_kept: Final[OrderedDict[str, ModuleType]] = OrderedDict()
_lock: Final = Lock()


def to_torch(graph: Graph, seed: int | None = None, device: str = "cpu") -> nn.Module:
    """Return the network as an ordinary module, initialised as its operations declare.

    Its forward is the source that :func:`nasflow.lower.to_source` writes, so nothing interprets the
    graph while it runs. With a ``seed`` the weights are reproducible and the global random state is
    left alone; without, they are drawn from it. On device ``meta`` nothing is allocated.
    """
    source, name = _write(graph)
    cls: type[nn.Module] = getattr(load(source), name)
    with torch.device("meta"):
        module = cls()
    if device == "meta":
        return module
    if _declared(graph, module):
        module = module.to_empty(device=device)
    else:  # some constants are computed by the module itself
        with torch.random.fork_rng(devices=[]), torch.device(device):
            module = cls()
    initialise(module, graph, seed)
    return module


def _declared(graph: Graph, module: nn.Module) -> bool:
    """Return whether the graph's weights are all the tensors that the module has."""
    tensors = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    return tensors == {path for path, weight, _ in state_dict_names(graph) if weight.persistent}


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
        _kept[name] = module
        if len(_kept) > MOST_KEPT:
            old, _ = _kept.popitem(last=False)
            sys.modules.pop(old, None)
            linecache.cache.pop(f"<{old}>", None)
        return module
