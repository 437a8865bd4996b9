"""T2T-ViT against the released code's counts and a direct reading of section 3 with timm's blocks."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

import nasflow
from tests.conformance.reference import assert_counts, assert_equal_outputs


class TokenLayer(nn.Module):
    """One transformer layer on wide tokens, its values standing in for its input."""

    def __init__(self, wide: int, width: int, performer: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(wide)
        self.qkv = nn.Linear(wide, 3 * width, bias=performer)
        self.width, self.scale, self.performer = width, wide**-0.5, performer
        if performer:
            self.features = nn.Linear(width, width // 2, bias=False)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        first, second, value = self.qkv(self.norm1(x)).split(self.width, dim=-1)
        if self.performer:
            weights = self.phi(second) @ self.phi(first).transpose(1, 2)
            weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-8)
        else:
            weights = (self.scale * first @ second.transpose(1, 2)).softmax(dim=-1)
        x = value + self.proj(weights @ value)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))

    def phi(self, x: Tensor) -> Tensor:
        projected = self.features(x)
        features = torch.exp(projected - (x * x).sum(dim=-1, keepdim=True) / 2)
        return features / projected.shape[-1] ** 0.5


class Reference(nn.Module):
    def __init__(self, heads: int, depth: int, performer: bool, classes: int) -> None:
        super().__init__()
        width = 64 * heads
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.mix1 = TokenLayer(3 * 49, 64, performer)
        self.mix2 = TokenLayer(64 * 9, 64, performer)
        self.project = nn.Linear(64 * 9, width)
        norm = nn.LayerNorm
        blocks = (Block(width, heads, 3, qkv_bias=False, norm_layer=norm) for _ in range(depth))
        self.blocks = nn.ModuleList(blocks)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.unfold(x, 7, stride=4, padding=2).transpose(1, 2)
        for mix in (self.mix1, self.mix2):
            x = mix(x).transpose(1, 2)
            side = math.isqrt(x.shape[-1])
            x = F.unfold(x.unflatten(2, (side, side)), 3, stride=2, padding=1).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), self.project(x)), dim=1)
        x = x + positions(x.shape[1], x.shape[2])
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def positions(length: int, width: int) -> Tensor:
    table = torch.zeros(length, width)
    for position in range(length):
        for j in range(width):
            angle = position / 10000 ** (2 * (j // 2) / width)
            table[position, j] = math.cos(angle) if j % 2 else math.sin(angle)
    return table


# Counted on the released code (yitu-opensource/T2T-ViT): trainable parameters and MACs.
COUNTS = {
    "t2t_vit_7": (4_255_694, 1_146_863_616),
    "t2t_vit_14": (21_465_806, 4_783_468_544),
    "t2t_vit_t_14": (21_465_422, 6_088_721_920),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    assert_counts(nasflow.model(name), *COUNTS[name])


@pytest.mark.parametrize("mixer", ["performer", "transformer"])
def test_outputs(mixer: str) -> None:
    space = nasflow.space(
        "t2t", size=64, classes=10, heads=(2, 3), depths=(1, 2), token_dropout=0.0
    )
    point = {"heads": 2, "mlp_ratio": 3, "token_mixer": mixer, "depth": 2}
    reference = Reference(2, 2, mixer == "performer", classes=10)
    assert_equal_outputs(space.bind(point), reference)


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("t2t", size=64, classes=10, heads=(1, 2), depths=(1, 3)).verify()
    assert space.size == 2 * 3 * 2 * 3  # heads, mlp_ratio, token_mixer, depth
