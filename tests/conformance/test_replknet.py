"""RepLKNet beside its blocks written out, the released code's counts, and its own merged form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import nasflow
from nasflow import ir
from search_spaces import replknet
from tests.conformance.reference import assert_counts, assert_equal_outputs, perturb

# Counts of the released code. Ding et al. (2022), table 4 print 79M and 15.3, 79M and 45.1, 172M and 96.0
# billion, of the merged form.
COUNTS = {
    "replknet_31b_224": (79_527_272, 15_353_525_248),
    "replknet_31b_384": (79_527_272, 45_118_578_688),
    "replknet_31l_384": (172_165_672, 95_989_420_032),
    "replknet_31b_224_training": (79_864_168, 15_431_298_048),
    "replknet_31l_384_training": (172_671_016, 96_332_255_232),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    assert (graph.params, graph.macs) == COUNTS[name]
    if "224" in name:
        assert_counts(graph, *COUNTS[name])


def conv_bn(
    channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out))


class Pair(nn.Module):
    """A RepLK block and a ConvFFN, from figure 2."""

    def __init__(self, channels: int, kernel: int, small: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.before = conv_bn(channels, channels, 1)
        self.large = conv_bn(channels, channels, kernel, groups=channels)
        self.small = conv_bn(channels, channels, small, groups=channels)
        self.after = conv_bn(channels, channels, 1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.widen = conv_bn(channels, 4 * channels, 1)
        self.narrow = conv_bn(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(self.norm1(x)).relu()
        x = x + self.after((self.large(y) + self.small(y)).relu())
        y = nn.functional.gelu(self.widen(self.norm2(x)))
        return x + self.narrow(y)


def reference(width: int, kernels: tuple[int, ...], depths: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = []

    def add(*arguments: int) -> None:
        layers.extend([conv_bn(*arguments), nn.ReLU()])

    add(3, width, 3, 2)
    add(width, width, 3, 1, width)
    add(width, width, 1)
    add(width, width, 3, 2, width)
    for stage, (kernel, depth) in enumerate(zip(kernels, depths, strict=True)):
        if stage:
            add(width, 2 * width, 1)
            width *= 2
            add(width, width, 3, 2, width)
        layers += [Pair(width, kernel, 3) for _ in range(depth)]
    layers += [nn.BatchNorm2d(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 7)]
    return nn.Sequential(*layers)


KERNELS, DEPTHS = (9, 7, 5, 3), (1, 2, 1, 1)


def small(form: str) -> ir.Graph:
    space = replknet.space(size=64, classes=7, widths=(8,), deepest=DEPTHS)
    point = {"width": 8, "depthwise_ratio": 1, "expand": 4, "form": form}
    point |= {"small_kernel": 3} if form == "training" else {}
    for stage, (kernel, depth) in enumerate(zip(KERNELS, DEPTHS, strict=True), 1):
        point |= {f"stage{stage}/kernel": kernel, f"stage{stage}/depth": depth}
    return space.bind(point)


def test_outputs_equal_the_network_written_out() -> None:
    assert_equal_outputs(
        small("training"), reference(8, KERNELS, DEPTHS), torch.randn(4, 3, 64, 64)
    )


def test_merged_form_computes_what_the_training_form_does() -> None:
    trained = small("training").to_torch(seed=0).double()
    perturb(trained)
    with torch.no_grad():  # statistics that are not 0 and 1
        trained.train()(torch.randn(8, 3, 64, 64, dtype=torch.float64) + 1)
    merged = small("merged").to_torch(seed=1).double()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    wanted = trained.eval()(x)
    assert not torch.allclose(merged.eval()(x), wanted)
    merged.load_state_dict(replknet.merge(trained.state_dict()))
    assert torch.allclose(merged(x), wanted, rtol=0, atol=1e-12)


def test_every_point_of_the_space_binds() -> None:
    space = replknet.space(size=64)
    for seed in range(20):
        space.bind(space.sample(seed))
