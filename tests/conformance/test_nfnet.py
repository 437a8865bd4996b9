"""NFNets beside timm's modules, and beside the figures the paper prints."""

from __future__ import annotations

import math
import re

import pytest
import timm
import torch

import nasflow
from nasflow import ir
from search_spaces import nfnet
from tests.conformance.reference import (
    assert_counts,
    assert_equal_outputs,
    counted_macs,
    parameters,
)

# timm's counts. Brock et al. (2021), table 3 print 71.5M and 12.38 to 438.4M and 377.28 billion; section 5.1
# prints 527M for F4+.
COUNTS = {
    "nfnet_f0": (71_489_284, 12_384_198_656),
    "nfnet_f1": (132_634_256, 35_538_968_576),
    "nfnet_f2": (193_779_228, 62_592_978_944),
    "nfnet_f3": (254_924_200, 114_763_501_568),
    "nfnet_f4": (316_069_172, 215_241_187_328),
    "nfnet_f5": (377_214_144, 289_757_106_176),
    "nfnet_f6": (438_359_116, 377_280_307_200),
    "nfnet_f4_plus": (526_959_220, 366_205_976_576),
    "nfnet_f4_plus_released": (524_884_724, 332_248_891_392),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    assert (graph.params, graph.macs) == COUNTS[name]
    if name not in ("nfnet_f0", "nfnet_f4_plus_released"):
        return
    if name == "nfnet_f0":
        assert_counts(graph, *COUNTS[name])
    plus = {"channels": nfnet.WIDTHS["plus"], "num_features": 4096} if "plus" in name else {}
    with torch.device("meta"):
        reference = timm.create_model(f"dm_{name.removesuffix('_plus_released')}", **plus)
    image = torch.empty(1, *graph.inputs[0].shape, device="meta")
    assert (parameters(reference), counted_macs(reference, image)) == COUNTS[name]


THIN = (16, 32, 48, 48)


def small() -> ir.Graph:
    point = {"activation": "gelu", "widths": "thin"}
    point |= {f"stage{stage}/depth": depth for stage, depth in enumerate((1, 3, 1, 1), 1)}
    settings = {"deepest": (1, 3, 1, 1), "widths": {"thin": THIN}, "group": 8}
    return nfnet.space(size=70, classes=7, **settings).bind(point)


def test_outputs_equal_timm() -> None:
    reference = timm.create_model(
        "dm_nfnet_f0",
        **{"depths": (1, 3, 1, 1), "channels": THIN, "group_size": 8, "num_features": 2 * THIN[-1]},
        num_classes=7,
    )
    graph = small()
    names = {}
    for name in graph.to_torch(seed=0).state_dict():
        if name.endswith("skip_gain"):
            stage, rest = re.fullmatch(r"stage(\d)_(.*)\.skip_gain", name).groups()
            block = 0 if rest == "first" else int(re.search(r"\d", rest)[0]) + 1
            names[name] = f"stages.{int(stage) - 1}.{block}.skipinit_gain"
    assert_equal_outputs(graph, reference, torch.randn(2, 3, 70, 70), names=names)


def test_every_block_starts_as_its_shortcut() -> None:
    module = small().to_torch(seed=0)
    gains = [value for name, value in module.named_parameters() if name.endswith("skip_gain")]
    assert len(gains) == 6 and all(not value.any() for value in gains)


def test_signals_keep_their_variance() -> None:
    """Section 2: a scaled convolution of a scaled GELU of noise is noise of variance 1."""
    x = ir.Scale(nfnet.GAMMA["gelu"])(ir.Activation("gelu")(ir.image(64, 16)))
    layer = ir.StandardisedConv2d(256, 3, 1, 0, gain=1.0, bias=False)
    module = ir.Space(layer(x), name="net").bind({}).to_torch(seed=0)
    seen = module(torch.randn(8, 64, 16, 16))
    variance = (seen - seen.mean(dim=(0, 2, 3), keepdim=True)).square().mean().item()
    assert math.isclose(variance, 1.0, rel_tol=0.1)


def test_every_point_of_the_space_binds() -> None:
    space = nfnet.space(size=64, deepest=(1, 2, 2, 1))
    for seed in range(20):
        space.bind(space.sample(seed))
