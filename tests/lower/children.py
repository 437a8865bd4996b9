"""What tests of children compare: outputs, gradients, and the biggest network with entries masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasflow import ir
from nasflow.lower.elastic import Supernet
from nasflow.lower.resample import resample

BIG = 6_000_000
"""Entries of shared weights above which a space is only followed, not run."""


def supernet(space: ir.Space, points: Sequence[ir.Point] = ()) -> Supernet:
    """Return a supernet in float64 in which no two weights start alike."""
    net = space.to_supernet(points=points).double()
    perturb(net)
    return net


def affordable(space: ir.Space, monkeypatch: pytest.MonkeyPatch) -> Supernet | None:
    """Return a supernet as above with room for ``space.sample(1)``; None where it is too big to be run."""
    initialise = Supernet.initialise
    monkeypatch.setattr(Supernet, "initialise", lambda self, seed=0: None)
    net = space.to_supernet(points=[space.sample(1)])  # big ones stay memory that nobody touched
    if sum(parameter.numel() for parameter in net.parameters()) > BIG:
        return None
    initialise(net)
    perturb(net.double())
    return net


def perturb(net: Supernet) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)


def inputs(graph: ir.Graph, batch: int = 2, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for type_ in graph.inputs:
        shape = (batch, *type_.shape)
        if type_.dtype == "int":
            made.append(torch.randint(5, shape, generator=generator))
        else:
            made.append(torch.randn(shape, generator=generator, dtype=torch.float64))
    return made


def run(module: nn.Module, *x: Tensor) -> Tensor:
    torch.manual_seed(0)  # dropout draws the same
    result = module(*x)
    return (
        torch.cat([part.flatten(1) for part in result], 1) if isinstance(result, tuple) else result
    )


def apart(first: Tensor, second: Tensor) -> float:
    return float(
        (first - second).detach().abs().max() / second.detach().abs().max().clamp_min(1e-30)
    )


def assert_gradients_agree(net: Supernet, point: ir.Point, x: list[Tensor]) -> None:
    """Gradients of the shared weights are the child's own, scattered, and zero elsewhere."""
    child, module = net.at(point), net.extract(point)
    net.zero_grad()
    run(child, *x).square().sum().backward()
    first = {name: None if p.grad is None else p.grad.clone() for name, p in net.named_parameters()}
    run(child, *x).square().sum().backward()  # added in place now
    for name, parameter in net.named_parameters():
        if parameter.grad is not None:
            assert first[name] is not None and apart(parameter.grad, 2 * first[name]) < 1e-9, name
            parameter.grad = first[name]
    run(module, *x).square().sum().backward()
    own = dict(module.named_parameters())
    stored = dict(net.named_parameters())
    wanted: dict[str, Tensor] = {}
    for where, use in child.uses():
        for weight in use.content.weights:
            name, spans = use.takes[weight.name]
            key = f"{where}.{weight.name}" if weight.name else where
            if not weight.trainable or name.replace(".", "_") in wanted or own[key].grad is None:
                continue
            full = torch.zeros_like(stored[name.replace(".", "_")])
            resized = [
                i for i, axis in enumerate(weight.axes)
                if axis[0].shrink in ("interpolate", "transform") and full.shape[i] != len(spans[i])
            ]  # fmt: skip
            if resized:
                table = stored[name.replace(".", "_")].detach().clone().requires_grad_()
                cut = table
                for i, span in enumerate(spans):
                    if i not in resized:
                        cut = cut.index_select(i, torch.tensor(list(span.entries)))
                maps = {k: m for k, m in stored.items() if k.startswith(f"{name}@")}
                for i in resized if not maps else ():
                    cut = resample(cut, i, len(spans[i]))
                cut = stepped(cut, maps, len(spans[-1]))
                full, *others = torch.autograd.grad(
                    cut, [table, *maps.values()], own[key].grad, allow_unused=True
                )
                found = zip(maps, others, strict=True)
                wanted.update({k: gradient for k, gradient in found if gradient is not None})
            else:
                full[
                    torch.meshgrid(*[torch.tensor(list(s.entries)) for s in spans], indexing="ij")
                ] = own[key].grad
            wanted[name.replace(".", "_")] = full
    for name, parameter in stored.items():
        if name in wanted and parameter.grad is not None:
            scale = wanted[name].abs().max().clamp_min(1e-3)
            assert (parameter.grad - wanted[name]).abs().max() < 1e-9 * scale, name
        elif parameter.grad is not None:
            assert not parameter.grad.any(), name


