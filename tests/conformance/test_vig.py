"""ViG against a direct reading of the paper; counts against the released code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import nasflow
from tests.conformance.reference import assert_counts, assert_equal_outputs

# Counted on huawei-noah/Efficient-AI-Backbones, vig_pytorch/vig.py.
COUNTS = {
    "vig_ti": (7_184_744, 1_300_879_360),
    "vig_s": (22_747_752, 4_516_689_920),
}


def linear(inputs: int, out: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, out, 1, groups=groups), nn.BatchNorm2d(out))


class Grapher(nn.Module):
    def __init__(self, width: int, k: int, dilation: int) -> None:
        super().__init__()
        self.k, self.dilation = k, dilation
        self.enter = linear(width, width)
        self.update = linear(2 * width, 2 * width, groups=4)
        self.leave = linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        pairs = torch.empty(len(x), 2 * x.shape[1], *x.shape[2:])
        for sample, features in enumerate(x.flatten(2).transpose(1, 2)):
            unit = features / features.norm(dim=1, keepdim=True)
            distance = torch.stack([(unit - node).square().sum(1) for node in unit])
            order = distance.argsort(dim=1)[:, : self.k * self.dilation : self.dilation]
            largest = [(features[order[i]] - features[i]).amax(0) for i in range(len(features))]
            both = torch.stack([features, torch.stack(largest)], dim=-1)  # a channel and its change
            pairs[sample] = both.flatten(1).T.unflatten(1, x.shape[2:])
        return self.leave(nn.functional.gelu(self.update(pairs)))


class Reference(nn.Module):
    """A stem, graphers and perceptrons in turn, a head; from k to 2k neighbours."""

    def __init__(self, width: int, side: int, k: int, depth: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(width, side, side))
        stem: list[nn.Module] = []
        for inputs, out in ((3, width // 8), (width // 8, width // 4), (width // 4, width // 2)):
            stem += [nn.Conv2d(inputs, out, 3, 2, 1), nn.BatchNorm2d(out), nn.GELU()]
        stem += [nn.Conv2d(width // 2, width, 3, 2, 1), nn.BatchNorm2d(width), nn.GELU()]
        stem += [nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width)]
        self.stem = nn.Sequential(*stem)
        self.blocks = nn.ModuleList()
        for i in range(depth):
            count = k + k * i // (depth - 1)
            self.blocks.append(Grapher(width, count, min(i // 4 + 1, side**2 // (2 * k))))
            mlp = (linear(width, 4 * width), nn.GELU(), linear(4 * width, width))
            self.blocks.append(nn.Sequential(*mlp))
        self.head = nn.Sequential(*linear(width, 1024), nn.GELU(), nn.Conv2d(1024, 10, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x) + self.positions
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((2, 3), keepdim=True)).flatten(1)


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    assert_counts(nasflow.model(name), *COUNTS[name])


def test_vig_b_is_as_large_as_the_paper_prints() -> None:
    graph = nasflow.model("vig_b")  # table 1: 86.8 M and 17.7 B; by the same rule 17.64
    assert round(graph.params / 1e6, 1) == 86.8
    assert graph.macs == pytest.approx(17.7e9, rel=0.004)


def test_outputs() -> None:
    space = nasflow.space("vig", size=96, classes=10, widths=(32,), neighbours=(3,), depths=(6, 6))
    graph = space.bind({"width": 32, "neighbours": 3, "mlp_ratio": 4, "depth": 6})
    edges = [node.content.op for path, node, _ in graph.walk() if "neighbours" in path]
    assert [(op.k, op.dilation) for op in edges] == [(3, 1), (3, 1), (4, 1), (4, 1), (5, 2), (6, 2)]
    reference = Reference(32, side=6, k=3, depth=6)
    assert_equal_outputs(graph, reference, names={"pos_embed": "positions"})


def test_the_space_holds_what_it_should() -> None:
    space = nasflow.space("vig", size=32, classes=10, widths=(32, 64)).verify()
    assert space.size == 2 * 5 * 2 * 13  # width, neighbours, mlp_ratio, depth
