"""Linear layers on windows of shared weights have the results and gradients of PyTorch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nasflow.lower.linear import linear


@pytest.mark.parametrize("there", [False, True])  # a gradient to add to
@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 5, 6)])
def test_a_window_has_the_gradients_of_a_matrix(shape: tuple[int, ...], there: bool) -> None:
    shared, bias = torch.randn(9, 8, dtype=torch.double), torch.randn(4, dtype=torch.double)
    found = []
    for run, copy in ((linear, False), (F.linear, True)):
        window = shared[:4, :6].detach()
        weight = (window.clone() if copy else window).requires_grad_()
        assert weight.is_contiguous() == copy
        if there:
            weight.grad = torch.ones(9, 8, dtype=torch.double)[:4, :6]
        x = torch.linspace(-1, 1, 60, dtype=torch.double)[: torch.Size(shape).numel()].view(shape)
        leaves = [x.requires_grad_(), weight, bias.clone().requires_grad_()]
        result = run(*leaves)
        result.square().sum().backward()
        found.append([result, *(leaf.grad for leaf in leaves)])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)
