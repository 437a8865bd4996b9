"""Networks start as their papers, or the code released with them, say: statistics of every layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import nasflow

Deviation = Callable[[tuple[int, ...]], float]


def fan_in(gain: float) -> Deviation:
    return lambda shape: math.sqrt(gain / math.prod(shape[1:]))


def fan_out(gain: float) -> Deviation:
    return lambda shape: math.sqrt(gain / (shape[0] * math.prod(shape[2:])))


def fixed(deviation: float) -> Deviation:
    return lambda shape: deviation


HE_OUT, HE_IN = fan_out(2), fan_in(2)  # He et al. (2015), equations 14 and 10
LECUN = fan_in(1)
DEFAULT = fan_in(1 / 3)  # PyTorch's own: uniform up to 1 / sqrt(fan in)
SMALL: dict[str, Any] = {"size": 64, "classes": 50}
CIFAR: dict[str, Any] = {"size": 16, "classes": 50, "skeleton": "cifar"}

# Family: settings, and the standard deviation of each operation's weights.
LAWS: dict[str, tuple[dict[str, Any], dict[str, Deviation]]] = {
    # Krizhevsky et al. (2012), section 5: normal, 0.01.
    "alexnet": ({"size": 99, "classes": 50}, {"Conv2d": fixed(0.01), "Linear": fixed(0.01)}),
    # He et al. (2016), section 3.4; torch's fb.resnet takes the fan out, torchvision too.
    "resnet": ({**CIFAR, "deepest": (2, 2, 2)}, {"Conv2d": HE_OUT, "Linear": DEFAULT}),
    # torchvision's networks: convolutions by the fan out, hidden layers 0.01.
    "vgg": (
        {**SMALL, "features": (64,), "widths": (0.25,)},
        {"Conv2d": HE_OUT, "Linear": fixed(0.01)},
    ),
    # Huang et al. (2017), section 4.2: as He et al. (2015).
    "densenet": ({**CIFAR, "deepest": (3, 3, 3)}, {"Conv2d": HE_OUT, "Linear": DEFAULT}),
    # BVLC's GoogLeNet: Caffe's "xavier".
    "googlenet": ({**SMALL}, {"Conv2d": LECUN, "Linear": DEFAULT}),
    # TF-slim's networks: variance scaling with factor 2 over the fan in.
    "inception": ({"size": 107, "classes": 50, "version": "v4"}, {"Conv2d": HE_IN}),
    "polynet": ({"size": 107, "classes": 50, "deepest": (1, 1, 1)}, {"Conv2d": HE_IN}),
    # Radosavovic et al. (2020), released code: by the fan out, classifier 0.01.
    "regnet": (
        {**SMALL, "deepest": 2, "widest": 128},
        {"Conv2d": HE_OUT, "Linear": fixed(0.01)},
    ),
    # Liu et al. (2022), appendix A: truncated normal, 0.02.
    "convnext": (
        {**SMALL, "widths": (32,), "deepest": (1, 1, 2, 1)},
        {"Conv2d": fixed(0.02), "Linear": fixed(0.02)},
    ),
    # The released code leaves PyTorch's own.
    "replknet": (
        {**SMALL, "widths": (16,), "deepest": (1, 1, 2, 1), "kernels": (5, 7)},
        {"Conv2d": DEFAULT, "Linear": DEFAULT},
    ),
    # Released code: normal of variance 1 over the fan in, classifier 0.01.
    "nfnet": (
        {**SMALL, "deepest": (1, 1, 2, 1), "widths": {"thin": (16, 32, 48, 48)}, "group": 8},
        {"StandardisedConv2d": LECUN, "Conv2d": LECUN, "Linear": fixed(0.01)},
    ),
    # He et al. (2015), as in Targ et al.'s residual baseline.
    "rir": ({"size": 16, "widths": (16,), "deepest": (1, 2, 2)}, {"Conv2d": HE_OUT}),
    # He et al. (2015), as in the ports of all three.
    "xception": ({"size": 75, "classes": 50, "deepest": 1}, {"Conv2d": HE_OUT}),
    "dpn": ({**SMALL, "deepest": (1, 1, 2, 1)}, {"Conv2d": HE_OUT}),
    "shakeshake": ({"size": 16, "widths": (8,), "deepest": 2}, {"Conv2d": HE_OUT}),
    # Cai et al. (2023), released code: as ConvNeXt.
    "revcol": (
        {**SMALL, "widths": (16,), "deepest": (1, 1, 2, 1), "columns": 2},
        {"Conv2d": fixed(0.02), "Linear": fixed(0.02)},
    ),
    # The released codes leave PyTorch's own.
    "convmixer": (
        {"size": 56, "classes": 50, "widths": (32,), "depths": (1, 2)},
        {"Conv2d": DEFAULT, "Linear": DEFAULT},
    ),
    "darts": (
        {"size": 16, "classes": 50, "layers": 3, "filters": 16, "nodes": 2},
        {"Conv2d": DEFAULT, "Linear": DEFAULT},
    ),
    # Pham et al. (2018), section 3.2: as He et al. (2015); so Luo et al.'s released code.
    "enas": (
        {"size": 16, "classes": 50, "repeats": 1, "filters": 16, "nodes": 2},
        {"Conv2d": HE_IN, "Linear": HE_IN},
    ),
    "enas_macro": (
        {"size": 16, "classes": 50, "layers": 3, "filters": 16},
        {"Conv2d": HE_IN, "Linear": HE_IN},
    ),
    # TF-slim's NASNet: variance scaling with factor 2 over the fan out.
    "nasnet": (
        {"size": 16, "classes": 50, "blocks": 2, "repeats": 1, "filters": 16},
        {"Conv2d": HE_OUT},
    ),
}
FEWEST = 64  # entries whose spread says anything


NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


@pytest.mark.parametrize("family", LAWS)
def test_statistics_of_every_layer(family: str) -> None:
    settings, laws = LAWS[family]
    space = nasflow.space(family, **settings)
    module = space.bind(space.sample(0)).to_torch(seed=0)
    checked = 0
    for name, layer in module.named_modules():
        law = laws.get(type(layer).__name__)
        if isinstance(layer, NORMS):
            assert torch.all(layer.weight == 1) and not layer.bias.any(), name
        if law is None or "attention" in name:  # gates of SE and CBAM have laws of their own
            continue
        if law is not DEFAULT and layer.bias is not None:
            assert not layer.bias.any(), name
        value = layer.weight.detach()
        count, wanted = value.numel(), law(tuple(value.shape))
        if count >= FEWEST:
            assert abs(value.mean().item()) < 5 * wanted / math.sqrt(count), name
            assert value.std().item() == pytest.approx(wanted, rel=5 / math.sqrt(count)), name
            checked += 1
    assert checked > 3


def test_heads_and_gates_that_start_at_zero() -> None:
    """BiT's classifier (Kolesnikov et al., 2020, released code) and offsets (Dai et al., 2017, section 2.1)."""
    bit = nasflow.space("resnet", size=32, norm="group", deepest=(1, 1, 1, 1), widths=(1,))
    module: Any = bit.bind(bit.sample(0)).to_torch(seed=0)
    assert not module.classifier.weight.any() and not module.classifier.bias.any()
    deformable = nasflow.model("deformable_conv").to_torch(seed=0)
    offsets = [value for name, value in deformable.named_parameters() if "offsets" in name]
    assert len(offsets) == 2 and not any(value.any() for value in offsets)


