"""LeNet, AlexNet, ZFNet and VGG against torchvision's modules and other people's counts."""

from __future__ import annotations

import pytest
import torchvision
from torch import nn
from torchvision.models.vgg import make_layers

import nasflow
from tests.conformance.reference import assert_counts, assert_equal_outputs

# LeNet-5: LeCun et al. (1998), figure 2, with a full C3. AlexNet: the two-GPU network of the paper.
# VGG: torchvision; with SE, timm's vgg16_bn and an SE after each convolution. ZFNet: pytorchcv.
COUNTS = {
    "lenet5": (61_706, 416_520),
    "alexnet": (60_965_224, 724_406_816),
    "zfnet": (62_357_608, 1_168_032_896),
    "zfnet_doubled": (107_627_624, 2_476_704_896),
    "vgg11": (132_863_336, 7_609_090_048),
    "vgg16": (138_357_544, 15_470_264_320),
    "vgg16_bn": (138_365_992, 15_470_264_320),
    "se_vgg16": (138_596_784, 15_470_490_624),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    assert_counts(nasflow.model(name), *COUNTS[name])


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_outputs_of_vgg(norm: str) -> None:
    space = nasflow.space("vgg", size=64, classes=10)
    point = {"norm": norm, "attention": "none", "width": 0.25, "features": 512, "dropout": 0.0}
    depths = (1, 2, 1, 3, 1)
    point |= {f"stage{stage}/depth": depth for stage, depth in enumerate(depths, 1)}
    layers: list[int | str] = []
    for filters, depth in zip((16, 32, 64, 128, 128), depths, strict=True):
        layers += [filters] * depth + ["M"]
    reference = nn.Sequential(
        make_layers(layers, batch_norm=norm == "batch"),
        nn.Flatten(),
        *(nn.Linear(128 * 2 * 2, 512), nn.ReLU()),
        *(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)),
    )
    assert_equal_outputs(space.bind(point), reference)


def test_outputs_of_alexnet() -> None:
    """torchvision's is the later network for one GPU: no groups, no local response norm."""
    space = nasflow.space("alexnet", size=224)
    point = dict(nasflow.discovery.models()["alexnet"][1].point)
    point |= {"groups": 1, "norm": "none", "conv1/padding": 2, "dropout": 0.0}
    filters = (64, 192, 384, 256, 256)
    point |= {f"conv{number}/filters": count for number, count in enumerate(filters, 1)}
    assert_equal_outputs(space.bind(point), torchvision.models.alexnet(dropout=0.0))


def test_outputs_of_alexnet_with_its_norm_and_groups() -> None:
    space = nasflow.space("alexnet", size=131, classes=10)
    point = dict(nasflow.discovery.models()["alexnet"][1].point)
    point |= {"features": 1024, "dropout": 0.0}
    pool, norm = nn.MaxPool2d(3, 2, ceil_mode=True), nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)
    reference = nn.Sequential(
        *(nn.Conv2d(3, 96, 11, 4), nn.ReLU(), norm, pool),
        *(nn.Conv2d(96, 256, 5, 1, 2, groups=2), nn.ReLU(), norm, pool),
        *(nn.Conv2d(256, 384, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(384, 384, 3, 1, 1, groups=2), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, 1, 1, groups=2), nn.ReLU(), pool),
        *(nn.Flatten(), nn.Linear(256 * 3 * 3, 1024), nn.ReLU()),
        *(nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)),
    )
    assert_equal_outputs(space.bind(point), reference)


def test_outputs_of_lenet() -> None:
    reference = nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten()),
        *(nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )
    assert_equal_outputs(nasflow.model("lenet5"), reference)


@pytest.mark.parametrize(("name", "size"), [("lenet", 32), ("alexnet", 127), ("vgg", 64)])
def test_every_point_of_the_spaces_binds(name: str, size: int) -> None:
    space = nasflow.space(name, size=size)
    for seed in range(20):
        space.bind(space.sample(seed))


def test_deep_image_has_the_weights_the_paper_prints() -> None:
    """Wu et al. (2015), section 4: 16 layers, 212.7 million weights; biases are not counted."""
    low, high = (nasflow.model(f"deep_image_{kind}_res") for kind in ("low", "high"))
    layers = [node.content for _, node, _ in low.walk() if node.content.params]
    biases = sum(content.op.out for content in layers)
    assert len(layers) == 16
    assert round((low.params - biases) / 1e6, 1) == 212.7
    assert high.params == low.params
