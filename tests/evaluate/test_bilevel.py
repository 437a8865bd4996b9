"""Architecture gradients against exact ones, where both losses are quadratic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasflow.evaluate.bilevel import first_order, second_order

RATE, DECAY, MOMENTUM = 0.1, 0.05, 0.9


class Problem:
    """Train |A w - B a|^2 / 2, validate |w - c|^2 / 2 + |a|^2 w.w / 2, in double precision."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.first, self.second, self.target = draw(5, 4), draw(5, 3), draw(4)
        self.velocity = draw(4)
        self.w, self.a = nn.Parameter(draw(4)), nn.Parameter(draw(3))

    def train(self, w: Tensor | None = None) -> Tensor:
        w = self.w if w is None else w
        return (self.first @ w - self.second @ self.a).square().sum() / 2

    def validation(self, w: Tensor | None = None) -> Tensor:
        w = self.w if w is None else w
        return (w - self.target).square().sum() / 2 + self.a.square().sum() * (w @ w) / 2

    def unrolled(self) -> Tensor:
        """Differentiate through the very step."""
        (down,) = torch.autograd.grad(self.train(), self.w, create_graph=True)
        after = self.w - RATE * (MOMENTUM * self.velocity + down + DECAY * self.w)
        (found,) = torch.autograd.grad(self.validation(after), self.a)
        return found


def test_second_order_is_the_gradient_through_a_step() -> None:
    """Both losses are quadratic in w, so the finite difference is exact but for rounding."""
    problem = Problem()
    before = problem.w.detach().clone()
    settings = (RATE, DECAY, [problem.velocity], MOMENTUM)
    (found,) = second_order(problem.train, problem.validation, [problem.w], [problem.a], *settings)
    assert torch.allclose(found, problem.unrolled(), rtol=1e-8)
    assert torch.equal(problem.w, before)
    (shallow,) = first_order(problem.validation, [problem.a])
    assert not torch.allclose(found, shallow, rtol=0.1)


def test_first_order_is_the_second_without_a_step() -> None:
    problem = Problem()
    (found,) = second_order(problem.train, problem.validation, [problem.w], [problem.a], 0.0)
    (shallow,) = first_order(problem.validation, [problem.a])
    assert torch.allclose(found, shallow)
    assert shallow.tolist() == pytest.approx((problem.a * (problem.w @ problem.w)).tolist())
