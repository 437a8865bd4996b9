"""MobileNets and AutoSlim against timm's modules and the released configuration."""

from __future__ import annotations

import pytest
import timm

import nasflow
from nasflow import ir
from tests.conformance.reference import assert_counts, assert_equal_outputs

# Parameters and multiply-adds of timm's modules; AutoSlim's released channels in its released network.
COUNTS = {
    "mobilenetv1_050": (1_331_592, 149_497_088),
    "mobilenetv1_100": (4_231_976, 568_740_352),
    "mobilenetv2_075": (2_636_424, 209_069_792),
    "mobilenetv2_130": (5_386_792, 509_374_560),
    "mobilenetv3_large_100": (5_483_032, 216_589_760),
    "mobilenetv3_large_125": (7_551_976, 355_221_920),
    "mobilenetv3_small_100": (2_542_856, 56_510_400),
    "autoslim_mobilenetv2": (4_125_104, 206_767_048),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    assert_counts(nasflow.model(name), *COUNTS[name])


@pytest.mark.parametrize(("megas", "suffix"), [(305, "_305m"), (505, "_505m")])
def test_autoslim_meets_its_budgets(megas: int, suffix: str) -> None:
    macs = nasflow.model(f"autoslim_mobilenetv2{suffix}").macs
    assert macs / 1e6 == pytest.approx(megas, abs=1)


def small(name: str) -> ir.Graph:
    """Return a published network for 64-pixel images, without dropout."""
    family, entry = nasflow.discovery.models()[name]
    space = nasflow.discovery.find("space", family)(**{**entry.settings, "sizes": (64,)})
    point = {**entry.point, "resolution": 64}
    return space.bind({**point, "dropout": 0.0} if "v1" not in name else point)


REFERENCES = {
    "mobilenetv1_100": "mobilenetv1_100",
    "mobilenetv2_050": "mobilenetv2_050",
    "mobilenetv2_100": "mobilenetv2_100",
    "mobilenetv3_large_100": "mobilenetv3_large_100",
    "mobilenetv3_small_100": "mobilenetv3_small_100",
}


@pytest.mark.parametrize("name", REFERENCES)
def test_outputs(name: str) -> None:
    assert_equal_outputs(small(name), timm.create_model(REFERENCES[name]))


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "autoslim"])
def test_every_point_of_the_spaces_binds(name: str) -> None:
    space = nasflow.space(name)
    for seed in range(15):
        space.bind(space.sample(seed))
