"""ViT, DeiT and DeiT III against timm."""

from __future__ import annotations

import pytest
import timm
import torch

import nasflow
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

TIMM = {
    "deit_ti": "deit_tiny_patch16_224",
    "deit_s": "deit_small_patch16_224",
    "deit_b": "deit_base_patch16_224",
    "vit_s16": "deit3_small_patch16_224",
    "deit3_s16_384": "deit3_small_patch16_384",
    "deit3_m16_224": "deit3_medium_patch16_224",
    "deit3_b16_224": "deit3_base_patch16_224",
    "deit3_b16_384": "deit3_base_patch16_384",
    "vit_b16_224": "vit_base_patch16_224",
    "vit_b16_384": "vit_base_patch16_384",
    "vit_l16_224": "deit3_large_patch16_224",
    "vit_l16_384": "deit3_large_patch16_384",
    "vit_h14_224": "deit3_huge_patch14_224",
}
# timm registers the class token and the positions before the patch embedding.
PLAIN = {"embed.cls_token": "cls_token", "embed.pos_embed": "pos_embed"}
III = {"embed_else.cls_token": "cls_token", "embed_else.pos_embed": "pos_embed"}


@pytest.mark.parametrize("name", TIMM)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    with torch.device("meta"):
        reference = timm.create_model(TIMM[name])
        image = torch.empty(1, *graph.inputs[0].shape)
    assert_counts(graph, parameters(reference), counted_macs(reference, image))


@pytest.mark.parametrize(("name", "names"), [("deit_ti", PLAIN), ("vit_s16", III)])
def test_outputs(name: str, names: dict[str, str]) -> None:
    assert_equal_outputs(nasflow.model(name), timm.create_model(TIMM[name]), names=names)


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("vit", size=64, classes=10).verify()
    assert space.size == 3 * 4 * 3 * 27  # patch, heads, mlp_ratio, depth
