"""DeepViT against equation 3, read directly, and the counts of the released code's settings."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nasflow
from tests.conformance.reference import assert_counts, assert_equal_outputs


class Block(nn.Module):
    """A transformer block; with ``mixes`` its attention maps are mixed and normalised."""

    def __init__(self, heads: int, head_width: int, mixes: bool) -> None:
        super().__init__()
        width = heads * head_width
        self.norm1 = nn.LayerNorm(width, 1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Conv2d(heads, heads, 1) if mixes else None
        self.mix_norm = nn.BatchNorm2d(heads) if mixes else None
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, 1e-6)
        self.fc1, self.fc2 = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.heads, self.scale = heads, head_width**-0.5

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(x / 2)).chunk(3, dim=-1)
        )
        maps = (self.scale * q @ k.transpose(2, 3)).softmax(dim=-1)
        if self.mix is not None and self.mix_norm is not None:
            maps = self.mix_norm(self.mix(maps)) * self.scale
        x = x + 2 * self.proj((maps @ v).transpose(1, 2).flatten(2))
        return x + 2 * self.fc2(F.gelu(self.fc1(self.norm2(x / 2))))


class Reference(nn.Module):
    """DeepViT as released for 32 x 32 pixels: one plain and one mixing block."""

    def __init__(self) -> None:
        super().__init__()
        width = 4 * 6
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + 4, width))
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, width, 8, 8),
        )  # fmt: skip
        self.blocks = nn.Sequential(Block(4, 6, mixes=False), Block(4, 6, mixes=True))
        self.norm, self.head = nn.LayerNorm(width, 1e-6), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


# Zhou et al. (2021), table 6, prints 27 M and 6.2 G for DeepViT-S, 55 M and 12.5 G for L. The released
# settings (width 396 and 16 blocks; 420 and 32) give 6.36 G, and more for L than is printed.
COUNTS = {"deepvit_s": (27_312_632, 6_361_317_552), "deepvit_l": (58_883_708, 13_148_542_560)}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    assert_counts(nasflow.model(name), *COUNTS[name])


def test_outputs() -> None:
    space = nasflow.space(
        "deepvit",
        size=32,
        classes=10,
        heads=(4,),
        head_widths=(6,),
        depths=(2, 2),
        plain_depths=(0, 2),
    )
    point = {"heads": 4, "head_width": 6, "mlp_ratio": 3, "plain_depth": 1, "stem": "convolutions"}
    assert_equal_outputs(space.bind(point | {"depth": 2}), Reference())


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space(
        "deepvit", size=32, classes=10, depths=(1, 3), plain_depths=(0, 2)
    ).verify()
    assert space.size == 3 * 2 * 2 * 3 * 3  # head_width, mlp_ratio, stem, depth, plain_depth
