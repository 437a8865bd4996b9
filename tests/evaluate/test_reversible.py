"""Reversible columns: the same gradients, and memory that does not grow with their number."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import nasflow
from nasflow.evaluate.reversible import ReversibleColumns


def network(columns: int, drop_path: float = 0.0, far_up: bool = False) -> Any:
    space = nasflow.space(
        "revcol", size=32, classes=5, patch=4, widths=(8,), deepest=(1, 2, 1, 1), columns=9,
        drop_path=drop_path,
    )  # fmt: skip
    point = {"width": 8, "kernel": 3, "columns": columns, "far_up": far_up}
    point |= {f"level{level}/depth": depth for level, depth in enumerate((1, 2, 1, 1))}
    return space.bind(point).to_torch(seed=0)


def gradients(module: Any, x: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    torch.manual_seed(1)  # for stochastic depth
    module(x).square().sum().backward()
    return {name: weight.grad.clone() for name, weight in module.named_parameters()}


@pytest.mark.parametrize(("drop_path", "far_up"), [(0.0, False), (0.5, False), (0.0, True)])
def test_gradients_are_the_same(drop_path: float, far_up: bool) -> None:
    module = network(4, drop_path, far_up).double().train()
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    expected = gradients(module, x)
    names = list(module.state_dict())
    module.columns = ReversibleColumns(module.columns)
    assert list(module.state_dict()) == names
    found = gradients(module, x)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-8, atol=1e-10), name


def test_what_it_gives_is_the_same() -> None:
    module = network(3).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = module(x)
        module.columns = ReversibleColumns(module.columns)
        assert torch.equal(module(x), expected)


def kept(module: Any) -> int:
    """Return the bytes of activations that a forward pass keeps for backward."""
    own = {weight.untyped_storage().data_ptr() for weight in module.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = module(torch.randn(4, 3, 32, 32))
    assert out.requires_grad
    return sum(found.values())


def test_memory_does_not_grow_with_columns() -> None:
    plain = [kept(network(columns)) for columns in (3, 5, 9)]
    assert plain[2] - plain[1] >= 1.9 * (plain[1] - plain[0]) > 0
    reversible = []
    for columns in (3, 5, 9):
        module = network(columns)
        module.columns = ReversibleColumns(module.columns)
        reversible.append(kept(module))
    assert reversible[0] == reversible[1] == reversible[2] < plain[0]
