"""Deformable attention: each query looks at a few places around it, which it names itself.

Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection", ICLR 2021
(arXiv 2010.04159), section 4.1 and appendix A.4. Here encoder layers read an image cut into patches,
so that they can be trained by themselves; the queries are the pixels of one map.
"""

from __future__ import annotations

import math

from nasflow import ir

HEADS = 8


def space(
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    patch: int = 16,
    widths: tuple[int, ...] = (128, 256),
    places: tuple[int, ...] = (1, 2, 4, 8),
    depths: tuple[int, int] = (1, 6),
) -> ir.Space:
    """Return the space of encoders with deformable attention for square images of ``size`` pixels.

    ``places`` are how many each head looks at.
    """
    width = ir.choice("width", *widths, ordered=True)
    count = ir.choice("places", *places, ordered=True)
    ratio = ir.choice("mlp_ratio", 2, 4, ordered=True)
    start = ir.table(count, {k: ("values", *ring(k)) for k in places})

    x = ir.image(channels, size)
    x = ir.Conv2d(width, patch, patch, padding=0, init="torch")(x, name="patch_embed")
    side = x.dim("H")
    x = ir.Rearrange("c h w -> L=(h w) D=c")(x, name="tokens")
    table = ir.Parameter(
        ("L", "D"), (x.dim("L"), width), ("normal", 1.0), ("interpolate", "prefix")
    )
    position = table(name="position")

    def layer(x: ir.Value, position: ir.Value) -> tuple[ir.Value, ir.Value]:
        return encoder_layer(x, position, side, count, start, ratio * width), position

    x, _ = ir.repeat(layer, ir.integer("depth", *depths), name="layers")(x, position)
    x = ir.Mean(("L",))(x, name="pool")
    return ir.Space(ir.Linear(classes)(x, name="head"), name="deformable_detr")


def ring(places: int, maps: int = 1) -> list[float]:
    """Return where heads look first: each its own way, place k as far as k steps (appendix A.4)."""
    found = []
    for head in range(HEADS):
        x, y = math.cos(2 * math.pi * head / HEADS), math.sin(2 * math.pi * head / HEADS)
        longest = max(abs(x), abs(y))
        found += [c / longest * k for k in range(1, places + 1) for c in (x, y)] * maps
    return found


@ir.block
def encoder_layer(
    x: ir.Value,
    position: ir.Value,
    side: ir.Operand,
    places: ir.Operand,
    start: ir.Operand,
    hidden: ir.Operand,
) -> ir.Value:
    y = deformable_attention(x, ir.Add()(x, position), side, places, start, name="attn")
    return transformed(ir.LayerNorm()(ir.Add()(x, y), name="norm1"), hidden, "norm2")


def transformed(x: ir.Value, hidden: ir.Operand, norm: str) -> ir.Value:
    """Transform each token on its own, add, and normalise: (L, D) -> the same."""
    y = ir.Activation("relu")(ir.Linear(hidden, init="xavier_uniform")(x, name="fc1"))
    y = ir.Linear(x.dim("D"), init="xavier_uniform")(y, name="fc2")
    return ir.LayerNorm()(ir.Add()(x, y), name=norm)


@ir.block
def deformable_attention(
    x: ir.Value, query: ir.Value, side: ir.Operand, places: ir.Operand, start: ir.Operand
) -> ir.Value:
    """Let each query sum what its heads see at the places it names: (L, D) -> the same. Equation 2."""
    width, looks = x.dim("D"), HEADS * places
    values = ir.Linear(width, init="xavier_uniform")(x, name="value")
    values = ir.Rearrange("(h w) d -> C=d h w", (("h", side),))(values, name="map")
    factors = (HEADS, places, 2)
    offsets = ir.Linear(2 * looks, init="zeros", bias_init=start, factors=factors)
    weights = shares(query, looks, (HEADS, places))
    seen = ir.DeformableAttention(HEADS)(values, offsets(query, name="offsets"), weights)
    return ir.Linear(width, init="xavier_uniform")(seen, name="proj")


def shares(query: ir.Value, looks: ir.Operand, factors: tuple[ir.Operand, ...]) -> ir.Value:
    """Return how much each place that a query looks at counts, 1 for each head in all: (L, looks)."""
    weights = ir.Linear(looks, init="zeros", factors=factors)(query, name="weights")
    weights = ir.Rearrange("l (m k) -> l M=m K=k", (("m", HEADS),))(weights)
    return ir.Rearrange("l m k -> l D=(m k)")(ir.Softmax("K")(weights))


MODELS: dict[str, ir.Model] = {
    "deformable_detr_attention": ir.Model(
        {"width": 256, "places": 4, "mlp_ratio": 4, "depth": 6},
        {},
        "Zhu et al. (2021), section 4.1 and appendix A.4",
        note="the paper's encoder layers (8 heads of 4 places) on one map of patches, not its detector",
    ),
}
