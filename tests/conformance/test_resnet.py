"""Residual networks against timm's modules and published figures."""

from __future__ import annotations

import functools

import pytest
import timm
import torch
from timm.layers import SEModule
from timm.models import resnet as timm_resnet
from timm.models import senet as timm_senet

import nasflow
from nasflow import ir
from tests.conformance.reference import assert_counts, assert_equal_outputs

# Parameters and multiply-adds of timm's modules, and of torchvision's with the stride moved to the
# first 1x1 (the "v1" rows) and with the released CBAM blocks put in.
COUNTS = {
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet50_v1": (25_557_032, 3_857_973_248),
    "resnet101_v1": (44_549_160, 7_570_194_432),
    "resnet152": (60_192_808, 11_513_626_624),
    "se_resnet18": (11_778_592, 1_814_160_384),
    "cbam_resnet34": (21_960_468, 3_665_434_742),
    "cbam_resnet101": (49_330_172, 7_581_366_270),
    "resnext50_32x4d": (25_028_904, 4_230_479_872),
    "resnext101_32x4d_v1": (44_177_704, 7_507_574_784),
    "resnext101_64x4d": (83_455_272, 31_549_440_000),
    "se_resnext101_32x4d": (48_955_416, 7_974_739_968),
    "cbam_resnext50_32x4d": (27_561_496, 3_774_446_710),
    "senet154": (115_088_984, 42_212_171_776),
    "wrn50_2": (68_883_240, 11_398_021_120),
    "wideresnet18_15": (25_875_816, 3_866_327_040),
    "wideresnet18_15_se": (26_074_716, 3_866_522_880),
    "wideresnet18_20_cbam": (45_971_256, 6_697_219_284),
    "wrn28_10_cifar": (36_479_194, 5_243_328_768),
    "resnet110_cifar": (1_727_962, 252_887_680),
    "stochastic_depth_resnet": (1_730_714, 253_149_824),
}
# Figures that papers print: millions of parameters, billions of multiply-adds.
PRINTED = {
    "resnet18": (11.69, 1.814),
    "resnet34": (21.80, 3.664),
    "resnet50_v1": (25.56, 3.858),
    "resnet101_v1": (44.55, 7.570),
    "se_resnet18": (11.78, 1.814),
    "se_resnet34": (21.96, 3.664),
    "se_resnet50": (28.09, 3.860),
    "se_resnet101": (49.33, 7.575),
    "se_resnet152": (66.82, 11.32),
    "cbam_resnet18": (11.78, 1.815),
    "cbam_resnet34": (21.96, 3.665),
    "cbam_resnet50": (28.09, 3.864),
    "cbam_resnet101": (49.33, 7.581),
    "resnext50_32x4d_v1": (25.03, 3.768),
    "se_resnext50_32x4d_v1": (27.56, 3.771),
    "se_resnext101_32x4d_v1": (48.96, 7.512),
    "cbam_resnext101_32x4d": (48.96, 7.519),
    "wideresnet18_15_cbam": (26.08, 3.868),
    "wideresnet18_20_se": (45.97, 6.696),
    "resnet1001_preact": (10.33, 1.491),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    if graph.params < 12e6:
        assert_counts(graph, *COUNTS[name])
    assert (graph.params, graph.macs) == COUNTS[name]


@pytest.mark.parametrize("name", PRINTED)
def test_printed_figures(name: str) -> None:
    graph = nasflow.model(name)
    params, macs = PRINTED[name]
    assert graph.params / 1e6 == pytest.approx(params, abs=0.006)
    assert graph.macs / 1e9 == pytest.approx(macs, rel=3e-3)


def small(name: str, size: int = 64, **more: object) -> ir.Graph:
    """Return a published network for a small image."""
    entry = nasflow.discovery.models()[name][1]
    space = nasflow.discovery.find("space", "resnet")(**{**entry.settings, "size": size})
    return space.bind({**entry.point, **more})


def wide(**settings: object) -> torch.nn.Module:
    return timm_resnet.ResNet(timm_resnet.Bottleneck, [1, 2, 1, 1], **settings)


DEPTHS = {f"stage{i}/depth": depth for i, depth in enumerate((1, 2, 1, 1), 1)}
REFERENCES = {
    "resnet18": lambda: timm.create_model("resnet18"),
    "resnet50": lambda: timm.create_model("resnet50"),
}
SHORT = {
    "resnext50_32x4d": lambda: wide(cardinality=32, base_width=4),
    "wrn50_2": lambda: wide(base_width=128),
    "se_resnet50": lambda: timm_senet.SENet(
        timm_senet.SEResNetBottleneck, (1, 2, 1, 1), groups=1, reduction=16, drop_rate=0.0,
        inplanes=64, input_3x3=False, downsample_kernel_size=1, downsample_padding=0,
    ),
    "senet154": lambda: timm_senet.SENet(
        timm_senet.SEBottleneck, (1, 2, 1, 1), groups=64, reduction=16, drop_rate=0.0, downsample_kernel_size=3,
        downsample_padding=1, inplanes=128, input_3x3=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
def test_outputs(name: str) -> None:
    assert_equal_outputs(small(name), REFERENCES[name]())


@pytest.mark.parametrize("name", SHORT)
def test_outputs_of_short_networks(name: str) -> None:
    entry = nasflow.discovery.models()[name][1]
    settings = {**entry.settings, "size": 64, "dropout": 0.0}
    graph = nasflow.discovery.find("space", "resnet")(**settings).bind({**entry.point, **DEPTHS})
    assert_equal_outputs(graph, SHORT[name](), double=True)


def test_outputs_of_basic_units_with_se() -> None:
    # timm's legacy_seresnet18 has one more ReLU, before the SE, than the paper's figure 3.
    se = functools.partial(SEModule, rd_ratio=1 / 16, rd_divisor=1)
    reference = timm.create_model("resnet18", block_args={"attn_layer": se})
    assert_equal_outputs(small("se_resnet18", stem_pool="padded"), reference)


class Preactivation(torch.nn.Module):
    """A wide pre-activation unit written out, as in He et al. (2016b), figure 4(e)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = torch.nn.BatchNorm2d(channels)
        self.conv1 = torch.nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.norm2 = torch.nn.BatchNorm2d(out)
        self.conv2 = torch.nn.Conv2d(out, out, 3, 1, 1, bias=False)
        if channels != out:
            self.project = torch.nn.Conv2d(channels, out, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.norm1(x).relu()
        y = self.conv2(self.norm2(self.conv1(first)).relu())
        return y + (self.project(first) if hasattr(self, "project") else x)


def test_outputs_of_preactivation() -> None:
    units = [Preactivation(16, 32, 1), Preactivation(32, 32, 1), Preactivation(32, 64, 2)]
    reference = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        *units,
        Preactivation(64, 128, 2),
        torch.nn.BatchNorm2d(128),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(128, 10),
    )
    depths = {"stage1/depth": 2, "stage2/depth": 1, "stage3/depth": 1}
    assert_equal_outputs(small("wrn28_10_cifar", 16, width=2, **depths), reference)


def test_convolutions_start_as_he_has_them() -> None:
    module = small("resnet18", 32).to_torch(seed=0)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            fan_out = layer.out_channels * layer.kernel_size[0] ** 2
            assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


def test_every_point_of_the_spaces_binds() -> None:
    for settings in ({"size": 64}, {"skeleton": "cifar", "size": 32, "drop_path": 0.2}):
        space = nasflow.space(
            "resnet", deepest=(3,) * (3 if "skeleton" in settings else 4), **settings
        )
        for seed in range(30):
            space.bind(space.sample(seed))
