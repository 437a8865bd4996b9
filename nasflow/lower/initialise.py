"""Start the weights of a module by the laws that its graph declares."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from nasflow.errors import GraphError
from nasflow.ir.graph import Graph
from nasflow.ir.weight import Weight
from nasflow.lower.weights import declared, tensors

Law = Callable[[Tensor, tuple[int, int], Sequence[float], "torch.Generator | None"], object]
TRUNCATED: Final = 0.87962566103423978
"""Standard deviation of a unit normal cut off at two standard deviations."""


def initialise(module: nn.Module, graph: Graph, seed: int | None = None) -> None:
    """Fill the parameters and buffers of a graph's module in place, in the order of the graph.

    With a ``seed`` the result is reproducible and the global random state is left alone; without,
    it is drawn from the global state. Modules on device ``meta`` are left as they are.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    have = tensors(module)
    with torch.no_grad():
        for group in declared(graph):
            sizes = fans([weight for _, weight in group])
            for path, weight in group:
                if path not in have or not weight.persistent:
                    continue
                target = have[path]
                if target.device.type != "meta":
                    fill(target, weight, sizes, generator)


def fill(
    target: Tensor, weight: Weight, fans: tuple[int, int], generator: torch.Generator | None
) -> None:
    """Start one tensor; drawn on the CPU, so that a seed means the same on every device."""
    law = LAWS.get(weight.init.law)
    if law is None:
        raise GraphError(f"{weight.name}: unknown initialisation {weight.init.law!r}")
    if target.device.type == "cpu":
        law(target, fans, weight.init.values, generator)
        return
    drawn = torch.empty(target.shape, dtype=target.dtype)
    law(drawn, fans, weight.init.values, generator)
    target.copy_(drawn)


def fans(weights: Sequence[Weight]) -> tuple[int, int]:
    """Return fan in and fan out of an operation, by PyTorch's convention for its weight matrix."""
    for weight in weights:
        shape = weight.shape
        if len(shape) > 1:
            field = math.prod(shape[2:])
            return shape[1] * field, shape[0] * field
    size = max((weight.numel for weight in weights), default=1)
    return size, size


def _uniform(bound: Callable[[int, int], float]) -> Law:
    def law(
        x: Tensor, fans: tuple[int, int], _: Sequence[float], generator: torch.Generator | None
    ) -> None:
        limit = bound(*fans)
        x.uniform_(-limit, limit, generator=generator)

    return law


def _normal(deviation: Callable[[int, int], float]) -> Law:
    def law(
        x: Tensor, fans: tuple[int, int], _: Sequence[float], generator: torch.Generator | None
    ) -> None:
        x.normal_(0.0, deviation(*fans), generator=generator)

    return law


def _lecun_normal(
    x: Tensor, fans: tuple[int, int], _: Sequence[float], generator: torch.Generator | None
) -> None:
    # LeCun et al. (1998), drawn as JAX and timm do: from a normal cut off at two deviations.
    nn.init.trunc_normal_(x, 0.0, 1.0, -2.0, 2.0, generator=generator)
    x.mul_(math.sqrt(1.0 / fans[0]) / TRUNCATED)


def _identity(
    x: Tensor, fans: tuple[int, int], values: Sequence[float], generator: torch.Generator | None
) -> None:
    channels, deviation = values
    out, given = x.shape[:2]
    same = torch.arange(out)[:, None] * channels // out == torch.arange(given) * channels // given
    x.normal_(0.0, deviation, generator=generator)
    x[..., x.shape[2] // 2, x.shape[3] // 2].masked_fill_(same, channels / out)


def _values(
    x: Tensor, fans: tuple[int, int], values: Sequence[float], generator: torch.Generator | None
) -> None:
    x.copy_(torch.tensor(values, dtype=torch.float64).reshape(x.shape))


LAWS: Final[dict[str, Law]] = {
    "zeros": lambda x, fans, v, g: x.zero_(),
    "ones": lambda x, fans, v, g: x.fill_(1),
    "constant": lambda x, fans, v, g: x.fill_(v[0]),
    "normal": lambda x, fans, v, g: x.normal_(0.0, v[0], generator=g),
    "trunc_normal": lambda x, fans, v, g: nn.init.trunc_normal_(x, std=v[0], generator=g),
    "uniform": lambda x, fans, v, g: x.uniform_(-v[0], v[0], generator=g),
    "kaiming_normal_fan_in": _normal(lambda i, o: math.sqrt(2.0 / i)),
    "kaiming_normal_fan_out": _normal(lambda i, o: math.sqrt(2.0 / o)),
    "kaiming_uniform_fan_in": _uniform(lambda i, o: math.sqrt(6.0 / i)),
    "torch": _uniform(lambda i, o: 1.0 / math.sqrt(i)),
    "xavier_uniform": _uniform(lambda i, o: math.sqrt(6.0 / (i + o))),
    "xavier_normal": _normal(lambda i, o: math.sqrt(2.0 / (i + o))),
    "fan_in_uniform": _uniform(lambda i, o: 1.0 / math.sqrt(i)),
    "fan_out_uniform": _uniform(lambda i, o: 1.0 / math.sqrt(o)),
    "lecun_normal": _lecun_normal,
    "lecun_uniform": _uniform(lambda i, o: math.sqrt(3.0 / i)),
    "orthogonal": lambda x, fans, v, g: nn.init.orthogonal_(x, v[0], generator=g),
    "identity": _identity,
    "values": _values,
}
"""Each law of nasflow.ir.weight: (tensor, (fan in, fan out), numbers, generator) -> filled."""
