"""CvT against transformers."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import CvtConfig, CvtForImageClassification

import nasflow
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

# In the order of our tensors; transformers lists its own otherwise.
PROJECTIONS = [
    part
    for p in ("query", "key", "value")
    for part in (
        f"n_projection_{p}.convolution_projection.c",
        f"n_projection_{p}.convolution_projection.n",
        f"n.projection_{p}",
    )
]
BLOCK = ["layernorm_before", *PROJECTIONS]
BLOCK += ["attention.output", "layernorm_after", "intermediate", "output"]


class Reference(nn.Module):
    """transformers' CvT with the class token read, and normalised, as in the released code."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        config = CvtConfig(**{"drop_path_rate": [0.0] * 3, "num_labels": 1000, **settings})
        self.model = CvtForImageClassification(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).logits

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        found = super().state_dict(*args, **kwargs)
        return {name: found[name] for name in sorted(found, key=place)}


def place(name: str) -> tuple[int, ...]:
    """Return where in our order a tensor of transformers' model stands."""
    if name.endswith("cls_token"):
        return (0,)
    if block := re.search(r"stages\.(\d)\.layers\.(\d+)\.(.*)", name):
        part = next(i for i, p in enumerate(BLOCK) if p in block[3])
        return 1, int(block[1]), 1 + int(block[2]), part
    if embedding := re.search(r"stages\.(\d)\.", name):
        return 1, int(embedding[1]), 0
    return 2, "classifier" in name


@pytest.mark.parametrize(("name", "depth"), [("cvt_13", [1, 2, 10]), ("cvt_21", [1, 4, 16])])
def test_counts(name: str, depth: list[int]) -> None:
    with torch.device("meta"):
        reference = Reference(depth=depth)
        image = torch.empty(1, 3, 224, 224)
    params = parameters(reference)
    assert_counts(nasflow.model(name), params, counted_macs(reference, image))


def test_the_searched_network_meets_what_is_printed() -> None:
    graph = nasflow.model("cvt_13_nas")  # Wu et al. (2021), table 3: 18 M and 4.1 G
    assert (round(graph.params / 1e6), round(graph.macs / 1e9, 1)) == (18, 4.1)


def test_outputs() -> None:
    space = nasflow.space("cvt", size=64, classes=10, heads=((1,), (1, 2), (2,)), deepest=(1, 2, 3))
    point = {"stage1/heads": 1, "stage2/heads": 2, "stage3/heads": 2}
    for stage, depth in enumerate((1, 2, 3), start=1):
        point[f"stage{stage}/depth"] = depth
        for i in range(depth):
            block = f"stage{stage}/blocks/{i}"
            point |= {f"{block}/mlp_ratio": 3, f"{block}/kv_stride": 1 + (stage > 1)}
    reference = Reference(
        embed_dim=[64, 128, 128], num_heads=[1, 2, 2], depth=[1, 2, 3], mlp_ratio=[3.0] * 3,
        stride_kv=[1, 2, 2], num_labels=10,
    )  # fmt: skip
    assert_equal_outputs(space.bind(point), reference)


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("cvt", size=64, classes=10, deepest=(1, 1, 2)).verify()
    assert space.size == 2**3 * 6 * 6 * (6 + 6 * 6)  # heads, then ratio x stride for each block