def test_detectors_start_as_released() -> None:
    """DINO: boxes stay, classes are rare, heads look each its own way (Zhang et al., 2023, released code)."""
    settings = {"size": (64, 64), "queries": 5, "width": 64, "encoder": 1, "decoder": 1}
    space = nasflow.space("dino", **settings, backbones={"convnext": {"deepest": (1, 1, 1, 1)}})
    module: Any = space.bind(space.sample(0)).to_torch(seed=0)
    assert not module.proposals.fc3.weight.any() and not module.move1.fc3.weight.any()
    rare = torch.sigmoid(module.classify1.scores.bias)
    assert torch.allclose(rare, torch.full_like(rare, 0.01), atol=1e-4)
    layer = module.decoder1.attn
    assert not layer.offsets.weight.any() and not layer.weights.weight.any()
    ring = layer.offsets.bias.view(8, 4, 4, 2)
    assert torch.equal(ring[0, 0], torch.tensor([[k, 0.0] for k in (1, 2, 3, 4)]))
    assert torch.equal(ring.abs().amax(dim=-1)[3, 2], torch.tensor([1.0, 2, 3, 4]))
    value, fans = layer.value.weight, 2 * 64
    assert value.std().item() == pytest.approx(math.sqrt(2 / fans), rel=0.1)
