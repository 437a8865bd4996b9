"""Deformable attention against equation 2, read pixel by pixel, and transformers' Deformable DETR."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from transformers import DeformableDetrConfig
from transformers.models.deformable_detr import modeling_deformable_detr

import nasflow
from nasflow import ir
from nasflow.ir.trace import source
from tests.conformance.reference import copy_weights, perturb, relative_error


def pixel(image: Tensor, x: float, y: float) -> Tensor:
    """Return a map (C, H, W) at a place between pixels; 0 outside."""
    left, top = math.floor(x), math.floor(y)
    found = torch.zeros(len(image), dtype=image.dtype)
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
            share = (1 - abs(x - column)) * (1 - abs(y - row))
            found += share * image[:, row, column]
    return found


def test_equation_2() -> None:
    heads, places, height, width = 2, 3, 3, 4
    queries = height * width
    shapes = ((6, height, width), (queries, heads * places * 2), (queries, heads * places))
    axes = (("C", "H", "W"), ("L", "D"), ("L", "D"))
    inputs = [source(f"x{i}", axes[i], shapes[i], "float") for i in range(3)]
    graph = ir.Space(ir.DeformableAttention(heads)(*inputs), name="attention").bind({})
    torch.manual_seed(0)
    values, offsets, weights = (torch.randn(2, *shape, dtype=torch.float64) for shape in shapes)
    ours = graph.to_torch()(values, offsets, weights)
    expected = torch.zeros_like(ours)
    for n in range(2):
        for q in range(queries):
            for m in range(heads):
                own = values[n, 3 * m : 3 * m + 3]
                for k in range(places):
                    j = m * places + k
                    dx, dy = offsets[n, q, 2 * j : 2 * j + 2].tolist()
                    seen = pixel(own, q % width + dx, q // width + dy)
                    expected[n, q, 3 * m : 3 * m + 3] += weights[n, q, j] * seen
    assert relative_error(ours, expected) < 1e-12


def test_a_layer_is_that_of_transformers() -> None:
    side, settings = 4, {"size": 4, "patch": 1, "widths": (32,), "places": (4,), "depths": (1, 1)}
    space = nasflow.space("deformable_detr", classes=10, **settings)
    module: Any = space.bind({"width": 32, "places": 4, "mlp_ratio": 2, "depth": 1}).to_torch(
        seed=0
    )
    config = DeformableDetrConfig(
        d_model=32, encoder_attention_heads=8, encoder_n_points=4, num_feature_levels=1,
        encoder_ffn_dim=64, dropout=0.0, activation_dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    theirs: Any = modeling_deformable_detr.DeformableDetrEncoderLayer(config).eval()
    perturb(theirs)
    layer = module.layers[0].eval()
    copy_weights(layer, theirs, dict(names(layer, theirs)))
    x, position = torch.randn(2, side**2, 32), torch.randn(1, side**2, 32)
    centres = (torch.arange(side) + 0.5) / side
    y, x_ = torch.meshgrid(centres, centres, indexing="ij")
    reference = torch.stack((x_.flatten(), y.flatten()), dim=-1)[None, :, None].expand(
        2, -1, -1, -1
    )
    with torch.no_grad():
        expected = theirs(
            x,
            attention_mask=torch.ones(2, side**2, dtype=torch.bool),
            spatial_position_embeddings=position.expand(2, -1, -1),
            reference_points=reference,
            spatial_shapes=torch.tensor([[side, side]]),
            spatial_shapes_list=[(side, side)],
            level_start_index=torch.tensor([0]),
        )
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert relative_error(layer(x, position[0]), expected) < 1e-5


def names(ours: Any, theirs: Any) -> list[tuple[str, str]]:
    parts = {"attn.value": "value_proj", "attn.offsets": "sampling_offsets"}
    parts |= {"attn.weights": "attention_weights", "attn.proj": "output_proj"}
    parts |= {"norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"}
    parts |= {"fc1": "fc1", "fc2": "fc2"}
    have = list(theirs.state_dict())
    pairs = []
    for name in ours.state_dict():
        part, _, kind = name.rpartition(".")
        wanted = f"{parts[part]}.{kind}"
        pairs.append((name, next(other for other in have if other.endswith(wanted))))
    return pairs


def test_counts() -> None:
    graph = nasflow.model("deformable_detr_attention")
    d, hidden, tokens = 256, 1024, 196
    linear = 2 * d * d + d * (8 * 4 * 2) + d * (8 * 4) + 2 * d * hidden  # of one layer
    stem, head = 3 * 16 * 16 * d, 1000 * d
    assert graph.macs == 6 * tokens * linear + tokens * stem + head
    biases = 2 * d + 8 * 4 * 3 + hidden + d + 4 * d  # with the norms
    assert graph.params == 6 * (linear + biases) + stem + d + tokens * d + head + 1000
