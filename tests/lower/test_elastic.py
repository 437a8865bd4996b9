"""A child in a supernet is the child cut out of it, and the biggest network with entries masked."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nasflow
from nasflow import ir
from nasflow.discovery import find
from nasflow.errors import SpaceError
from nasflow.evaluate.batchnorm import recalibrate
from nasflow.ir.flow import Place
from nasflow.ir.operation import Operation, Source, operation
from nasflow.ir.types import Type
from nasflow.lower import elastic, to_torch
from nasflow.lower.elastic import Supernet
from nasflow.lower.resample import resample

STAGES = (
    ((8, 16), (1, 2), (3, 5), (1,), 1, False),
    ((16, 24), (1, 2), (3, 5), (3, 4), 2, True),
    ((24, 32), (1, 3), (3, 5), (4,), 2, True),
)
ATTENDING = (
    ((16, 24), (2, 3), (3,), (3, 4), 2, False),
    ((24, 32), (2, 3), (3,), (4,), 1, True),
)
STAGED: dict[str, Any] = {
    "sizes": (32, 64),
    "classes": 5,
    "stems": (8, 16),
    "features": (16, 24),
    "stages": STAGES,
}
SMALL: dict[str, dict[str, Any]] = {
    "alphanet": STAGED,
    "bignas": STAGED,
    "autoformer": {"size": 64, "classes": 5, "widths": (16, 24), "heads": (2, 3), "ratios": (2, 3),
                   "depths": (1, 2), "head_width": 8, "reach": 2},
    "levit": {"size": 64, "classes": 5, "key_width": 8, "widths": ((16, 24), (24, 32), (32,)),
              "heads": ((2, 3), (3,), (4, 6)), "depths": ((1, 2), (1, 2), (1, 1))},
    "nasvit": {**STAGED, "sizes": (32, 48), "stages": STAGES[:1], "attention_stages": ATTENDING},
    "ofa": {"sizes": (32, 64), "classes": 5, "widths": (0.25, 0.5), "depths": (1, 2)},
    "resnet": {"size": 32, "classes": 5, "skeleton": "cifar", "widths": (1, 2), "groups": (1, 4),
        "deepest": (3, 2, 2)},
    "dpn": {"size": 64, "classes": 5, "deepest": (1, 2, 2, 1)},
    "efficientnet": {"classes": 5, "widths": (0.25, 0.5), "depths": (0.5, 1.0), "sizes": (32, 64)},
    "efficientnet_v2": {"size": 64, "classes": 5, "deepest": (1, 2, 2, 2, 2, 2, 1)},
    "darts": {"size": 16, "classes": 5, "layers": 3, "filters": 4, "nodes": 2},
    "shakeshake": {"size": 16, "classes": 5, "widths": (4, 8), "deepest": 2},
    "gmlp": {"size": 64, "classes": 5, "widths": (16, 32), "depths": (1, 2)},
    "mixer": {"size": 64, "classes": 5, "patches": (16, 32), "widths": (16, 32), "depths": (1, 2)},
    "resmlp": {"size": 64, "classes": 5, "patches": (8, 16), "widths": (16, 32), "depths": (1, 2)},
    "convmixer": {"size": 56, "classes": 5, "widths": (16, 32), "depths": (1, 2)},
    "mobilenet_v1": {"classes": 5, "widths": (0.25, 0.5), "sizes": (32, 64)},
    "mobilenet_v2": {"classes": 5, "widths": (0.35, 0.5), "sizes": (32, 64), "deepest": 2},
    "mobilenet_v3": {"classes": 5, "widths": (0.35, 0.5), "sizes": (32, 64), "deepest": 2},
    "mnasnet": {"classes": 5, "widths": (0.25, 0.5), "sizes": (32, 64)},
    "densenet": {"size": 64, "classes": 5, "deepest": (2, 2, 3, 2), "growths": (4, 8)},
    "convnext": {"size": 64, "classes": 5, "widths": (16, 32), "deepest": (1, 2, 2, 1)},
    "regnet": {"size": 64, "classes": 5, "deepest": 3, "widest": 128},
    "revcol": {"size": 64, "classes": 5, "widths": (16, 24), "deepest": (1, 2, 2, 1), "columns": 2},
    "vgg": {"size": 64, "classes": 5, "deepest": 2, "widths": (0.25, 0.5), "features": (32, 64)},
    "inception": {"size": 128, "classes": 5},
    "replknet": {"size": 32, "classes": 5, "widths": (8, 16), "kernels": (3, 5), "deepest": (1, 2)},
    "dilation": {"size": 16, "classes": 3},
    "deformable": {"size": 16, "classes": 5, "widths": (4, 8), "deepest": 2},
    "deeplab": {"size": 64, "classes": 5, "deepest": (1, 1, 2, 1), "units": ("basic",)},
    "detection": {
        "size": (64, 96), "classes": 3, "proposals": 5, "detections": 2, "stages": 2, "width": 8, "hidden": 16,
        "stuff": 4, "context": 1,
        "backbones": {
            "swin": {"widths": (32,), "windows": (2, 3), "depths": (2, 2, 2, 2)},
            "convnext": {"widths": (8, 16), "deepest": (1, 2, 1, 1)},
            "replknet": {"widths": (8, 16), "kernels": (3, 5), "deepest": (1, 1, 2, 1)},
            "revcol": {"widths": (8, 16), "deepest": (1, 2, 1, 1), "columns": 2},
        },
    },
    "dino": {
        "size": (64, 96), "classes": 3, "queries": 5, "width": 32, "places": 1, "encoder": 2, "decoder": 2,
        "backbones": {"convnext": {"widths": (8, 16), "deepest": (1, 2, 1, 1)}},
    },
    "nfnet": {"size": 64, "classes": 5, "deepest": (1, 2, 2, 1), "widths": {"thin": (16, 32, 48, 48)}, "group": 8},
    "rir": {"size": 16, "classes": 5, "widths": (4, 8), "deepest": (1, 2, 2)},
    "polynet": {"size": 107, "classes": 5, "deepest": (1, 2, 1)},
    "lenet": {"classes": 5},
    "alexnet": {"classes": 5},
    "nasnet": {"size": 16, "classes": 5, "blocks": 2, "repeats": 1, "filters": 8},
    "nas": {"size": 16, "classes": 5, "blocks": 4, "layers": 2, "filters": (4, 6), "pools": (3,)},
    "enas": {"size": 16, "classes": 5, "repeats": 1, "filters": 4, "nodes": 2},
    "smash": {"size": 16, "classes": 5, "layers": (1, 1), "banks": 2, "bank": 8, "kernels": (3, 5)},
    "enas_macro": {"size": 16, "classes": 5, "layers": 3, "filters": 4},
    "nas_bench_201": {"size": 16, "classes": 5, "filters": 4, "cells": 1},
    "nas_bench_macro": {"size": 16, "classes": 5, "channels": 4},
    "halonet": {"size": 64, "classes": 5, "widths": (16, 32), "deepest": (1, 1, 2, 1), "heads": (2, 2, 4, 4),
                "blocks": (2,), "halos": (1, 2), "value_ratios": (1, 2), "ratios": (0.5, 1), "features": (0, 32)},
    "swin": {"size": 56, "classes": 5, "widths": (32, 64), "windows": (3, 7), "depths": (2, 4)},
    "vit": {"size": 64, "classes": 5, "heads": (2, 3), "depths": (1, 3)},
    "vitas": {"size": 32, "classes": 5, "heads": (2, 4), "depth": 2, "width": 40, "attention_width": 80,
              "mlp_width": 80},
    "vig": {"size": 64, "classes": 5, "widths": (32, 64), "depths": (1, 3), "neighbours": (2, 3)},
    "timesformer": {"frames": 2, "size": 64, "classes": 5, "heads": (1, 2), "depths": (1, 2)},
    "context_cluster": {
        "size": 16, "classes": 5, "stem": 2, "widths": ((8, 16),) * 2, "deepest": (1, 2),
        "heads": ((1, 2),) * 2, "head_widths": (4, 8), "regions": ((1, 2),) * 2, "centres": ((2,),) * 2,
    },
    "gpt": {"vocabulary": 50, "context": 6, "heads": (1, 2), "depths": (1, 2)},
    "transformer": {"vocabulary": 50, "source": 6, "target": 5, "widths": (32, 64), "depths": (1, 2)},
}  # fmt: skip
"""Settings that make a space's networks small; others are asked for small images if they take some."""

