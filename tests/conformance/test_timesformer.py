"""TimeSformer against a direct reading of the paper; counts against the released code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import nasflow
from tests.conformance.reference import assert_counts, assert_equal_outputs

# Counted on facebookresearch/TimeSformer (divided_space_time, 400 classes), one view.
COUNTS = {
    "timesformer": (121_566_352, 195_830_280_192),
    "timesformer_l": (121_633_936, 2_379_856_982_016),
}


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within the first axis: (groups, tokens, width)."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in self.qkv(x).chunk(3, dim=-1))
        scores = torch.einsum("gshd,gthd->ghst", q, k) / q.shape[-1] ** 0.5
        return self.proj(torch.einsum("ghst,gthd->gshd", scores.softmax(-1), v).flatten(2))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_t = nn.LayerNorm(width, 1e-6)
        self.time = Attention(width, heads)
        self.mix = nn.Linear(width, width)
        self.norm_s = nn.LayerNorm(width, 1e-6)
        self.space = Attention(width, heads)
        self.norm_m = nn.LayerNorm(width, 1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, token: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """``token`` is (N, D), ``x`` (N, frames, places, D): one sample and place or frame at a time."""
        time = [
            [self.time(self.norm_t(clip[:, p])[None])[0] for p in range(x.shape[2])] for clip in x
        ]
        x = x + self.mix(torch.stack([torch.stack(places, dim=1) for places in time]))
        tokens, patches = [], []
        for i, clip in enumerate(x):
            seen = [
                self.space(self.norm_s(torch.cat([token[i : i + 1], f]))[None])[0] for f in clip
            ]
            tokens.append(torch.stack([frame[0] for frame in seen]).mean(0))
            patches.append(torch.stack([frame[1:] for frame in seen]))
        token, x = token + torch.stack(tokens), x + torch.stack(patches)
        return token + self.mlp(self.norm_m(token)), x + self.mlp(self.norm_m(x))


class Reference(nn.Module):
    def __init__(self, frames: int, places: int, patch: int, heads: int, depth: int) -> None:
        super().__init__()
        width = 64 * heads
        self.token = nn.Parameter(torch.randn(1, width))
        self.positions = nn.Parameter(torch.randn(places + 1, width))
        self.times = nn.Parameter(torch.randn(frames, 1, width))
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, 1e-6)
        self.head = nn.Linear(width, 10)

    def forward(self, video: Tensor) -> Tensor:
        frames = [self.embed(frame).flatten(2).transpose(1, 2) for frame in video.unbind(2)]
        x = torch.stack(frames, dim=1) + self.positions[1:] + self.times
        token = (self.token + self.positions[:1]).expand(len(x), -1)
        for block in self.blocks:
            token, x = block(token, x)
        return self.head(self.norm(token))


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    assert_counts(nasflow.model(name), *COUNTS[name])


def test_hr_is_a_third_of_what_the_tables_print() -> None:
    assert round(3 * nasflow.model("timesformer_hr").macs / 1e12, 2) == 5.11


def test_outputs() -> None:
    space = nasflow.space(
        "timesformer", classes=10, frames=3, size=32, patches=(8,), heads=(2,), depths=(2, 2)
    )
    point = {"patch": 8, "heads": 2, "mlp_ratio": 4, "attention": "divided", "depth": 2}
    assert_equal_outputs(space.bind(point), Reference(3, 16, patch=8, heads=2, depth=2))


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("timesformer", classes=10, frames=2, size=32, patches=(8, 16)).verify()
    assert space.size == 2 * 2 * 3 * 2 * 7  # patch, heads, mlp_ratio, attention, depth
