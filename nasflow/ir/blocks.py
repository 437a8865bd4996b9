"""Blocks that several families share: plain functions over operations."""

from __future__ import annotations

from typing import Final

from nasflow.ir import ops
from nasflow.ir.expression import Expression, Operand
from nasflow.ir.trace import Value, block

__all__ = ["attention", "dense", "drop_path", "mlp", "residual"]

TRANSFORMER_INIT: Final = ("trunc_normal", 0.02)
"""How vision transformers start linear maps, with biases at zero (Touvron et al., 2021)."""


def residual(x: Value, branch: Value, rate: Operand = 0.0) -> Value:
    """Add a branch to what it started from, dropping it at random in training at ``rate``."""
    value: Value = ops.Add()(x, drop_path(branch, rate))
    return value


def drop_path(x: Value, rate: Operand) -> Value:
    """Drop a branch at random in training; nothing is recorded where ``rate`` is plainly 0."""
    if not isinstance(rate, Expression) and not rate:
        return x
    value: Value = ops.DropPath(rate)(x)
    return value


def dense(x: Value, out: Operand, name: str, bias: Operand = True, factors: Operand = ()) -> Value:
    """Map the last axis linearly, started as vision transformers are."""
    linear = ops.Linear(out, bias=bias, init=TRANSFORMER_INIT, factors=factors)
    value: Value = linear(x, name=name)
    return value


@block
def mlp(x: Value, hidden: Operand, activation: Operand = "gelu") -> Value:
    """Transform each token on its own: (..., D) -> the same. Vaswani et al. (2017), section 3.3."""
    inner = ops.Activation(activation)(dense(x, hidden, "fc1"), name="act")
    return dense(inner, x.dim("D"), "fc2")


@block
def attention(
    x: Value, heads: Operand, width: Operand, bias: Value | None = None, axes: str = ""
) -> Value:
    """Let tokens attend to each other in ``heads`` of ``width`` features: (L, D) -> the same.

    ``axes="w"`` is for (W, L, D): tokens in windows or frames, attended within each. ``bias`` is
    added before the softmax. Vaswani et al. (2017), section 3.2.2.
    """
    qkv = dense(x, 3 * heads * width, "qkv", factors=(3, heads, width))  # type: ignore[operator]
    pattern = f"{axes} l (p h d) -> p {axes} h l d".strip()
    split = ops.Rearrange(pattern, (("p", 3), ("h", heads)))(qkv, name="heads")
    q, k, v = ops.Unbind("P", 3)(split)
    seen = ops.Attention()(q, k, v, *(() if bias is None else (bias,)))
    merged = ops.Rearrange(f"{axes} h l d -> {axes} l D=(h d)".strip())(seen, name="merge")
    return dense(merged, x.dim("D"), "proj")
