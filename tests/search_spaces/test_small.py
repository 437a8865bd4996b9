"""Every family's space as configured for search fits the digits: 8 x 8 pixels, one channel."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import nasflow

CONF = Path(__file__).parents[2] / "conf" / "space"
SIZES = {
    "nfnet": 32
}  # the smallest images that a family takes, where they are not the digits' 8 x 8
FAMILIES = sorted(path.stem for path in CONF.glob("*.yaml"))


@pytest.mark.parametrize("family", FAMILIES)
def test_points_are_small_networks_of_digits(family: str) -> None:
    settings = yaml.safe_load((CONF / f"{family}.yaml").read_text())
    size = SIZES.get(family, 8)
    space = nasflow.space(**settings, size=size, channels=1, classes=10)
    assert space.size > 10
    for seed in range(10):
        graph = space.bind(space.sample(seed))
        assert graph.inputs[0].shape == (1, size, size)
        assert graph.outputs[0].shape == (10,)
        assert graph.params < 3e6
        assert graph.macs < 100e6
