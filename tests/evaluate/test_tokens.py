"""Tokens that images keep, and what they cost."""

from __future__ import annotations

import pytest
import torch

import nasflow
from nasflow.errors import GraphError
from nasflow.evaluate.tokens import macs_at, token_use
from nasflow.ir.graph import Graph

WIDTH, PATCHES, MOST, DEPTH = 64, 64, 20, 4


def small(sampled: int = MOST) -> Graph:
    space = nasflow.space(
        "vit", size=8, channels=1, classes=10, patches=(1, 2), heads=(1, 2), depths=(1, DEPTH)
    )
    return space.bind({"patch": 1, "heads": 1, "mlp_ratio": 2, "depth": DEPTH, "sampled": sampled})


def by_hand(*tokens: int) -> int:
    """Multiply-adds of the ViT above, read off its layers, with these tokens after each drawing."""
    width, before = WIDTH, PATCHES + 1
    total = PATCHES * width + 10 * width  # patches and classes
    for after in (before, *tokens):
        total += 3 * before * width**2 + before**2 * width  # queries, keys and values; their scores
        total += after * before * width + after * width**2 + 4 * after * width**2
        before = after
    return total


def test_multiply_adds_follow_the_tokens() -> None:
    graph = small()
    assert macs_at(graph, (MOST + 1,) * 3) == graph.macs == by_hand(*(MOST + 1,) * 3)
    assert macs_at(graph, (15, 9, 4)) == by_hand(15, 9, 4)


def test_images_need_fewer_tokens_than_the_bound() -> None:
    graph = small()
    module = graph.to_torch(seed=0).train()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "qkv" in name:
                weight.mul_(20)  # attention as uneven as training makes it
    x = torch.randn(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    use = token_use(graph, module, x.split(20))
    assert module.training and use.most == (MOST + 1,) * 3 and use.bound == graph.macs
    assert all(2 <= mean < MOST + 1 for mean in use.tokens)
    alone = [token_use(graph, module, [image]) for image in x.split(1)]
    assert [one.macs for one in alone] == [by_hand(*map(int, one.tokens)) for one in alone]
    assert use.macs == pytest.approx(sum(one.macs for one in alone) / 30)
    assert use.macs < use.bound


def test_a_network_that_draws_none_is_refused() -> None:
    graph = small(sampled=0)
    with pytest.raises(GraphError, match="vit: expected a network that draws tokens"):
        token_use(graph, graph.to_torch(seed=0), [])
