"""A child runs as one function of the shared weights: what autograd can do with a module, it can do."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nasflow import ir
from nasflow.lower import elastic, inside
from nasflow.lower.elastic import Supernet


def space() -> ir.Space:
    width = ir.choice("width", 2, 4, ordered=True)
    x = ir.Conv2d(width, 3)(ir.image(3, 6), name="first")
    x = ir.Activation("tanh")(ir.BatchNorm()(x, name="norm"))
    return ir.Space(ir.Mean()(ir.Conv2d(2)(x, name="second")), name="net")


NARROW: ir.Point = {"width": 2}


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Supernet:
    monkeypatch.setattr(elastic, "QUIET", 4)
    return space().to_supernet(seed=0).double()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0)).double()


def loss(module: nn.Module, x: Tensor) -> Tensor:
    return module(x).square().sum()


def windows(net: Supernet) -> list[Tensor]:
    """Return the narrow child's part of each gradient, in the order of its module's parameters."""
    found = []
    for name, use in net.at(NARROW).uses():
        for weight in use.content.weights:
            if weight.trainable:
                shared = net.get_parameter(f"{name}/{weight.name}").grad
                assert shared is not None
                found.append(shared[tuple(slice(size) for size in weight.shape)])
    return found


def assert_gradients(net: Supernet, module: nn.Module, scale: float = 1.0) -> None:
    for mine, parameter in zip(windows(net), module.parameters(), strict=True):
        torch.testing.assert_close(mine, scale * parameter.grad)


def test_only_the_gradients_that_are_asked_for_change(net: Supernet, x: Tensor) -> None:
    weights = dict(net.named_parameters())
    for name, asked in weights.items():
        for weight in weights.values():
            weight.grad = torch.zeros_like(weight)
        loss(net.at(NARROW), x).backward(inputs=[asked])
        assert [n for n, w in weights.items() if w.grad is not None and w.grad.any()] in (
            [name],
            [],
        )


def test_gradients_of_gradients_are_the_modules(net: Supernet, x: Tensor) -> None:
    module = net.extract(NARROW)
    for part, weights in ((net.at(NARROW), net.parameters()), (module, module.parameters())):
        own = x.clone().requires_grad_()
        value = loss(part, own)
        found = torch.autograd.grad(value, [own, *weights], create_graph=True)
        (value + sum(gradient.square().sum() for gradient in found)).backward()
        if part is not module:
            first = own.grad
    torch.testing.assert_close(first, own.grad)
    assert_gradients(net, module)


def test_a_graph_can_be_kept_and_a_step_can_run_twice(net: Supernet, x: Tensor) -> None:
    child, module = net.at(NARROW), net.extract(NARROW)
    for part in (child, module):
        value = loss(part, x)
        value.backward(retain_graph=True)
        value.backward()
        with pytest.raises(RuntimeError, match="second time"):
            value.backward()
        (loss(part, x) + loss(part, 2 * x)).backward()  # two passes in one graph
    assert_gradients(net, module)


@pytest.mark.parametrize("reentrant", (False, True))
def test_children_can_be_checkpointed(net: Supernet, x: Tensor, reentrant: bool) -> None:
    child, module = net.at(NARROW), net.extract(NARROW)
    own = x.clone().requires_grad_()
    for _ in range(2):
        checkpoint(child, own, use_reentrant=reentrant).square().sum().backward()
    loss(module, x).backward()
    assert_gradients(net, module, 2.0)


def test_only_what_is_asked_for_has_a_gradient(net: Supernet, x: Tensor) -> None:
    child = net.at(NARROW)
    own = x.clone().requires_grad_()
    loss(child, own).backward(inputs=[own])
    assert own.grad is not None and all(p.grad is None for p in net.parameters())
    net.get_parameter("first/weight").requires_grad_(False)
    loss(child, x).backward()
    assert net.get_parameter("first/weight").grad is None
    assert net.get_parameter("second/weight").grad is not None
    net.requires_grad_(False)
    assert not child(x).requires_grad


def test_weights_changed_before_backward_are_noticed(net: Supernet, x: Tensor) -> None:
    value = loss(net.at(NARROW), x)
    with torch.no_grad():
        net.get_parameter("second/weight").add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


def test_weights_may_have_other_memory(net: Supernet, x: Tensor) -> None:
    child = net.at(NARROW)
    before = child(x)
    for parameter in net.parameters():
        parameter.data = 2 * parameter.data
    torch.testing.assert_close(child(x), net.extract(NARROW)(x))
    assert not torch.allclose(child(x), before)
    same = copy.deepcopy(net)
    with torch.no_grad():
        net.get_parameter("second/bias").add_(1)
    torch.testing.assert_close(same(NARROW, x) + 1, child(x))


def test_channels_may_come_last(net: Supernet, x: Tensor) -> None:
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = x.to(memory_format=torch.channels_last)
    child, module = net.at(NARROW), net.extract(NARROW)
    loss(child, x).backward()
    loss(child, x).backward()  # added in place now
    loss(module, x).backward()
    assert_gradients(net, module, scale=2.0)
    leaves = {leaf.tensor.shape: leaf for leaf, _, _ in child._stands[1] if leaf.tensor.dim() == 4}
    with torch.enable_grad():
        kernel = leaves[torch.Size([2, 3, 3, 3])].refresh(copy=True)
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    whole = net.at({"width": 4})
    loss(whole, x).backward()
    assert all(leaf.apart is None for leaf, _, _ in whole._stands[1])


def test_children_run_under_autocast(net: Supernet, x: Tensor) -> None:
    net.float()
    child, module = net.at(NARROW), net.extract(NARROW)
    for part in (child, module):
        with torch.autocast("cpu", torch.bfloat16):
            loss(part, x.float()).backward()
    assert_gradients(net, module)


@pytest.mark.parametrize("big", (0, inside.BIG))
def test_linear_layers_on_windows_have_the_modules_gradients(
    x: Tensor, monkeypatch: pytest.MonkeyPatch, big: int
) -> None:
    monkeypatch.setattr(elastic, "QUIET", 4)
    monkeypatch.setattr(inside, "BIG", big)  # from there on the window is not copied
    width = ir.choice("width", 2, 4, ordered=True)
    pooled = ir.Mean()(ir.image(3, 6), name="pool")
    hidden = ir.Activation("tanh")(ir.Linear(width)(pooled, name="first"))
    net = ir.Space(ir.Linear(width)(hidden, name="second"), name="net").to_supernet(seed=0).double()
    child, module = net.at(NARROW), net.extract(NARROW)
    for part in (child, module):
        loss(part, x).backward()
        loss(part, x).backward()  # adds to the gradients that are there
        checkpoint(part, x, use_reentrant=False).square().sum().backward()
    assert_gradients(net, module)
    net.zero_grad()
    module.zero_grad()
    for part, weights in ((child, net.parameters()), (module, module.parameters())):
        found = torch.autograd.grad(loss(part, x), list(weights), create_graph=True)
        sum(gradient.square().sum() for gradient in found).backward()
    assert_gradients(net, module)
    net.zero_grad()
    net.float()
    child, module = net.at(NARROW), net.extract(NARROW)
    for part in (child, module):
        with torch.autocast("cpu", torch.bfloat16):
            loss(part, x.float()).backward()
    assert_gradients(net, module)


@pytest.mark.slow
def test_a_child_is_traced_as_one_graph(net: Supernet, x: Tensor) -> None:
    module = net.extract(NARROW)
    traced = torch.compile(net.at(NARROW), backend="aot_eager", fullgraph=True)
    loss(traced, x).backward()
    loss(module, x).backward()
    assert_gradients(net, module)


def test_threads_take_turns(net: Supernet, x: Tensor) -> None:
    points = [NARROW, {"width": 4}]
    weights = list(net.parameters())

    def gradients(point: ir.Point) -> list[Tensor | None]:
        return list(torch.autograd.grad(loss(net.at(point), x), weights, allow_unused=True))

    expected = [gradients(point) for point in points]
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(gradients, 40 * points)):
            torch.testing.assert_close(found, expected[number % 2])


def test_a_supernets_mode_is_that_of_its_children(net: Supernet, x: Tensor) -> None:
    child = net.at(NARROW)
    assert child.training and not net.eval().at(NARROW).training
    assert not net.extract(NARROW).training
    torch.testing.assert_close(child(x[:1]), net.extract(NARROW)(x[:1]))  # by running statistics
    assert net.train().at(NARROW).training


def test_weights_may_be_exchanged(net: Supernet, x: Tensor) -> None:
    before = net(NARROW, x)
    others = {name: (2 * weight).detach() for name, weight in net.named_parameters()}
    given = torch.func.functional_call(net, others, (NARROW, x))
    torch.testing.assert_close(net(NARROW, x), before)
    for name, weight in others.items():
        setattr(net, name, nn.Parameter(weight))
    torch.testing.assert_close(net(NARROW, x), given)
    assert not torch.allclose(given, before)


@pytest.mark.filterwarnings("ignore")
def test_what_failed_once_is_tried_again(net: Supernet, x: Tensor) -> None:
    child = net.at(NARROW).eval()
    with pytest.raises(RuntimeError, match="requires grad"):
        torch.jit.trace(child, x)
    torch.testing.assert_close(child(x), net.extract(NARROW)(x))
