"""The encoder-decoder against torch.nn.Transformer."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor, nn

import nasflow
from nasflow import ir
from tests.conformance.reference import assert_counts, copy_weights, perturb, relative_error

# Vaswani et al. (2017), table 3, prints 65 million. 44,140,544 are torch.nn.Transformer's at its
# defaults (the base model), the rest one table of 37,000 tokens.
NORM = re.compile("(_pre)?_norm$")
PARAMS, MACS = 44_140_544 + 37_000 * 512, 8_363_966_464


class Reference(nn.Module):
    """torch.nn.Transformer between a tied table and sinusoidal positions."""

    def __init__(
        self, vocabulary: int, width: int, heads: int, depth: int, norm_first: bool
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.transformer = nn.Transformer(
            width,
            heads,
            depth,
            depth,
            4 * width,
            dropout=0.0,
            batch_first=True,
            norm_first=norm_first,
        )

    def embed(self, ids: Tensor) -> Tensor:
        width = self.embedding.embedding_dim
        table = torch.zeros(ids.shape[1], width)
        for position in range(ids.shape[1]):
            for i in range(0, width, 2):
                angle = position / 10000 ** (i / width)
                table[position, i], table[position, i + 1] = math.sin(angle), math.cos(angle)
        return self.embedding(ids) * math.sqrt(width) + table

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        y = self.transformer(self.embed(source), self.embed(target), tgt_mask=mask)
        return y @ self.embedding.weight.T

    def separate(self) -> dict[str, Tensor]:
        """Return the state dict with queries, keys and values apart."""
        found: dict[str, Tensor] = {}
        for name, tensor in self.state_dict().items():
            if "in_proj" in name:
                parts = dict(zip("qkv", tensor.chunk(3), strict=True))
                found.update({f"{name}.{part}": value for part, value in parts.items()})
            else:
                found[name] = tensor
        return found


def theirs(name: str) -> str:
    """Return the reference's name of one of our weights."""
    if name == "embedding":
        return "embedding.weight"
    path, _, kind = name.rpartition(".")
    part, _, rest = path.partition(".")
    if part.endswith("_norm"):
        return f"transformer.{part.removesuffix('_norm')}.norm.{kind}"
    layer, _, module = rest.partition(".")
    prefix = f"transformer.{part}.layers.{layer}"
    owner, _, member = module.partition(".")
    if owner.endswith("_norm"):
        owners = ["masked_attention", "cross_attention", "mlp"]
        order = owners if part == "decoder" else ["attention", "mlp"]
        return f"{prefix}.norm{1 + order.index(NORM.sub('', owner))}.{kind}"
    if owner == "mlp":
        return f"{prefix}.linear{1 if member == 'inner' else 2}.{kind}"
    attention = f"{prefix}.{'multihead_attn' if owner == 'cross_attention' else 'self_attn'}"
    if member == "out":
        return f"{attention}.out_proj.{kind}"
    return f"{attention}.in_proj_{kind}.{member[0]}"


def small(norm: str, **settings: int) -> ir.Graph:
    space = nasflow.space(
        "transformer", vocabulary=50, source=7, target=5, dropout=0.0, widths=(32,)
    )
    point = {"width": 32, "heads": 4, "mlp_ratio": 4, "norm": norm, "tied": True}
    return space.bind(point | {"encoder_depth": 2, "decoder_depth": 2} | settings)


def test_counts() -> None:
    assert_counts(nasflow.model("transformer_base"), PARAMS, MACS)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("norm", ["after", "before"])
def test_outputs(norm: str) -> None:
    torch.manual_seed(0)
    graph = small(norm)
    reference = Reference(50, 32, 4, 2, norm_first=norm == "before")
    perturb(reference)
    module = graph.to_torch(seed=0)
    copy_weights(module, reference.separate(), {name: theirs(name) for name in module.state_dict()})
    source, target = torch.randint(50, (3, 7)), torch.randint(50, (3, 5))
    for mode in (False, True):
        module.train(mode)
        reference.train(mode)
        with torch.no_grad():
            assert relative_error(module(source, target), reference(source, target)) < 1e-5


def test_untied_tables_are_three() -> None:
    tied, untied = small("after"), small("after", tied=False)
    assert untied.params - tied.params == 2 * 50 * 32
    assert untied.macs == tied.macs
