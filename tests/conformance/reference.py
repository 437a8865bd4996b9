"""Compare a network of ours with somebody else's module: counts, weights by order, outputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nasflow.ir import Graph, Type
from nasflow.lower import to_torch

TOLERANCE = 1e-5


def example(type_: Type, batch: int = 2, device: str = "cpu", high: int = 10) -> Tensor:
    """Return random input of a type; integers lie below ``high``."""
    shape = (batch, *type_.shape)
    if type_.dtype == "int":
        return torch.randint(high, shape, device=device)
    return torch.randn(shape, device=device)


def counted_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Return what PyTorch's counter sees, halved; on the meta device it sees attention too."""
    module = module.to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*(x.to("meta") for x in inputs))
    return counter.get_total_flops() // 2


def parameters(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def assert_counts(graph: Graph, params: int, macs: int) -> None:
    """The graph, the module it lowers to and the published figures agree exactly."""
    assert (graph.params, graph.macs) == (params, macs)
    module = to_torch(graph, device="meta")
    assert parameters(module) == params
    inputs = [example(type_, batch=1, device="meta") for type_ in graph.inputs]
    assert counted_macs(module, *inputs) == macs


def perturb(module: nn.Module, seed: int = 0) -> None:
    """Move weights that all start alike (zeros, ones) apart, so that mixing them up shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and tensor.numel() and tensor.min() == tensor.max():
                noise = torch.rand if name.endswith("running_var") else torch.randn
                tensor.add_(noise(tensor.shape, generator=generator), alpha=0.1)


def copy_weights(
    target: nn.Module,
    source: nn.Module | Mapping[str, Tensor],
    names: Mapping[str, str] | None = None,
) -> None:
    """Copy a state dict in order of registration; ``names`` maps our names to theirs where it differs.

    Shapes must agree but for axes of size 1.
    """
    names = dict(names or {})
    ours = target.state_dict()
    theirs = dict(source.state_dict() if isinstance(source, nn.Module) else source)
    left = [name for name in theirs if name not in set(names.values())]
    rest = [name for name in ours if name not in names]
    assert len(left) == len(rest), (
        f"{len(rest)} tensors of ours, {len(left)} of theirs: {rest}, {left}"
    )
    for name, other in [*names.items(), *zip(rest, left, strict=True)]:
        into, value = ours[name], theirs[other]
        assert _squeezed(into) == _squeezed(value), (
            f"{name} {tuple(into.shape)} from {other} {tuple(value.shape)}"
        )
        into.copy_(value.reshape(into.shape))


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    return tuple(size for size in tensor.shape if size != 1)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference over the largest entry."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def assert_equal_outputs(
    graph: Graph,
    reference: nn.Module,
    *inputs: Tensor,
    names: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
    double: bool = False,
) -> nn.Module:
    """With the reference's weights, our module gives its outputs, in eval and in train mode.

    Returns our module. Without inputs a random batch of two is drawn. With ``double`` all is computed in
    float64, and equal to ten digits.
    """
    torch.manual_seed(0)
    perturb(reference)
    module = graph.to_torch(seed=0)
    copy_weights(module, reference, names)
    inputs = inputs or tuple(example(type_) for type_ in graph.inputs)
    if double:
        module, reference, tolerance = module.double(), reference.double(), 1e-10
        inputs = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    for mode in (False, True):
        module.train(mode)
        reference.train(mode)
        with torch.no_grad():
            error = relative_error(module(*inputs), reference(*inputs))
        assert error < tolerance, f"train={mode}: relative error {error:.1e}"
    return module
