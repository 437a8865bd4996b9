"""Once-for-all's released networks against the figures printed beside them."""

from __future__ import annotations

import pytest
import torch

import nasflow
from benchmarks import official
from tests.conformance.reference import assert_counts

# Parameters and MACs; what the authors' list of specialised networks prints, in millions.
COUNTS = {
    "ofa_230m": (5_809_576, 229_846_296, 5.8, 230),
    "ofa_389m": (8_386_544, 389_487_856, 8.4, 389),
    "ofa_482m": (9_066_368, 482_413_168, 9.1, 482),
    "ofa_595m": (9_135_928, 595_189_032, 9.1, 595),
    "ofa_743m": (9_109_040, 743_131_000, 9.1, 743),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    params, macs, printed_params, printed_macs = COUNTS[name]
    assert (round(params / 1e6, 1), round(macs / 1e6)) == (printed_params, printed_macs)
    assert_counts(nasflow.model(name), params, macs)


def test_every_layer_has_its_own_kernel_and_expansion() -> None:
    space = nasflow.space("ofa").verify()
    layer, widths, resolutions = 3 * 3, 2, 25
    assert space.size == widths * resolutions * (layer**2 + layer**3 + layer**4) ** 5


def test_a_child_gives_the_official_supernets_outputs() -> None:
    pytest.importorskip("ofa", reason="pip install --no-deps ofa")
    official.define_missing()
    theirs = official.once_for_all("")
    net = theirs.space.to_supernet(seed=0)
    point = theirs.space.complete({**theirs.space.sample(seed=1), **theirs.fixed})
    assert official.error(net, theirs, point, torch.randn(2, 3, 128, 128)) < 1e-4
