"""RevCol against the released code's counts, and against the paper's equations written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nasflow
from tests.conformance.reference import assert_counts, copy_weights, perturb

# Parameters and multiply-adds of megvii-research/RevCol's models without intermediate supervision.
COUNTS = {
    "revcol_b_224": (138_616_408, 16_585_449_984),
    "revcol_b_384": (138_616_408, 48_739_797_504),
    "revcol_l_224": (273_095_400, 39_306_092_544),
    "revcol_l_384": (273_095_400, 115_509_796_864),
}
PRINTED = {"revcol_t_224": (30, 4.5), "revcol_s_224": (60, 9.0), "revcol_h": (2158, 2537)}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    graph = nasflow.model(name)
    if name == "revcol_b_224":
        assert_counts(graph, *COUNTS[name])
    assert (graph.params, graph.macs) == COUNTS[name]


@pytest.mark.parametrize("name", PRINTED)
def test_printed_figures(name: str) -> None:
    # Table 1; for RevCol-H table 2.
    graph = nasflow.model(name)
    params, macs = PRINTED[name]
    assert graph.params / 1e6 == pytest.approx(params, rel=0.02)
    assert graph.macs / 1e9 == pytest.approx(macs, rel=0.01)


def norm_channels(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.first = nn.Linear(width, 4 * width)
        self.second = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.second(F.gelu(self.first(y)))
        return x + y.permute(0, 3, 1, 2)


class Level(nn.Module):
    """Equation 3 of the paper: x_t = F_t(x_{t-1}, x_{t-m+1}) + gamma x_{t-m}."""

    def __init__(
        self, level: int, widths: list[int], depth: int, first: bool, far: bool = False
    ) -> None:
        super().__init__()
        width = widths[level]
        self.gamma = nn.Parameter(torch.full((width, 1, 1), 0.5))
        self.down, self.up = level > 0, not first and level < 3
        if self.down:
            self.conv = nn.Conv2d(widths[level - 1], width, 2, 2)
            self.conv_norm = nn.LayerNorm(width, eps=1e-6)
        if self.up:
            self.proj = nn.Linear(widths[level + 1], width)
            self.proj_norm = nn.LayerNorm(width, eps=1e-6)
        self.far = far and not first and level == 0
        if self.far:  # RevCol-H: the last level of the column before also reaches the first
            self.far_proj = nn.Linear(widths[-1], width)
            self.far_norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))

    def forward(
        self,
        below: Tensor,
        before: Tensor | None,
        above: Tensor | None,
        last: Tensor | None = None,
    ) -> Tensor:
        y = norm_channels(self.conv_norm, self.conv(below)) if self.down else below
        if self.up:
            mapped = self.proj_norm(self.proj(above.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
            y = y + F.interpolate(mapped, scale_factor=2, mode="nearest")
        if self.far:
            mapped = self.far_norm(self.far_proj(last.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
            y = y + F.interpolate(mapped, scale_factor=8, mode="nearest")
        y = self.blocks(y)
        return y if before is None else y + self.gamma * before


class Reference(nn.Module):
    def __init__(
        self, width: int, depths: tuple[int, ...], columns: int, far: bool = False
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.stem_norm = nn.LayerNorm(width, eps=1e-6)
        self.columns = nn.ModuleList(
            nn.ModuleList(
                Level(n, widths, depth, column == 0, far) for n, depth in enumerate(depths)
            )
            for column in range(columns)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.head = nn.Linear(widths[-1], 1000)

    def forward(self, x: Tensor) -> Tensor:
        stem = norm_channels(self.stem_norm, self.stem(x))
        before: list[Tensor | None] = [None] * 4
        for column in self.columns:
            levels: list[Tensor] = []
            for n, level in enumerate(column):
                below = levels[-1] if levels else stem
                above = before[n + 1] if n < 3 else None
                levels.append(level(below, before[n], above, before[-1]))
            before = list(levels)
        return self.head(self.norm(before[-1].mean((2, 3))))


@pytest.mark.parametrize("far_up", [False, True])
def test_outputs(far_up: bool) -> None:
    depths = (1, 2, 1, 1)
    space = nasflow.space("revcol", size=64, widths=(8,), columns=3)
    point = {"width": 8, "kernel": 3, "columns": 3, "far_up": far_up}
    point |= {f"level{level}/depth": depth for level, depth in enumerate(depths)}
    graph = space.bind(point)
    torch.manual_seed(0)
    reference = Reference(8, depths, 3, far_up)
    perturb(reference)
    module = graph.to_torch(seed=0)
    zeros = [name for name in module.state_dict() if "zero" in name]
    assert len(zeros) == 4
    theirs = dict(reference.state_dict())
    theirs |= {f"zero{i}": torch.zeros(8 * 2**i, 1, 1) for i in range(4)}
    copy_weights(module, theirs, {name: name.rpartition(".")[2] for name in zeros})
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        ours, other = module(x), reference(x)
    assert (ours - other).abs().max() / other.abs().max() < 1e-5


def test_a_column_can_be_computed_back() -> None:
    """The levels of a column follow from those of the next: what makes training without storing them possible."""
    depths = (1, 1, 1, 1)
    torch.manual_seed(0)
    reference = Reference(8, depths, 2).double()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        stem = norm_channels(reference.stem_norm, reference.stem(x))
        columns = []
        before: list[Tensor | None] = [None] * 4
        for column in reference.columns:
            levels: list[Tensor] = []
            for n, level in enumerate(column):
                below = levels[-1] if levels else stem
                levels.append(level(below, before[n], before[n + 1] if n < 3 else None))
            columns.append(levels)
            before = list(levels)
        back: list[Tensor | None] = [None] * 5
        for n in (3, 2, 1, 0):
            level, below = reference.columns[1][n], columns[1][n - 1] if n else stem
            back[n] = (columns[1][n] - level(below, None, back[n + 1])) / level.gamma
            assert torch.allclose(back[n], columns[0][n])


def test_every_point_of_the_space_binds() -> None:
    space = nasflow.space("revcol", size=64, widths=(8, 16), columns=3, drop_path=0.1)
    for seed in range(15):
        space.bind(space.sample(seed))
