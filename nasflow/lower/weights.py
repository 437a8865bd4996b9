"""Names of a graph's weights, and weights from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from nasflow.errors import DataError
from nasflow.ir.graph import REPEAT, Graph
from nasflow.ir.weight import Weight
from nasflow.lower import names


def declared(graph: Graph, path: str = "") -> Iterator[list[tuple[str, Weight]]]:
    """Yield the (key, weight) pairs of each operation that owns some, in the graph's order.

    Shared weights come once. Keys are those of the written module's state dict.
    """
    for node in graph.owners:
        part = (
            names.checked(node.weights) if graph.kind == REPEAT else names.attribute(node.weights)
        )
        here = f"{path}.{part}" if path else part
        if isinstance(node.content, Graph):
            yield from declared(node.content, here)
        elif node.content.weights:
            yield [
                (f"{here}.{weight.name}" if weight.name else here, weight)
                for weight in node.content.weights
            ]


def state_dict_names(graph: Graph) -> list[tuple[str, Weight, tuple[int, ...]]]:
    """Return (key, weight, shape) of every tensor of a graph's module, in the graph's order."""
    return [(path, weight, weight.shape) for group in declared(graph) for path, weight in group]


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's parameters and buffers by name."""
    return dict([*module.named_parameters(), *module.named_buffers()])


def copy_weights(
    module: nn.Module,
    foreign: Mapping[str, Tensor],
    name_map: Mapping[str, str] | Sequence[str] | None = None,
) -> None:
    """Copy a foreign state dict into a module, each tensor exactly once.

    ``name_map`` gives for each key of the module the foreign key, or lists the foreign keys in the
    module's order; without it the foreign state dict's own order is taken. Shapes must agree but
    for axes of size 1 (a linear map may be stored as a 1x1 convolution).

    Raises:
        DataError: a key or shape does not fit, or a foreign tensor would be left over.
    """
    own = module.state_dict()
    if not isinstance(name_map, Mapping):
        order = list(foreign) if name_map is None else list(name_map)
        if len(order) != len(own):
            raise DataError(f"expected {len(own)} tensors, got {len(order)}")
        name_map = dict(zip(own, order, strict=True))
    missing = [key for key in own if name_map.get(key) not in foreign]
    unused = sorted(set(foreign) - set(name_map.values()))
    if missing or unused:
        raise DataError(f"weights do not match: nothing for {missing[:3]}, left over {unused[:3]}")
    with torch.no_grad():
        for key, target in own.items():
            value = foreign[name_map[key]]
            if _squeezed(value) != _squeezed(target):
                raise DataError(
                    f"{key}: expected shape {tuple(target.shape)}, got {tuple(value.shape)} "
                    f"({name_map[key]})"
                )
            target.copy_(value.reshape(target.shape))


def _squeezed(x: Tensor) -> list[int]:
    return [size for size in x.shape if size != 1]
