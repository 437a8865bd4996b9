"""Networks on a GPU give what they give on the CPU, in supernets too."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import nasflow
from nasflow.lower import elastic, to_torch
from tests.lower.children import BIG, affordable, apart, inputs, run
from tests.lower.small import small

if not torch.cuda.is_available():
    pytest.skip("PyTorch sees no GPU here", allow_module_level=True)

CLOSE = 1e-6
"""Relative difference of outputs in float64: hard gates have constants in float32 in PyTorch's kernels for GPUs."""


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at few random points: these tests name those that they use."""
    monkeypatch.setattr(elastic, "QUIET", 8)


def gradients(module: torch.nn.Module) -> dict[str, Any]:
    return {name: p.grad.cpu() for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", nasflow.spaces())
def test_a_network_computes_the_same_there(name: str) -> None:
    space = small(name)
    graph = space.bind(space.sample(1))
    if graph.params > BIG:
        pytest.skip("too big to be run")
    here = to_torch(graph, seed=0).double().eval()
    there = to_torch(graph, seed=0).double().eval().cuda()
    x = inputs(graph)
    found = []
    for module, given in ((here, x), (there, [each.cuda() for each in x])):
        out = run(module, *given)
        out.square().sum().backward()
        found.append((out.detach().cpu(), gradients(module)))
    assert apart(found[1][0], found[0][0]) < CLOSE
    assert found[0][1].keys() == found[1][1].keys()
    for key, gradient in found[0][1].items():
        scale = gradient.abs().max().clamp_min(1e-6)
        assert (found[1][1][key] - gradient).abs().max() < 1e-5 * scale, key


@pytest.mark.parametrize("name", nasflow.spaces())
def test_a_child_is_there_what_is_cut_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    space = small(name)
    net = affordable(space, monkeypatch)
    if net is None:
        pytest.skip("too big to be run")
    point = space.sample(1)
    x = inputs(space.bind(point))
    here = run(net.at(point).eval(), *x)
    here.square().sum().backward()
    expected = gradients(net)
    net.zero_grad(set_to_none=True)
    net.cuda()
    given = [each.cuda() for each in x]
    there = run(net.at(point).eval(), *given)
    there.square().sum().backward()
    assert there.is_cuda and apart(there.cpu(), here) < CLOSE
    assert apart(run(net.extract(point), *given), there) < 1e-10
    found = gradients(net)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        assert (found[key] - gradient).abs().max() < 1e-5 * gradient.abs().max().clamp_min(1e-6), (
            key
        )