def stepped(weight: Tensor, maps: dict[str, Tensor], size: int) -> Tensor:
    """Return the kernel of that size, entry by entry: the map of the centre of the next bigger one."""
    for name in sorted(maps, reverse=True):
        to = int(name.rpartition("x")[2])
        if to >= size:
            edge = (weight.shape[-1] - to) // 2
            taps = [(y, x) for y in range(edge, edge + to) for x in range(edge, edge + to)]
            seen = torch.stack([weight[..., y, x] for y, x in taps], -1)
            columns = [(seen * row).sum(-1) for row in maps[name]]
            weight = torch.stack(columns, -1).reshape(*weight.shape[:-2], to, to)
    return weight


def masked(net: Supernet, narrow: ir.Point, wide: ir.Point) -> nn.Module:
    """Return the wide network with zeros for all weights that the narrow one does not take."""
    module = net.extract(wide)
    kept = {}
    for _, use in net.at(narrow).uses():
        kept.update(use.takes.values())
    tensors = module.state_dict()
    for where, use in net.at(wide).uses():
        for weight in use.content.weights:
            if not weight.trainable:
                continue
            name, spans = use.takes[weight.name]
            tensor = tensors[f"{where}.{weight.name}" if weight.name else where]
            mask = torch.zeros_like(tensor)
            if name in kept:
                pairs = zip(spans, kept[name], strict=True)
                places = [
                    torch.tensor([list(s.entries).index(e) for e in k.entries]) for s, k in pairs
                ]
                mask[torch.meshgrid(*places, indexing="ij")] = 1.0
            tensor.mul_(mask)
    return module


def shuffling(size: int = 8) -> ir.Space:
    """Widths, kernels and depths that shrink, through all that moves channels about."""
    width = ir.choice("width", 8, 16, 24, ordered=True)
    kernel = ir.choice("kernel", 3, 5, ordered=True)
    ratio = ir.choice("ratio", 1, 2, ordered=True)

    def conv(x: ir.Value, out: ir.Operand, kernel: ir.Operand = 1, **more: Any) -> ir.Value:
        return ir.BatchNorm()(ir.Conv2d(out, kernel, bias=False, **more)(x))

    def unit(x: ir.Value, i: int) -> ir.Value:
        left, right = ir.Split(2)(x)
        with ir.scope("inner"):
            hidden = right.dim("C") * ratio
            y = conv(right, hidden)
            y = ir.Activation("relu")(conv(y, hidden, kernel, groups=hidden))
            y = conv(y, left.dim("C"))
        x = ir.Concat()(left, y)
        return ir.Rearrange("(p c) h w -> C=(c p) h w", (("p", 2),))(x, name="shuffle")

    x = conv(ir.image(3, size), width, 3)
    x = ir.repeat(unit, ir.integer("depth", 1, 2))(x)
    with ir.scope("grouped"):
        y = conv(conv(x, 2 * width), 2 * width, 3, groups=4)
    gate = ir.Activation("sigmoid")(ir.Conv2d(2 * width)(ir.Mean(keep=True)(y), name="gate"))
    x = ir.Concat()(x, ir.Multiply()(y, gate), name="all")
    x = ir.Flatten()(ir.Subsample(4)(x))
    return ir.Space(ir.Linear(5)(x, name="classifier"), name="shuffling")
