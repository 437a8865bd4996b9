"""Operations on tokens: what they compute is what PyTorch computes, and bad types are refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nasflow import ir
from nasflow.errors import SpaceError, TypeRuleError
from nasflow.ir import trace


def source(*shape: int, axes: str = "WHLD") -> ir.Value:
    """Return an input of the last axes of ``axes``."""
    return trace.source(f"x{len(shape)}", tuple(axes[-len(shape) :]), shape, "float")


def run(output: ir.Value, *inputs: Tensor) -> Tensor:
    graph = ir.Space(output, name="net").bind({})
    result = graph.to_torch(seed=0)(*inputs)
    assert tuple(result.shape[1:]) == graph.outputs[0].shape
    return result


def image(*shape: int) -> Tensor:
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bias_shape", [(2, 5, 5), (4, 1, 5, 5), (4, 2, 5, 5), (1, 2, 5, 5)])
def test_attention_in_windows_takes_a_bias(bias_shape: tuple[int, ...]) -> None:
    x = image(4, 2, 5, 8)
    given = source(4, 2, 5, 8)
    axes = ("W", "H", "L", "S")[-len(bias_shape) :]
    bias = ir.Parameter(axes, bias_shape, ("normal", 1.0))(name="bias")
    graph = ir.Space(ir.Attention()(given, given, given, bias), name="net").bind({})
    module = graph.to_torch(seed=0)
    scores = x @ x.transpose(-2, -1) / 8**0.5 + dict(module.named_parameters())["bias"]
    assert torch.allclose(module(x), scores.softmax(-1) @ x, atol=1e-5)
    assert graph.macs == 4 * 2 * 5 * 5 * (8 + 8)


def test_attention_in_windows_of_frames() -> None:
    x = image(2, 3, 2, 5, 8)
    given = source(2, 3, 2, 5, 8, axes="TWHLD")
    expected = F.scaled_dot_product_attention(x, x, x, scale=0.5)
    assert torch.allclose(run(ir.Attention(scale=0.5)(given, given, given), x), expected, atol=1e-5)


def test_a_causal_query_sees_what_came_before() -> None:
    x = image(2, 5, 8)
    given = source(2, 5, 8)
    expected = F.scaled_dot_product_attention(x, x, x, is_causal=True)
    assert torch.allclose(run(ir.Attention(causal=True)(given, given, given), x), expected)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("keys", [6, 20_000])  # written out, and too many for that
def test_attention_to_values_of_another_width(keys: int, scale: float | None) -> None:
    q, k, v = image(2, 5, 8), image(2, keys, 8), image(2, keys, 3)
    inputs = [
        trace.source(f"x{i}", tuple("HLD"), t.shape[1:], "float") for i, t in enumerate((q, k, v))
    ]
    bias = ir.Parameter(("H", "L", "S"), (2, 5, 1), ("normal", 1.0))(name="bias")
    module = ir.Space(ir.Attention(scale)(*inputs, bias), name="net").bind({}).to_torch(seed=0)
    scores = q @ k.transpose(-2, -1) * (scale or 8**-0.5) + dict(module.named_parameters())["bias"]
    assert torch.allclose(module(q, k, v), scores.softmax(-1) @ v, atol=1e-5)


def test_lookup_gives_a_bias_for_each_head_and_pair() -> None:
    given = source(2, 4, 9, axes="HLS")
    table = ir.Parameter(("H", "V"), (2, 9), ("values", *range(18)))(name="table")
    found = ir.Lookup()(ir.PairDistances(3, 2)(), table)
    bias = run(ir.Add()(given, found), torch.zeros(1, 2, 4, 9))[0]
    assert bias[0, 0].tolist() == list(range(9))
    assert torch.equal(bias[1], bias[0] + 9)


def test_lookup_refuses_a_batch() -> None:
    table, ids = source(2, 9, axes="HV"), ir.PairDistances(3)()
    with pytest.raises(TypeRuleError, match="Lookup: expected a table without a batch"):
        ir.Space(ir.Lookup()(ids, table), name="net").bind({})


def test_batch_norm_of_tokens_is_over_the_batch_and_all_tokens() -> None:
    x = 3 * image(4, 5, 8) + 1
    module = ir.Space(ir.BatchNorm()(source(4, 5, 8)), name="net").bind({}).to_torch(seed=0)
    found = module.train()(x)
    assert torch.allclose(found.mean(dim=(0, 1, 2)), torch.zeros(8), atol=1e-5)
    assert torch.allclose(found.var(dim=(0, 1, 2), unbiased=False), torch.ones(8), atol=1e-3)
    (mean,) = (value for name, value in module.named_buffers() if name.endswith("running_mean"))
    assert torch.allclose(mean, 0.1 * x.mean(dim=(0, 1, 2)), atol=1e-5)


def test_attention_refuses_other_keys() -> None:
    given, other = source(2, 5, 8), source(5, 8)
    with pytest.raises(TypeRuleError, match="attention: Attention: expected a value for each key"):
        ir.Space(ir.Attention()(given, other, other), name="net").bind({})


def test_a_class_token_joins_every_sample() -> None:
    x, given = image(5, 8), source(5, 8)
    token = ir.Parameter(("L", "D"), (1, 8), "ones")(name="token")
    joined = run(ir.Concat("L")(token, given), x)
    assert torch.equal(joined, torch.cat([torch.ones(3, 1, 8), x], dim=1))


def test_unbind_and_expand() -> None:
    x = image(3, 1, 8)
    first, second, third = ir.Unbind("H", 3)(source(3, 1, 8))
    mixed = ir.Subtract()(ir.Expand("L", 4)(first), ir.Add()(second, third))
    assert torch.equal(run(mixed, x), (x[:, 0] - (x[:, 1] + x[:, 2])).expand(-1, 4, -1))


def test_unbind_knows_how_many_values_it_gives() -> None:
    with pytest.raises(SpaceError, match="cannot be open"):
        ir.Unbind("H", ir.choice("count", 1, 2))(source(2, 5, 8))
    with pytest.raises(TypeRuleError, match="expected 3 entries along H"):
        ir.Space(ir.Unbind("H", 3)(source(2, 5, 8))[0], name="net").bind({})


def test_neighbours_are_the_nearest_and_gathered_with_gradients() -> None:
    x = image(6, 8).requires_grad_()
    given = source(6, 8)
    near = ir.Gather()(given, ir.NearestNeighbours(2, dilation=2)(given))
    found = run(near, x)
    unit = F.normalize(x.detach(), dim=-1)
    order = torch.cdist(unit, unit).argsort(dim=-1)[..., [0, 2]]
    expected = torch.stack([sample[ids] for sample, ids in zip(x, order, strict=True)])
    assert torch.equal(found, expected)
    found.sum().backward()
    assert x.grad is not None and x.grad.sum() == 3 * 6 * 2 * 8


def test_more_neighbours_than_tokens_are_refused() -> None:
    with pytest.raises(TypeRuleError, match=r"up to the 6 tokens, got 4 \* 2"):
        ir.Space(ir.NearestNeighbours(4, 2)(source(6, 8)), name="net").bind({})


def test_relative_positions_number_differences() -> None:
    given = source(4, 4, axes="LS")
    numbers = ir.Parameter(("P", "H"), (9, 1), ("values", *range(9)))(name="numbers")
    rows = ir.Embedding(9, 1)(ir.RelativePositions(2)(), numbers)
    table = run(ir.Add()(given, ir.Rearrange("l s d -> l S=(s d)")(rows)), torch.zeros(1, 4, 4))[0]
    assert table.diagonal().tolist() == [4.0] * 4  # the middle row: no difference
    assert table[0].tolist() == [4.0, 3.0, 1.0, 0.0]  # one to the left, one up, both
    assert torch.equal(table + table.T, torch.full((4, 4), 8.0))


def test_relative_scores_read_steps_to_each_pixel() -> None:
    steps = torch.arange(5.0).expand(1, 4, 5)  # four queries, windows of three pixels a side
    x = source(4, 5, axes="LR")
    found = run(ir.RelativeScores()(ir.Scale(10.0)(x), x), steps)[0]
    assert found[0].tolist() == [22, 23, 24, 32, 33, 34, 42, 43, 44]  # step 2 is to its own place
    assert torch.equal(found[1], found[0] - 1) and torch.equal(found[2], found[0] - 10)


def test_pair_distances_number_absolute_differences() -> None:
    given = source(4, 9, axes="LS")
    numbers = ir.Parameter(("P", "H"), (9, 1), ("values", *range(9)))(name="numbers")
    rows = ir.Embedding(9, 1)(ir.PairDistances(3, 2)(), numbers)
    table = run(ir.Add()(given, ir.Rearrange("l s d -> l S=(s d)")(rows)), torch.zeros(1, 4, 9))[0]
    assert table[0].tolist() == list(range(9))  # from the first pixel: 3 dy + dx
    assert torch.equal(table[3], table[0].flip(0))  # from the last pixel


def test_clipped_offsets_keep_the_class_token_apart() -> None:
    for axis, first in (("H", [3, 3, 3, 4, 4, 4, 4, 4, 4]), ("W", [3, 4, 4, 3, 4, 4, 3, 4, 4])):
        given = source(10, 10, axes="LS")
        numbers = ir.Parameter(("P", "H"), (5, 1), ("values", *range(5)))(name="numbers")
        rows = ir.Embedding(5, 1)(ir.ClippedOffsets(3, 1, axis)(), numbers)
        summed = ir.Add()(given, ir.Rearrange("l s d -> l S=(s d)")(rows))
        table = run(summed, torch.zeros(1, 10, 10))[0].int()
        assert not table[0].any() and not table[:, 0].any()
        assert table[1, 1:].tolist() == [value - 1 for value in first]


def test_a_shifted_mask_keeps_strangers_apart() -> None:
    given = source(4, 1, 4, 4, axes="WHLS")
    mask = ir.ShiftedWindowMask(4, 4, side=2, shift=1)()
    apart = run(ir.Add()(given, mask), torch.zeros(1, 4, 1, 4, 4))[0, :, 0] == -100
    assert not apart[0].any()  # the first window was one before the shift
    assert apart[3].sum() == 12  # the last holds four corners of the image


def test_sinusoidal_positions_follow_the_paper() -> None:
    table = run(ir.Add()(source(5, 6), ir.SinusoidalPositions(5, 6)()), torch.zeros(1, 5, 6))[0]
    expected = torch.sin(torch.tensor(3 / 10000 ** (2 / 6)))
    assert torch.allclose(table[3, 2], expected)
    assert table[0].tolist() == [0.0, 1.0] * 3
