"""Long statements are broken where Python allows it."""

from __future__ import annotations

import ast

import pytest

from nasflow.lower.wrapping import WIDTH, wrap

PAIRS = ", ".join(f"({i}, {i})" for i in range(20))


@pytest.mark.parametrize(
    "text",
    [
        f"self.blocks = nn.Sequential(*(Block(k, dilation=d) for k, d in ({PAIRS})))",
        f"self.blocks = [Block(k, dilation=dilation) for k, dilation in ({PAIRS})]",
    ],
)
def test_a_loop_over_pairs_stays_one_loop(text: str) -> None:
    lines = wrap(text, 0)
    assert max(map(len, lines)) <= WIDTH
    assert ast.dump(ast.parse("\n".join(lines))) == ast.dump(ast.parse(text))
