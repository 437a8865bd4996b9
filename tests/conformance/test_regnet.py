"""RegNets against timm's modules."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.regnet import RegNet, RegNetCfg

import nasflow
from tests.conformance.reference import assert_counts, assert_equal_outputs, parameters

REFERENCES = {
    "regnetx_400mf": "regnetx_004",
    "regnetx_1_6gf": "regnetx_016",
    "regnety_400mf": "regnety_004",
    "regnety_1_6gf": "regnety_016",
    "regnety_4gf": "regnety_040",
    "regnety_8gf": "regnety_080",
    "regnety_16gf": "regnety_160",
    "regnety_32gf": "regnety_320",
}


@pytest.mark.parametrize("name", REFERENCES)
def test_parameters(name: str) -> None:
    with torch.device("meta"):
        assert nasflow.model(name).params == parameters(timm.create_model(REFERENCES[name]))


def test_counts() -> None:
    assert_counts(nasflow.model("regnety_16gf"), 83_590_140, 15_911_510_272)


@pytest.mark.parametrize(("se", "group"), [(True, 16), (False, 8)])
def test_outputs(se: bool, group: int) -> None:
    space = nasflow.space("regnet", size=64)
    point = {"bottleneck": 1, "group_width": group, "se": se}
    stages = ((1, 32), (1, 64), (3, 128), (2, 256))
    for stage, (depth, width) in enumerate(stages, 1):
        point |= {f"stage{stage}/depth": depth, f"stage{stage}/width": width}
    # A line of slope 32 from 32, rounded to powers of 2, gives these stages.
    cfg = RegNetCfg(w0=32, wa=32, wm=2.0, group_size=group, depth=7, se_ratio=0.25 if se else 0.0)
    assert_equal_outputs(space.bind(point), RegNet(cfg))


def test_every_point_of_the_space_binds() -> None:
    space = nasflow.space("regnet", size=64, deepest=3)
    for seed in range(30):
        space.bind(space.sample(seed))
