"""ViTAS: the authors' counts of multiply-adds, and outputs of their blocks read directly."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nasflow
from search_spaces import vitas
from tests.conformance.reference import assert_counts, assert_equal_outputs

# Parameters and multiply-adds, and what the authors print, in millions or billions.
COUNTS = {
    "vitas_a": (3_679_478, 833_487_568, "858M"),
    "vitas_b": (4_400_248, 958_618_176, "1.0G"),
    "vitas_c": (6_048_414, 1_265_114_864, "1.3G"),
    "vitas_d": (7_111_710, 1_563_319_280, "1.6G"),
    "vitas_e": (12_550_598, 2_653_906_672, "2.7G"),
    "vitas_f": (22_540_277, 4_898_506_168, "4.9G"),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    params, macs, printed = COUNTS[name]
    graph = nasflow.model(name)
    assert_counts(graph, params, macs)
    counted = released_count(dict(vitas.MODELS[name].point))
    assert printed in (f"{counted / 1e9:.1f}G", f"{int(counted / 1e6)}M", f"{counted / 1e6:.0f}M")


def released_count(point: dict[str, int]) -> int:
    """Count as the released code does: 196 tokens, no class token, the classifier on each."""
    width, tokens = point["width"], 196
    total = tokens * width * (3 * 16 * 16 + 1000)
    for name, inner in point.items():
        if name.endswith("attention"):
            hidden = point[name.replace("attention", "mlp")]
            total += tokens * width * (4 * inner + 2 * hidden) + 2 * tokens**2 * inner
    return total


class Block(nn.Module):
    """A transformer block whose queries have a width of their own."""

    def __init__(self, width: int, heads: int, inner: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, 1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.norm2 = nn.LayerNorm(width, 1e-6)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.heads, self.scale = heads, (width // heads) ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        y = (self.scale * q @ k.transpose(2, 3)).softmax(-1) @ v
        x = x + self.proj(y.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Reference(nn.Module):
    """Two blocks for 32 x 32 pixels and tokens of 20."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, 20))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + 4, 20))
        self.proj = nn.Conv2d(3, 20, 16, 16)
        self.blocks = nn.Sequential(Block(20, 3, 24, 14), Block(20, 6, 48, 28))
        self.norm, self.head = nn.LayerNorm(20), nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


SMALL = {"size": 32, "classes": 10, "depth": 3, "width": 40, "attention_width": 240}


def test_outputs() -> None:
    space = nasflow.space("vitas", **SMALL, heads=(3, 6, 12), mlp_width=140)
    point = vitas._point(20, [(3, 24, 14), (6, 48, 28)], depth=3)
    assert_equal_outputs(space.bind(point), Reference())


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("vitas", **SMALL | {"attention_width": 480}, patches=(16,)).verify()
    assert space.size == 10 * (1 + 4 * 10 * 10) ** 3  # width; no block, or heads and two widths
