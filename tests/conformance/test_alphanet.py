"""AlphaNet's children against the counts of their released configuration, and against print."""

from __future__ import annotations

import pytest

import nasflow
from tests.conformance.reference import assert_counts

# Parameters and MACs of the released code's children (their unused shortcuts left out); millions of
# MACs as Wang et al. (2021) print them: AttentiveNAS, table 3; AlphaNet, table 5.
COUNTS = {
    "alphanet_a0": (8_954_184, 203_389_568, 203),
    "alphanet_a1": (9_452_872, 279_238_816, 279),
    "alphanet_a2": (11_149_824, 316_730_080, 317),
    "alphanet_a3": (12_784_928, 356_518_400, 357),
    "alphanet_a4": (11_809_640, 443_530_752, 444),
    "alphanet_a5": (12_970_512, 491_481_088, 491),
    "alphanet_a5_596m": (12_404_424, 594_786_000, 595),
    "alphanet_a6": (15_154_792, 709_007_232, 709),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    params, macs, printed = COUNTS[name]
    assert round(macs / 1e6) == printed
    assert_counts(nasflow.model(name), params, macs)


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("alphanet")
    # Resolution, stem, features; then width, depth, kernel (and expansion) of each stage.
    plain, elastic = 2 * 2 * 2, 2 * 2 * 3 * 3
    sizes = (plain, elastic, 2 * 4 * 2 * 3, 2 * 4 * 2 * 3, 3 * 6 * 2 * 3, 4 * 6 * 2, plain)
    expected = 4 * 2 * 2
    for size in sizes:
        expected *= size
    assert space.size == expected
    for seed in range(10):
        space.bind(space.sample(seed))


def test_a_block_starts_as_its_shortcut() -> None:
    module = nasflow.model("alphanet_a0").to_torch(seed=0)
    scales = [w for name, w in module.state_dict().items() if name.endswith("project_norm.weight")]
    assert len(scales) == 17 and not any(scale.any() for scale in scales)
