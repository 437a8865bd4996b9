"""EViT and ATS on timm's ViT, read off the papers: sample by sample, with tokens really taken out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import nasflow
from tests.conformance.reference import assert_equal_outputs, counted_macs, example

NAMES = {"embed.cls_token": "vit.cls_token", "embed.pos_embed": "vit.pos_embed"}
POINT = {"patch": 16, "heads": 2, "mlp_ratio": 3, "depth": 4}


class Reference(nn.Module):
    """timm's ViT of 4 blocks; each sample goes its own way through them."""

    def __init__(self) -> None:
        super().__init__()
        self.vit: Any = VisionTransformer(64, 16, 3, 10, "token", 128, 4, 2, 3)
        blocks: Any = self.vit.blocks
        with torch.no_grad():
            for block in blocks:
                block.attn.qkv.weight.mul_(25)  # so that tokens look at few others

    def forward(self, x: Tensor) -> Tensor:
        embedded = self.vit._pos_embed(self.vit.patch_embed(x))
        seen = torch.stack([self.one(tokens) for tokens in embedded])
        return self.vit.head(self.vit.norm(seen))

    def one(self, x: Tensor) -> Tensor:
        """Return the class token after all blocks, from tokens (L, D)."""
        raise NotImplementedError


def attend(block: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return attention maps (H, L, L) and values (H, L, d) of one sample."""
    q, k, v = block.attn.qkv(block.norm1(x)).unflatten(1, (3, 2, 64)).permute(1, 2, 0, 3)
    return (q @ k.transpose(1, 2) / 8).softmax(dim=-1), v


def finish(block: Any, x: Tensor, seen: Tensor) -> Tensor:
    return x + block.attn.proj(seen.transpose(0, 1).flatten(1))


class EViT(Reference):
    """Section 3.2: after the attention of a block, keep the most attentive and fuse the rest."""

    def one(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.vit.blocks):
            maps, v = attend(block, x)
            x = finish(block, x, maps @ v)
            if i:  # one of the last three quarters begins
                looks = maps[:, 0, 1:].mean(dim=0)
                count = math.ceil(0.6 * len(looks))
                order = looks.argsort(descending=True)
                fused = torch.stack([looks[j] * x[1 + j] for j in order[count:]]).sum(dim=0)
                x = torch.stack([x[0], *(x[1 + j] for j in order[:count]), fused])
            x = x + block.mlp(block.norm2(x))
        return x[0]


class ATS(Reference):
    """Section 3.2: from the second quarter on, draw tokens by inverse transform sampling."""

    sampled = 7
    counts: list[int]

    def one(self, x: Tensor) -> Tensor:
        self.counts = []
        for i, block in enumerate(self.vit.blocks):
            maps, v = attend(block, x)
            kept = self.draw(maps, v) if i else list(range(len(x)))
            x = finish(block, x[kept], maps[:, kept] @ v)
            x = x + block.mlp(block.norm2(x))
            self.counts.append(len(kept))
        return x[0]

    def draw(self, maps: Tensor, v: Tensor) -> list[int]:
        matters = [
            sum(maps[h, 0, j] * v[h, j].norm() for h in range(2)) for j in range(1, v.shape[1])
        ]
        total, below, kept = sum(matters), 0.0, [0]
        for j, share in enumerate(matters, start=1):
            after = below + share / total
            quantiles = ((k + 0.5) / self.sampled for k in range(self.sampled))
            if any(below < q <= after for q in quantiles):
                kept.append(j)
            below = after
        return kept


@pytest.mark.parametrize(
    ("reference", "choice"), [(EViT, {"keep_rate": 0.6}), (ATS, {"sampled": 7})]
)
def test_outputs(reference: type[Reference], choice: dict[str, float]) -> None:
    space = nasflow.space("vit", size=64, classes=10, heads=(2,), depths=(1, 4))
    theirs = reference()
    assert_equal_outputs(space.bind(POINT | choice), theirs, names=NAMES)
    if isinstance(theirs, ATS):
        assert min(theirs.counts) < 8  # some were drawn twice and stand once


def test_tokens_are_fewer_by_type() -> None:
    evit, deit = nasflow.model("evit_deit_s"), nasflow.model("deit_s")
    assert evit.params == deit.params
    assert round(evit.macs / 1e9, 1) == 3.0  # Liang et al. (2022), table 1
    module = evit.to_torch()
    assert counted_macs(module, example(evit.inputs[0], batch=1, device="meta")) == evit.macs


def test_sampled_tokens_are_at_most_what_the_type_says() -> None:
    graph = nasflow.space("vit", size=64, heads=(2,), depths=(1, 4)).bind(POINT | {"sampled": 7})
    torch.manual_seed(0)
    module = graph.to_torch(seed=0).eval()
    masks: list[Tensor] = []
    for name, part in module.named_modules():
        if name.endswith("sample_tokens"):
            part.register_forward_hook(lambda _, __, out: masks.append(out[1]))
    with torch.no_grad():
        module(torch.randn(5, 3, 64, 64))
    counts = torch.stack([(mask == 0).sum(dim=-1) for mask in masks])
    assert counts.shape == (3, 5)
    assert int(counts.min()) >= 2 and int(counts.max()) <= 8


def test_a_block_without_skip_connections() -> None:
    space = nasflow.space("vit", size=32, classes=4, heads=(2,), depths=(1, 3))
    point = {"patch": 16, "heads": 2, "mlp_ratio": 2, "depth": 3, "skipless": 1}
    module: Any = space.bind(point).to_torch(seed=0).eval()
    block = module.blocks[1]
    x = torch.randn(2, 5, 128)
    with torch.no_grad():
        y = block.attn(block.norm1(x))
        assert torch.allclose(block(x), block.mlp(block.norm2(y)), atol=1e-6)
    whole, cut = nasflow.model("vit_b16_224"), nasflow.model("vit_no_skip_block7")
    assert (whole.params, whole.macs) == (cut.params, cut.macs)
    assert whole.fingerprint != cut.fingerprint
