"""Every operation: what it declares is what PyTorch makes of its source."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nasflow import ir
from nasflow.ir.operation import OPERATIONS
from nasflow.lower import to_torch

MAP = ir.Type(("C", "H", "W"), (4, 9, 7))
TOKENS = ir.Type(("L", "D"), (6, 8))
HEADS = ir.Type(("H", "L", "D"), (2, 6, 4))
WINDOWS = ir.Type(("W", "H", "L", "D"), (3, 2, 6, 4))
IDS = ir.Type(("L",), (5,), "int")
VIDEO = ir.Type(("C", "T", "H", "W"), (4, 5, 6, 6))

EXAMPLES: dict[str, list[tuple[tuple[object, ...], tuple[ir.Type, ...]]]] = {
    "Activation": [((form,), (MAP,)) for form in ("relu", "gelu_tanh", "squared_relu")],
    "AdaptiveAvgPool": [((2,), (MAP,)), ((4,), (MAP,))],
    "Add": [((), (MAP, MAP)), ((), (MAP, MAP.resize(H=1, W=1)))],
    "Affine": [((), (TOKENS,))],
    "Attention": [
        ((), (HEADS, HEADS, HEADS)),
        ((0.1, True, 0.1), (HEADS, HEADS, HEADS)),
        ((), (WINDOWS, WINDOWS, WINDOWS, ir.Type(("H", "L", "S"), (2, 6, 6), batched=False))),
        ((None, False, 0.1), (HEADS, HEADS, HEADS.resize(D=3))),
        ((), (HEADS, HEADS.resize(L=300), HEADS.resize(L=300, D=3))),
    ],
    "Auxiliary": [((), (ir.Type(("D",), (3,)),) * count) for count in (2, 3)],
    "AvgPool": [((3,), (MAP,)), ((2, 2, 0, True, True), (MAP,)), ((3, 2), (VIDEO,))],
    "BatchNorm": [
        ((), (MAP,)),
        ((1e-3, 0.01, False), (VIDEO,)),
        *(
            ((), (kind,))
            for kind in (ir.Type(("C",), (4,)), ir.Type(("D",), (4,)), TOKENS, WINDOWS)
        ),
    ],
    "Cluster": [
        (
            (),
            (
                HEADS,
                HEADS.resize(D=3),
                HEADS.resize(L=5),
                HEADS.resize(L=5, D=3),
                ir.Type(("A",), (1,), batched=False),
                ir.Type(("A",), (1,), batched=False),
            ),
        )
    ],
    "Concat": [((), (MAP, MAP)), (("L",), (TOKENS.resize(L=1), TOKENS))],
    "ConvEach": [((2, 6, 3), (MAP, MAP.resize(H=5, W=4))), ((1, 6), (MAP,))],
    "Conv1d": [((8, 3, 2), (ir.Type(("C", "L"), (4, 9)),))],
    "Conv2d": [
        ((8, 3, 2), (MAP,)),
        ((4, (1, 7), 1, "half", 1, 4, False), (MAP,)),
        ((8, 3, 1, 2, 2, 2), (MAP,)),
    ],
    "ClippedOffsets": [((3, 2), ()), ((3, 1, "W"), ())],
    "Conv3d": [((8, (1, 3, 3), (1, 2, 2)), (VIDEO,))],
    "Coordinates": [((5, 7), ())],
    "DeformableConv2d": [
        ((8,), (MAP, MAP.resize(C=18))),
        ((8, (1, 3), 2, 1, 2, 1, False), (MAP, MAP.resize(C=6, H=6, W=3))),
    ],
    "DeformableAttention": [
        (
            (2,),
            (
                ir.Type(("C", "H", "W"), (4, 3, 2)),
                ir.Type(("L", "D"), (6, 12)),
                ir.Type(("L", "D"), (6, 6)),
            ),
        )
    ],
    "Detach": [((), (MAP,))],
    "DropPath": [((0.2, True), (MAP,))],
    "Dropout": [((0.2,), (MAP,))],
    "Embedding": [((20, 8), (IDS,)), ((20, 8), (IDS, ir.Type(("V", "D"), (20, 8), batched=False)))],
    "Expand": [(("H", 3), (MAP.resize(H=1),))],
    "Flatten": [((), (MAP,))],
    "Gather": [((), (TOKENS, ir.Type(("L", "K"), (5, 3), "int")))],
    "GroupNorm": [((2,), (MAP,))],
    "KeepTokens": [((3,), (TOKENS, ir.Type(("L",), (5,))))],
    "TopK": [((3,), (ir.Type(("L",), (6,)),))],
    "LayerNorm": [((), (TOKENS,)), ((1e-6, True), (MAP,))],
    "LinearAttention": [((), (TOKENS, TOKENS.resize(L=5), TOKENS.resize(L=5, D=3)))],
    "Linear": [((16,), (TOKENS,)), ((24, False, "torch", None, (3, 2, 4)), (TOKENS,))],
    "LocalResponseNorm": [((3,), (MAP,))],
    "Lookup": [
        (
            (),
            (
                ir.Type(("L", "S"), (3, 4), "int", batched=False),
                ir.Type(("H", "V"), (2, 5), batched=False),
            ),
        )
    ],
    "Matmul": [
        ((), (HEADS, HEADS.resize(L=4, D=6))),
        ((True,), (HEADS, HEADS)),
        ((True,), (HEADS, ir.Type(("H", "L", "D"), (2, 5, 4), batched=False))),
        ((), (TOKENS, ir.Type(("H", "L", "D"), (2, 8, 5), batched=False))),
    ],
    "Max": [(("H",), (MAP,)), (("C", True), (MAP,))],
    "MaxPool": [((3,), (MAP,)), ((3, 2, 0, True), (MAP,))],
    "Mean": [((), (MAP,)), ((("T",), True), (VIDEO,))],
    "MultiscaleDeformableAttention": [
        (
            (2, ((2, 2), (1, 2))),
            tuple(ir.Type(("L", "D"), shape) for shape in ((6, 8), (5, where), (5, 24), (5, 12))),
        )
        for where in (2, 4)
    ],
    "Multiply": [((), (MAP, MAP.resize(C=1)))],
    "NearestNeighbours": [((2, 2), (TOKENS,))],
    "Pad": [(((1, 2, 0, 1),), (MAP,)), (((1, 1), -1.0), (TOKENS,))],
    "PairDistances": [((3,), ()), ((5, 2), ())],
    "Parameter": [
        ((("L", "D"), (3, 4)), ()),
        ((("D",), (4,), "ones", "prefix", False), ()),
        ((("D",), (4,), "ones", "prefix", True, (1, 3)), ()),
    ],
    "PixelAnchors": [((((2, 3), (1, 2)), 0.1), ())],
    "PixelPlaces": [((((2, 3), (1, 2)),), ()), ((((2, 3),), 1.0), ())],
    "RandomFeatures": [((3,), (TOKENS,))],
    "Rearrange": [
        (("c (h p) w -> L=(h w) D=(c p)", (("p", 3),)), (MAP,)),
        (("l (h d) -> h l d", (("h", 2),)), (TOKENS,)),
    ],
    "RefineBoxes": [
        (
            ((0.1, 0.1, 0.2, 0.2), (32, 40)),
            tuple(ir.Type(("R", "D"), (3, width)) for width in (4, 8, 3)),
        )
    ],
    "RelativePositions": [((3,), ())],
    "RelativeScores": [((), (WINDOWS.resize(L=4, D=7),) * 2), ((), (HEADS.resize(L=1, D=3),) * 2)],
    "Resize": [((5, 3), (MAP,)), ((12, 12, True), (MAP,))],
    "RoIAlign": [((3, (4, 8)), (ir.Type(("R", "D"), (5, 4)), MAP, MAP.resize(H=5, W=4)))],
    "Roll": [(((-1, 2), ("H", "W")), (MAP,))],
    "Scale": [((0.5,), (MAP,))],
    "Shake": [((), (MAP, MAP))],
    "ShiftedWindowMask": [((6, 6, 3, 1), ())],
    "SinusoidalFeatures": [((4,), (TOKENS,)), ((6, 20.0), (TOKENS,))],
    "SinusoidalPositions": [((6, 8), ())],
    "SampleTokens": [
        ((3,), (HEADS.resize(D=6), HEADS)),
        ((3,), (HEADS.resize(D=6), HEADS, ir.Type(("L",), (6,)))),
    ],
    "Slice": [(("C", 1, 3), (MAP,)), (("L", 0, 1, True), (TOKENS,))],
    "Softmax": [((), (TOKENS,))],
    "Split": [((2,), (MAP,)), (((1, 3),), (MAP,))],
    "StandardisedConv2d": [
        ((8, 3, 2, "half", 1, 2, False), (MAP,)),
        ((8, 3, 1, "same", 1, 1, True, "kaiming_normal_fan_in", 1e-4, 0.5), (MAP,)),
    ],
    "Subsample": [((), (MAP,)), ((2, 1), (MAP,)), ((3,), (ir.Type(("H", "W", "D"), (5, 7, 4)),))],
    "Subtract": [((), (MAP, MAP))],
    "TakeTokens": [
        ((), (TOKENS, ir.Type(("L",), (3,), "int"))),
        ((), (HEADS, ir.Type(("L",), (3,), "int"))),
    ],
    "Unfold": [((3, 2, 1), (MAP,)), ((2,), (MAP,))],
    "Upsample": [((2, "bilinear", True), (MAP,)), ((3,), (MAP,))],
    "Unbind": [(("H", 2), (HEADS,))],
}
"""For each operation some (attributes, input types)."""

CASES = [(name, *example) for name, examples in EXAMPLES.items() for example in examples]


def sample(kind: ir.Type, device: str) -> Tensor:
    shape = (2, *kind.shape) if kind.batched else kind.shape
    if kind.dtype == "int":
        return torch.randint(5, shape, device=device)
    return torch.randn(shape, device=device)


def network(name: str, attributes: tuple[object, ...], types: tuple[ir.Type, ...]) -> ir.Graph:
    """Return a network of nothing but one operation."""
    made = ir.Applied(OPERATIONS[name](*attributes), types)
    node = ir.Node("only", made, tuple(range(len(types))), "only")
    results = range(len(types), len(types) + len(made.outputs))
    return ir.Graph("net", types, [node], list(results))


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("name", "attributes", "types"), CASES)
def test_declared_is_real(
    name: str, attributes: tuple[object, ...], types: tuple[ir.Type, ...], device: str
) -> None:
    graph = network(name, attributes, types)
    module = to_torch(graph, device=device).eval()
    assert sum(p.numel() for p in module.parameters()) == graph.params
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = module(*(sample(kind, device) for kind in types))
    found = found if isinstance(found, tuple) else (found,)
    kinds = {"float": torch.float32, "int": torch.int64}
    for value, kind in zip(found, graph.outputs, strict=True):
        assert tuple(value.shape) == ((2, *kind.shape) if kind.batched else kind.shape)
        assert value.dtype == kinds[kind.dtype]
    if device == "meta":
        assert counter.get_total_flops() == 2 * 2 * graph.macs  # two samples


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize(
    ("first", "second"),
    list(itertools.product(itertools.product((False, True), repeat=2), repeat=2)),
)
def test_products_meet_by_axes_whatever_is_batched(
    first: tuple[bool, bool], second: tuple[bool, bool], transpose: bool
) -> None:
    count = 2  # samples, and as many heads: what is taken for the other gives no error
    kinds, values, whole = [], [], []
    for (batched, led), shape in ((first, (3, 4)), (second, (5, 4) if transpose else (4, 5))):
        lead = (count,) * led
        kinds.append(ir.Type(("H",) * led + ("L", "D"), (*lead, *shape), batched=batched))
        values.append(sample(kinds[-1], "cpu"))
        own = values[-1].view((count if batched else 1, count if led else 1, *shape))
        whole.append(own.expand(count, count, *shape))
    expected = whole[0] @ (whole[1].transpose(-2, -1) if transpose else whole[1])
    graph = network("Matmul", (transpose,), tuple(kinds))
    expected = expected if first[1] or second[1] else expected[:, 0]
    expected = expected if first[0] or second[0] else expected[0]
    torch.testing.assert_close(to_torch(graph)(*values), expected)


def test_every_operation_has_an_example() -> None:
    declared = {name for name, cls in OPERATIONS.items() if cls.__module__.startswith("nasflow.")}
    assert declared == set(EXAMPLES)