UNSUPPORTED: dict[str, str] = {}
"""Spaces without a supernet so far, and why."""


def small(name: str, **more: Any) -> ir.Space:
    wanted = SMALL.get(name)
    if wanted is None:
        known = inspect.signature(find("space", name)).parameters
        wanted = {key: value for key, value in {"size": 64, "classes": 5}.items() if key in known}
    return nasflow.space(name, **wanted, **more)


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at few random points: these tests name those that they use."""
    monkeypatch.setattr(elastic, "QUIET", 8)


def supernet(space: ir.Space, points: Sequence[ir.Point] = ()) -> Supernet:
    """Return a supernet in float64 in which no two weights start alike."""
    net = space.to_supernet(points=points).double()
    perturb(net)
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


BIG = 6_000_000
"""Entries of shared weights above which a space is only followed, not run."""


@pytest.mark.parametrize("name", nasflow.spaces())
def test_child_is_what_is_cut_out(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in UNSUPPORTED:
        request.applymarker(pytest.mark.xfail(strict=True, reason=UNSUPPORTED[name]))
    space = small(name)
    initialise = Supernet.initialise
    monkeypatch.setattr(Supernet, "initialise", lambda self, seed=0: None)
    net = space.to_supernet(points=[space.sample(1)])  # big ones stay memory that nobody touched
    if sum(parameter.numel() for parameter in net.parameters()) > BIG:
        return
    initialise(net)
    perturb(net.double())
    for point in (space.smallest(), space.sample(1)):
        child, module = net.at(point), net.extract(point)
        x = inputs(child.graph)
        assert apart(run(child, *x), run(module, *x)) < 1e-12
        if point == space.smallest():
            assert_gradients_agree(net, point, x)
            written = to_torch(child.graph).double()
            written.load_state_dict(module.state_dict())  # strict: the keys are the same
            assert apart(run(module, *x), run(written.train(module.training), *x)) < 1e-12
        if len(x) == 1:
            for part in (child, module):
                torch.manual_seed(0)
                recalibrate(part, x)
        with torch.no_grad():
            assert apart(run(child.eval(), *x), run(module.eval(), *x)) < 1e-12


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


# -- the biggest network, masked ------------------------------------------------------------------


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


def gated() -> ir.Space:
    """A concatenation of which one value may be left, at its own place."""
    width = ir.choice("width", 2, 4, ordered=True)
    x = ir.image(3, 4)
    parts = [ir.Conv2d(width)(x, name=f"part{i}") for i in range(3)]
    first, second = (ir.choice(name, 0, 1, ordered=True) for name in ("first", "second"))
    joined = ir.Concat()(ir.Gated(parts[0], first), ir.Gated(parts[1], second), parts[2])
    return ir.Space(ir.Conv2d(4, 3)(joined, name="reads"), name="gated")


MADE = {"shuffling": shuffling, "gated": gated}
NARROW: dict[str, tuple[tuple[dict[str, Any], dict[str, Any]], ...]] = {
    "shuffling": (
        ({"width": 8, "kernel": 3, "ratio": 1}, {"width": 24, "kernel": 5, "ratio": 2}),
        ({"width": 16, "kernel": 3}, {"width": 24, "kernel": 5}),
        ({"width": 8}, {"width": 16}),
    ),
    "resnet": (({"inner_width": 1}, {"inner_width": 4}),),
    "vig": (({"mlp_ratio": 2}, {"mlp_ratio": 4}),),
    "vit": (({"mlp_ratio": 2}, {"mlp_ratio": 4}),),
    "swin": (({"mlp_ratio": 2}, {"mlp_ratio": 4}),),
    "gated": (
        ({"first": 0, "second": 0}, {"first": 1, "second": 1}),
        ({"width": 2, "first": 0, "second": 0}, {"width": 4, "first": 1, "second": 1}),
        ({"width": 2, "first": 0, "second": 1}, {"width": 4, "first": 1, "second": 1}),
    ),
}
"""Decisions of a narrow network and a wide one that differ in axes nothing normalises over."""


@pytest.mark.parametrize("name", NARROW)
def test_child_is_the_biggest_network_masked(name: str) -> None:
    space = MADE[name]() if name in MADE else small(name)
    base = space.sample(3)
    net = supernet(space, points=[{**base, **part} for pair in NARROW[name] for part in pair])
    for few, many in NARROW[name]:
        narrow, wide = {**base, **few}, {**base, **many}
        x = inputs(space.bind(narrow))
        expected = run(masked(net, narrow, wide), *x)
        assert apart(run(net.at(narrow), *x), expected) < 1e-9
    assert net.notes == {} or name not in MADE


def test_masking_sees_wrong_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    def contiguous(self: Place, name: str, spans: Any) -> Any:
        starts = [sum(map(len, spans[:i])) for i in range(len(spans))]
        return tuple(starts), sum(map(len, spans))

    monkeypatch.setattr(Place, "offsets", contiguous)
    space = shuffling()
    net = supernet(space)
    narrow, wide = {**space.largest(), "width": 8}, space.largest()
    x = inputs(space.bind(narrow))
    assert apart(run(net.at(narrow), *x), run(net.extract(narrow), *x)) < 1e-12
    assert apart(run(net.at(narrow), *x), run(masked(net, narrow, wide), *x)) > 1e-3


# -- what else holds ------------------------------------------------------------------------------


def test_biggest_child_takes_weights_whole() -> None:
    space = shuffling()
    net = space.to_supernet()
    child = net.at(space.largest())
    own = {id(parameter) for parameter in net.parameters()}
    taken = child.tensors()
    assert {id(t) for key, t in taken.items() if id(t) in own} == own
    assert sum(p.numel() for p in net.parameters()) == child.graph.params


def test_seed_decides_the_weights_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second = shuffling().to_supernet(1), shuffling().to_supernet(1)
    assert torch.equal(state, torch.get_rng_state())
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    other = shuffling().to_supernet(2)
    assert any(
        not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
    )


def test_statistics_never_leak_between_children() -> None:
    space = shuffling()
    net = space.to_supernet()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    small, big = net.at(space.smallest()), net.at(space.largest())
    small(torch.randn(4, 3, 8, 8) + 5)
    fresh = [t for key, t in big.tensors().items() if key.endswith("running_mean")]
    assert fresh and all(not t.any() for t in fresh)
    assert any(t.any() for key, t in small.tensors().items() if key.endswith("running_mean"))
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())


def test_recalibration_stays_in_the_child() -> None:
    space = shuffling()
    net = space.to_supernet()
    point, x = space.smallest(), torch.randn(8, 3, 8, 8) + 3
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    child, module = net.at(point), net.extract(point)
    for part in (child, module):
        recalibrate(part, [x])
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())
    other = net.at(space.largest()).tensors()
    assert not any(t.any() for key, t in other.items() if key.endswith("running_mean"))
    measured = {key: t for key, t in module.state_dict().items() if "running" in key}
    assert measured and all(apart(child.tensors()[key], t) < 1e-5 for key, t in measured.items())
    with torch.no_grad():
        assert apart(child.eval()(x), module.eval()(x)) < 1e-5
        assert apart(net.extract(point)(x), module(x)) < 1e-5  # statistics are copied


def test_gradients_can_be_asked_for_watched_and_differentiated() -> None:
    space = shuffling()
    net = supernet(space)
    point = space.smallest()
    child, x = net.at(point), inputs(space.bind(point))
    child(*x).square().sum().backward()
    held = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    own = {name: p for name, p in net.named_parameters() if name in held}
    asked = torch.autograd.grad(child(*x).square().sum(), list(own.values()))
    for (name, parameter), gradient in zip(own.items(), asked, strict=True):
        assert torch.allclose(gradient, held[name], atol=1e-9)
        assert torch.equal(parameter.grad, held[name])  # what was there is left alone
    name, watched = next(iter(own.items()))
    seen: list[Tensor] = []
    handle = watched.register_hook(seen.append)
    child(*x).square().sum().backward()
    handle.remove()
    assert torch.allclose(seen[0], held[name], atol=1e-9)
    assert torch.allclose(watched.grad, 2 * held[name], atol=1e-9)
    loss = child(*x).square().sum()
    (gradient,) = torch.autograd.grad(loss, watched, create_graph=True)
    gradient.square().sum().backward()
    assert watched.grad is not None and watched.grad.isfinite().all()


def test_float32_children_agree() -> None:
    space = shuffling()
    net = space.to_supernet()
    point = space.sample(0)
    x = torch.randn(4, 3, 8, 8)
    assert apart(net(point, x), net.extract(point)(x)) < 1e-5


def test_points_beyond_what_was_found_are_refused() -> None:
    space = shuffling()
    net = space.to_supernet()
    grown = shuffling(size=12)
    net.space = grown
    with pytest.raises(SpaceError, match=r"classifier: .* found when the supernet was made"):
        net.at(grown.largest())


def test_weights_with_an_entry_for_each_place_are_kept_once_per_resolution() -> None:
    size = ir.choice("size", 4, 8, ordered=True)
    x = ir.Conv2d(ir.choice("width", 1, 2))(ir.image(1, size))
    space = ir.Space(ir.Linear(3)(ir.Flatten()(x), name="head"), name="flat")
    shapes = {key: tuple(p.shape) for key, p in space.to_supernet().named_parameters()}
    assert shapes["head/weight@4x4"] == (3, 32) and shapes["head/weight@8x8"] == (3, 128)


@operation
class Doubled(Operation):
    """Repeat the channels; says nothing of index sets."""

    def infer(self, *types: Type) -> Type:
        return types[0].resize(C=2 * types[0].size("C"))

    def source(self, *types: Type) -> Source:
        return Source("torch.cat([{0}, {0}], dim=1)")


def test_operations_that_cannot_be_followed_are_named() -> None:
    x = Doubled()(ir.Conv2d(ir.choice("width", 2, 4))(ir.image(3, 4)))
    with pytest.raises(SpaceError, match="doubled: cannot follow index sets through axis C"):
        ir.Space(x, name="doubled").to_supernet()


def test_grouped_convolutions_lay_out_what_they_read() -> None:
    space = shuffling()
    net = space.to_supernet()
    child = net.at({**space.largest(), "width": 8})
    (before,) = [use for _, use in child.uses() if use.path == "grouped_conv2d"]
    rows = before.takes["weight"][1][0]
    assert list(rows.entries) == [g * 12 + j for g in range(4) for j in range(4)]


def test_a_parameter_may_be_kept_several_times() -> None:
    """Every copy is as wide as the widest child's, also one that only a narrow child was seen with."""
    width, which = ir.choice("width", 2, 4, ordered=True), ir.choice("which", 0, 1, 2)
    x = ir.Conv2d(width)(ir.image(3, 4))
    scale = ir.Parameter(("C", "H", "W"), (width, 1, 1), "ones", copy=(which, 3))(name="scale")
    net = ir.Space(ir.Mean()(ir.Multiply()(x, scale)), name="scaled").to_supernet()
    names = [name for name, _ in net.named_parameters() if "scale" in name]
    assert len(names) == 3
    assert all(net.get_parameter(name).shape == (4, 1, 1) for name in names)
    net.at({"width": 2, "which": 1})(torch.randn(1, 3, 4, 4)).sum().backward()
    moved = [net.get_parameter(name).grad is not None for name in sorted(names)]
    assert moved == [False, True, False]


