"""BigNAS's children meet the figures that are printed of them."""

from __future__ import annotations

import pytest

import nasflow
from nasflow import discovery
from tests.conformance.reference import assert_counts

# Parameters and MACs; what Yu et al. (2020), table 1, print of them, in millions.
COUNTS = {
    "bignas_s": (4_486_084, 241_949_056, 4.5, 242),
    "bignas_m": (5_491_180, 417_556_960, 5.5, 418),
    "bignas_l": (6_397_780, 586_319_296, 6.4, 586),
    "bignas_xl": (9_492_490, 1_039_963_648, 9.5, 1040),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    params, macs, printed_params, printed_macs = COUNTS[name]
    assert (round(params / 1e6, 1), round(macs / 1e6)) == (printed_params, printed_macs)
    assert_counts(nasflow.model(name), params, macs)
    assert discovery.models()[name][1].reconstructed


def test_expansion_is_not_elastic() -> None:
    """The paper's factors are resolution, width, depth and kernel."""
    space = nasflow.space("bignas").verify()
    kinds = {decision.name.rpartition("/")[2] for decision in space.decisions}
    assert kinds == {"resolution", "stem", "features", "width", "depth", "kernel", "dropout"}
    sizes = (2 * 2, 2 * 2, 2 * 2 * 2, 2 * 3 * 2, 3 * 5 * 2, 4 * 5 * 2, 5 * 2 * 2)
    expected = 4 * 2 * 2
    for size in sizes:
        expected *= size
    assert space.size == expected
