"""EfficientNetV2 against timm's modules and the paper's table."""

from __future__ import annotations

import pytest
import timm
import torch

import nasflow
from tests.conformance.reference import assert_counts, assert_equal_outputs, parameters

REFERENCES = {
    f"efficientnetv2_{size}": f"tf_efficientnetv2_{size}" for size in ("s", "m", "l", "xl")
}
# Billions of multiply-adds: table 7 of the paper, but for L, where it prints 53 and timm counts 56.
MACS = {"s": 8.366, "m": 24.6, "l": 56.08, "xl": 93.4}


def test_counts() -> None:
    assert_counts(nasflow.model("efficientnetv2_s"), 21_458_488, 8_365_617_152)


@pytest.mark.parametrize("name", REFERENCES)
def test_parameters(name: str) -> None:
    graph = nasflow.model(name)
    with torch.device("meta"):
        assert graph.params == parameters(timm.create_model(REFERENCES[name]))
    assert graph.macs / 1e9 == pytest.approx(MACS[name.rpartition("_")[2]], rel=2e-3)


def test_outputs() -> None:
    entry = nasflow.discovery.models()["efficientnetv2_s"][1]
    space = nasflow.discovery.find("space", "efficientnet_v2")(size=64)
    graph = space.bind({**entry.point, "dropout": 0.0})
    assert_equal_outputs(graph, timm.create_model("tf_efficientnetv2_s"))


def test_every_point_of_the_space_binds() -> None:
    space = nasflow.space("efficientnet_v2", size=64)
    for seed in range(15):
        space.bind(space.sample(seed))
