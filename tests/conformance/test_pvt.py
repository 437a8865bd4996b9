"""PVT against transformers."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PvtConfig, PvtForImageClassification

import nasflow
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

# In the order of our tensors; transformers lists its own otherwise.
EMBEDDING = ("projection", "layer_norm")
NORMS_AND_MAPS = "layer_norm_1 reduction self.layer_norm query key value output layer_norm_2"
BLOCK = (*NORMS_AND_MAPS.split(), "dense1", "dense2")


class Reference(nn.Module):
    """transformers' PVT with the published code's norms, its tensors stage by stage."""

    def __init__(self, depths: tuple[int, ...], **settings: Any) -> None:
        super().__init__()
        settings = {"num_labels": 1000, "image_size": 224, "hidden_dropout_prob": 0.0} | settings
        self.model = PvtForImageClassification(
            PvtConfig(depths=list(depths), drop_path_rate=0.0, **settings)
        )
        for name, module in self.model.named_modules():
            if name.endswith(("self.layer_norm",)) or re.search(
                r"embeddings\.\d\.layer_norm", name
            ):
                module.eps = 1e-5  # the released code gives these two norms PyTorch's default

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).logits

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        found = super().state_dict(*args, **kwargs)
        return {name: found[name] for name in sorted(found, key=place)}


def place(name: str) -> tuple[int, ...]:
    """Return where in our order a tensor of transformers' model stands."""
    bias = name.endswith("bias")
    if table := re.search(r"embeddings\.(\d)\.(cls_token|position)", name):
        return 0, int(table[1]), table[2] == "position"
    if embedding := re.search(r"embeddings\.(\d)\.(\w+)", name):
        return 1, int(embedding[1]), -1, EMBEDDING.index(embedding[2]), bias
    if block := re.search(r"block\.(\d)\.(\d+)\.(.*)", name):
        part = next(i for i, p in enumerate(BLOCK) if p in block[3])
        return 1, int(block[1]), int(block[2]), part, bias
    return 2, "classifier" in name, bias


@pytest.mark.parametrize(
    ("name", "depths"), [("pvt_tiny", (2, 2, 2, 2)), ("pvt_small", (3, 4, 6, 3))]
)
def test_counts(name: str, depths: tuple[int, ...]) -> None:
    with torch.device("meta"):
        reference = Reference(depths)
        image = torch.empty(1, 3, 224, 224)
    params = parameters(reference)
    assert_counts(nasflow.model(name), params, counted_macs(reference, image))


def test_outputs() -> None:
    space = nasflow.space("pvt", size=64, classes=10, widths=(8,), deepest=(2, 2, 2, 2))
    point = {"width": 8}
    for stage, depth in enumerate((1, 2, 1, 2), start=1):
        point |= {f"stage{stage}/depth": depth, f"stage{stage}/mlp_ratio": 4 + 4 * (stage < 3)}
    point |= {f"stage{stage}/reduction": 16 >> stage for stage in (1, 2, 3)}
    reference = Reference((1, 2, 1, 2), image_size=64, num_labels=10, hidden_sizes=[8, 16, 40, 64])
    assert_equal_outputs(space.bind(point), reference)


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("pvt", size=64, classes=10, deepest=(2, 2, 2, 2)).verify()
    assert space.size == 2 * 2**4 * 2**4 * (4 * 3 * 2)  # width, depths, mlp_ratios, reductions