def kernels(shrink: str) -> ir.Space:
    kernel, width = (ir.choice(n, *o, ordered=True) for n, o in (("k", (3, 5, 7)), ("w", (2, 4))))
    x = ir.Conv2d(width, kernel, shrink=shrink)(ir.image(3, 8), name="conv")
    return ir.Space(ir.Mean()(x), name="kernels")


def test_kernels_are_their_centre_mapped_by_learned_matrices() -> None:
    net = kernels("transform").to_supernet().double()
    shapes = {name: tuple(p.shape) for name, p in net.named_parameters() if "@" in name}
    assert shapes == {"conv/weight@5x5": (25, 25), "conv/weight@3x3": (9, 9)}
    plain = kernels("centre").to_supernet().double()
    plain.load_state_dict({k: t for k, t in net.state_dict().items() if "@" not in k})
    for k in (3, 5, 7):  # at the start each is the centre
        x = inputs(net.at({"k": k, "w": 2}).graph)
        assert apart(net({"k": k, "w": 2}, *x), plain({"k": k, "w": 2}, *x)) < 1e-12
    perturb(net)
    point: ir.Point = {"k": 3, "w": 2}
    found = net.extract(point).state_dict()["conv.weight"]
    whole = dict(net.named_parameters())
    maps = {name: p for name, p in whole.items() if "@" in name}
    assert apart(found, stepped(whole["conv/weight"][:2], maps, 3)) < 1e-12
    assert apart(found, whole["conv/weight"][:2, :, 2:5, 2:5]) > 1e-3
    assert_gradients_agree(net, point, inputs(net.at(point).graph))
    assert all(matrix.grad is not None and matrix.grad.any() for matrix in maps.values())


def test_a_size_of_a_mapped_kernel_must_be_known() -> None:
    net = kernels("transform").to_supernet()
    net.space = ir.Space(
        ir.Mean()(ir.Conv2d(4, 1, shrink="transform")(ir.image(3, 8), name="conv")), name="other"
    )
    with pytest.raises(SpaceError, match=r"conv: this network needs conv/weight of .* 1x1 kernel"):
        net.at({})


def test_position_tables_are_interpolated() -> None:
    table = torch.arange(17.0)[:, None].expand(17, 2)
    small = resample(table, 0, 5)
    assert small.shape == (5, 2) and small[0, 0] == 0  # the class token's place stays
    assert torch.allclose(resample(table[:6], 0, 3)[:, 0], torch.tensor([0.5, 2.5, 4.5]))
    assert torch.equal(resample(table, 0, 17), table)
