"""Inception networks beside timm's modules, and beside the figures papers print."""

from __future__ import annotations

import importlib

import pytest
import timm
import torch

import nasflow
from search_spaces import inception
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

# Parameters and multiply-adds of timm's modules. Zoph et al. (2018), table 2 print 23.8M and 5.72B
# for v3; Tan & Le (2019) 48M and 13B for v4, which no code reproduces.
COUNTS = {
    "inception_v3": (23_834_568, 5_713_216_096),
    "inception_v4": (42_679_816, 12_253_974_624),
    "inception_resnet_v2": (55_843_464, 13_155_794_016),  # 55.8M, 13.2B
}
# Hu et al. (2018), table 2: an SE adds 0.01 billion multiply-adds; in each residual branch and reduction.
SE_COUNTS = (65_079_578, 13_164_978_144)


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_timms(name: str) -> None:
    assert_counts(nasflow.model(name), *COUNTS[name])
    with torch.device("meta"):
        reference = timm.create_model(
            name, **({"aux_logits": False} if name.endswith("v3") else {})
        )
    image = torch.empty(1, 3, 299, 299, device="meta")
    assert (parameters(reference), counted_macs(reference, image)) == COUNTS[name]


def test_gates_are_inside_the_residual_branches() -> None:
    gated, plain = (nasflow.model(f"{kind}inception_resnet_v2") for kind in ("se_", ""))
    assert (gated.params, gated.macs) == SE_COUNTS
    assert round((gated.macs - plain.macs) / 1e9, 2) == 0.01
    paths = [path for path, _, _ in gated.walk() if path.endswith("/scale")]
    before = [path.replace("scale", "attention_se/multiply") for path in paths]
    assert paths and {path for path, _, _ in gated.walk()} >= set(before)


@pytest.mark.parametrize("version", ["v3", "v4", "resnet_v2"])
def test_outputs_equal_timm(version: str) -> None:
    module = importlib.import_module(f"timm.models.inception_{version}")
    names = {"v3": "InceptionV3", "v4": "InceptionV4", "resnet_v2": "InceptionResnetV2"}
    reference = getattr(module, names[version])(num_classes=7)
    space = inception.space(version=version, size=107, classes=7)
    graph = space.bind(inception.MODELS[f"inception_{version}"].point)
    assert_equal_outputs(graph, reference, torch.randn(4, 3, 107, 107))


@pytest.mark.parametrize("version", ["v3", "v4", "resnet_v2"])
def test_every_point_of_the_space_binds(version: str) -> None:
    space = inception.space(version=version, size=107)
    for seed in range(10):
        space.bind(space.sample(seed))
