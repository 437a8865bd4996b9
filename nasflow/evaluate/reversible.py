"""Training reversible columns without keeping what they computed.

Cai et al., "Reversible Column Networks", ICLR 2023 (arXiv 2212.11696), equations 3 and 4; Gomez et al.,
"The Reversible Residual Network", NeurIPS 2017 (arXiv 1707.04585).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

__all__ = ["ReversibleColumns"]


class ReversibleColumns(nn.ModuleList):
    """Columns of a RevCol network that run as one, and forget their activations in training.

    Level t of a column gives gamma_t x_t + F_t(x_{t-1} of this column, x_{t+1} of the one before), so
    the levels x of the column before follow from those of this one. Backward goes through the
    columns from the last, computes each one's inputs back, and runs it again: the memory for activations does
    not grow with the number of columns. Use it in place of the network's own list::

        module = nasflow.model("revcol_t").to_torch()
        module.columns = ReversibleColumns(module.columns)

    Names and weights stay as they are. Gammas must not be zero; they start at 0.5.
    """

    def __iter__(self) -> Iterator[Any]:
        """Give the columns as one callable (stem, *levels) -> levels."""
        yield self._run

    def columns(self) -> list[nn.Module]:
        """Return the columns one by one."""
        return list(self._modules.values())

    def _run(self, stem: Tensor, *levels: Tensor) -> tuple[Tensor, ...]:
        weights = [weight for weight in self.parameters() if weight.requires_grad]
        if not torch.is_grad_enabled() or not (weights or stem.requires_grad):
            for column in self.columns():
                levels = column(stem, *levels)
            return levels
        return cast(
            tuple[Tensor, ...], _Columns.apply(self.columns(), stem, len(levels), *levels, *weights)
        )


class _Columns(torch.autograd.Function):
    """Run columns; only the last one's levels, and states of the random generators, are kept."""

    @staticmethod
    def forward(
        ctx: Any, columns: Sequence[nn.Module], stem: Tensor, count: int, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        levels, ctx.states = rest[:count], []
        for column in columns:
            before, levels = levels, ()
            states = []
            for t in range(count):
                states.append(_random_state(stem))
                levels = (*levels, _run_level(column, t, stem, before, levels))
            ctx.states.append(states)
        ctx.columns, ctx.count, ctx.weights = columns, count, rest[count:]
        ctx.save_for_backward(stem, *levels)
        return levels

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        stem, *levels = ctx.saved_tensors
        gradients = tuple(
            torch.zeros_like(level) if gradient is None else gradient
            for level, gradient in zip(levels, gradients, strict=True)
        )
        of_stem = torch.zeros_like(stem)
        of_weights: dict[Tensor, Tensor] = {}
        for column, states in zip(reversed(ctx.columns), reversed(ctx.states), strict=True):
            before = _undo(column, stem, levels, states)
            own = [weight for weight in column.parameters() if weight.requires_grad]
            found = _differentiate(column, stem, before, states, gradients, own)
            of_stem += found[0]
            gradients = found[1 : 1 + ctx.count]
            for weight, gradient in zip(own, found[1 + ctx.count :], strict=True):
                of_weights[weight] = (
                    of_weights[weight] + gradient if weight in of_weights else gradient
                )
            levels = before
        weights = (of_weights.get(weight) for weight in ctx.weights)
        return (None, of_stem, None, *gradients, *weights)


def _undo(
    column: nn.Module, stem: Tensor, levels: Sequence[Tensor], states: Sequence[Any]
) -> list[Tensor]:
    """Return the levels of the column before, from the last: (x_t - F_t(...)) / gamma_t."""
    before = [torch.zeros_like(level) for level in levels]
    with torch.no_grad():
        for t in reversed(range(len(levels))):
            with _Replay(states[t], stem):
                rest = _run_level(column, t, stem, before, levels)  # its own input is still zero
            before[t] = (levels[t] - rest) / _level(column, t).gamma
    return before


def _differentiate(
    column: nn.Module,
    stem: Tensor,
    before: Sequence[Tensor],
    states: Sequence[Any],
    gradients: Sequence[Tensor],
    weights: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Run a column again and return gradients of the stem, of its inputs and of its weights."""
    inputs = [value.detach().requires_grad_() for value in (stem, *before)]
    with torch.enable_grad():
        made: tuple[Tensor, ...] = ()
        for t, state in enumerate(states):
            with _Replay(state, stem):
                made = (*made, _run_level(column, t, inputs[0], inputs[1:], made))
        found = torch.autograd.grad(made, [*inputs, *weights], gradients, allow_unused=True)
    wanted = (*inputs, *weights)
    return tuple(
        torch.zeros_like(value) if gradient is None else gradient
        for value, gradient in zip(wanted, found, strict=True)
    )


def _level(column: nn.Module, t: int) -> Any:
    return getattr(column, f"level{t}")


def _run_level(
    column: nn.Module, t: int, stem: Tensor, before: Sequence[Tensor], made: Sequence[Tensor]
) -> Tensor:
    """Run level t on the level below and on its own and those above of the column before."""
    level = _level(column, t)
    inputs = (made[t - 1] if t else stem, before[t], *before[t + 1 : t + 2], before[-1])
    result: Tensor = level(*inputs[: len(inspect.signature(level.forward).parameters)])
    return result


def _random_state(like: Tensor) -> tuple[Tensor, Tensor | None]:
    device = torch.cuda.get_rng_state(like.device) if like.is_cuda else None
    return torch.get_rng_state(), device


class _Replay:
    """Draw the same random numbers again, and leave the generators as they were."""

    def __init__(self, state: tuple[Tensor, Tensor | None], like: Tensor) -> None:
        self.state = state
        self.fork = torch.random.fork_rng([like.device] if like.is_cuda else [])
        self.device = like.device

    def __enter__(self) -> None:
        self.fork.__enter__()
        torch.set_rng_state(self.state[0])
        if self.state[1] is not None:
            torch.cuda.set_rng_state(self.state[1], self.device)

    def __exit__(self, *error: Any) -> None:
        self.fork.__exit__(*error)
