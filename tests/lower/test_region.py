"""RoIAlign, refined boxes and one convolution of several maps against direct readings of their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nasflow import ir
from nasflow.errors import TypeRuleError

STRIDES = (4, 8)
BOXES = [
    [3.0, 2.0, 30.0, 25.0],
    [-9.0, -7.0, 12.5, 60.0],  # leaves the image
    [0.0, 0.0, 40.0, 32.0],
    [20.0, 20.0, 20.0, 20.0],  # a point
    [1.5, 3.25, 39.0, 31.0],
]


def read(x: Tensor, box: list[float], side: int, stride: float, samples: int) -> Tensor:
    """He et al. (2017), section 3: the mean of bilinear readings at points spread evenly in each bin."""
    channels, height, width = x.shape
    left, top, right, bottom = (c / stride - 0.5 for c in box)
    y = torch.zeros(channels, side, side, dtype=x.dtype)
    for row in range(side):
        for column in range(side):
            for i in range(samples):
                for j in range(samples):
                    down = top + (row + (i + 0.5) / samples) * (bottom - top) / side
                    across = left + (column + (j + 0.5) / samples) * (right - left) / side
                    if -1 <= down <= height and -1 <= across <= width:
                        y[:, row, column] += between(x, down, across) / samples**2
    return y


def between(x: Tensor, down: float, across: float) -> Tensor:
    """Read a map between pixels; outside, the nearest border is read."""
    down = min(max(down, 0.0), x.shape[1] - 1.0)
    across = min(max(across, 0.0), x.shape[2] - 1.0)
    q, r = math.floor(down), math.floor(across)
    below, beside = min(q + 1, x.shape[1] - 1), min(r + 1, x.shape[2] - 1)
    a, b = down - q, across - r
    upper = (1 - b) * x[:, q, r] + b * x[:, q, beside]
    return (1 - a) * upper + a * ((1 - b) * x[:, below, r] + b * x[:, below, beside])


def align(side: int, samples: int, finest: float) -> torch.nn.Module:
    boxes = ir.boxes(len(BOXES))
    maps = [ir.image(3, (32 // s, 40 // s), name=f"map{s}") for s in STRIDES]
    found = ir.RoIAlign(side, STRIDES, samples, finest)(boxes, *maps)
    return ir.Space(found, name="net").bind({}).to_torch(seed=0)


@pytest.mark.parametrize(("side", "samples"), [(3, 2), (2, 1), (4, 3)])
def test_it_is_the_definition(side: int, samples: int) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(2, 3, 32 // s, 40 // s, dtype=torch.float64, generator=generator)
        for s in STRIDES
    ]
    boxes = torch.tensor([BOXES, BOXES[::-1]], dtype=torch.float64)
    found = align(side, samples, 14.0)(boxes, *maps)
    assert found.shape == (2, 3, len(BOXES), side, side)
    levels = set()
    for n in range(2):
        for k, box in enumerate(boxes[n].tolist()):
            area = max(box[2] - box[0], 0) * max(box[3] - box[1], 0)
            level = int(area >= (2 * 14.0) ** 2)
            levels.add(level)
            wanted = read(maps[level][n], box, side, STRIDES[level], samples)
            assert torch.allclose(found[n, :, k], wanted, atol=1e-12)
    assert levels == {0, 1}


def test_gradients_reach_the_maps_alone() -> None:
    maps = [torch.randn(1, 3, 32 // s, 40 // s, requires_grad=True) for s in STRIDES]
    boxes = torch.tensor([BOXES], requires_grad=True)
    align(3, 2, 14.0)(boxes, *maps).square().sum().backward()
    assert boxes.grad is None
    assert all(x.grad is not None and x.grad.abs().max() > 0 for x in maps)


def test_strides_must_be_one_for_each_map() -> None:
    maps = ir.image(3, 8), ir.image(3, 4, name="small")
    with pytest.raises(ir.SpaceError, match="expected a stride for each of 2 maps"):
        ir.Space(ir.RoIAlign(7, (4,))(ir.boxes(5), *maps), name="net").verify()


def refined(scales: tuple[float, ...], *inputs: Tensor) -> Tensor:
    """Return what RefineBoxes makes of boxes, deltas and scores in an image of 50 x 40."""
    types = [ir.Type(("R", "D"), tuple(x.shape[1:])) for x in inputs]
    node = ir.Node(
        "only", ir.Applied(ir.RefineBoxes(scales, (50, 40)), tuple(types)), (0, 1, 2), "only"
    )
    module = ir.Graph("net", tuple(types), [node], [3]).to_torch(seed=0)
    found: Tensor = module(*inputs)
    return found


def test_boxes_take_the_deltas_of_their_likeliest_class() -> None:
    boxes = torch.tensor([[[10.0, 20.0, 18.0, 24.0], [0.0, 0.0, 10.0, 10.0]]])
    deltas = torch.tensor(
        [[[9.0] * 4 + [0.5, -0.25, math.log(2.0), 0.0], [0.0, 2.0, 0, 0] + [9.0] * 4]]
    )
    scores = torch.tensor([[[0.1, 0.9, 5.0], [2.0, 1.0, 0.0]]])  # the last is no object's
    found = refined((1.0, 1.0, 1.0, 1.0), boxes, deltas, scores)
    # The centre (14, 22) moves by half a width and a quarter of a height; the width doubles.
    wanted = torch.tensor([[[10.0, 19.0, 26.0, 23.0], [0.0, 20.0, 10.0, 30.0]]])
    assert torch.allclose(found, wanted, atol=1e-5)


def test_boxes_stay_in_the_image_and_deltas_are_scaled() -> None:
    boxes = torch.tensor([[[10.0, 20.0, 30.0, 40.0]]])
    deltas = torch.tensor([[[10.0, 10.0, math.log(4.0), math.log(4.0)]]])
    found = refined((0.1, 0.1, 0.5, 0.5), boxes, deltas, torch.zeros(1, 1, 3))
    assert torch.allclose(found, torch.tensor([[[20.0, 30.0, 40.0, 50.0]]]))
    found = refined((0.1, 0.1, 50.0, 50.0), boxes, deltas, torch.zeros(1, 1, 3))
    assert found.tolist() == [[[0.0, 0.0, 40.0, 50.0]]]


def test_deltas_must_fit_the_classes() -> None:
    with pytest.raises(TypeRuleError, match="4 for each of 2 classes"):
        refined((1.0,) * 4, torch.zeros(1, 2, 4), torch.zeros(1, 2, 16), torch.zeros(1, 2, 3))


def test_one_convolution_sees_every_map() -> None:
    maps = [ir.image(3, size, name=f"map{i}") for i, size in enumerate((8, (4, 5)))]
    found = ir.ConvEach(2, 6, 3)(*maps, name="conv")
    module = ir.Space(found, name="net").bind({}).to_torch(seed=0)
    x = [torch.randn(2, 3, 8, 8), torch.randn(2, 3, 4, 5)]
    assert {name: tuple(t.shape) for name, t in module.state_dict().items()} == {
        "conv.weight": (6, 3, 3, 3),
        "conv.bias": (6,),
    }
    for ours, given in zip(module(*x), x, strict=True):
        wanted = torch.nn.functional.conv2d(given, module.conv.weight, module.conv.bias, padding=1)
        assert torch.equal(ours, wanted)
