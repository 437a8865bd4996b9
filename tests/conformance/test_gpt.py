"""GPT against transformers' GPT-2."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import Tensor, nn

import nasflow
from tests.conformance.reference import assert_counts, assert_equal_outputs, parameters


class Reference(nn.Module):
    """transformers' GPT-2 without its heads, with maps stored as rows and the logits tied."""

    def __init__(self, heads: int, depth: int, vocabulary: int, context: int) -> None:
        super().__init__()
        self.model = transformers.GPT2Model(
            transformers.GPT2Config(
                vocab_size=vocabulary,
                n_positions=context,
                n_embd=64 * heads,
                n_layer=depth,
                n_head=heads,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
            )
        )

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids).last_hidden_state @ self.model.wte.weight.T

    def state_dict(self, *args, **kwargs) -> dict[str, Tensor]:  # type: ignore[no-untyped-def,override]
        found = super().state_dict(*args, **kwargs)
        maps = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")
        return {k: v.T if k.endswith(maps) else v for k, v in found.items()}


@pytest.mark.parametrize(("name", "heads", "depth"), [("gpt2", 12, 12), ("gpt2_xl", 25, 48)])
def test_counts(name: str, heads: int, depth: int) -> None:
    with torch.device("meta"):
        reference = Reference(heads, depth, 50_257, 1024)
    d, context = 64 * heads, 1024
    macs = depth * (12 * context * d * d + 2 * context * context * d) + context * d * 50_257
    assert_counts(nasflow.model(name), parameters(reference), macs)


def test_gpt3_has_175_billion_parameters() -> None:
    graph = nasflow.model("gpt3_175b")
    # Brown et al. (2020), table 2.1: 96 layers of width 12,288, 50,257 tokens, a context of 2,048.
    d = 12_288
    assert graph.params == 96 * (12 * d * d + 13 * d) + (50_257 + 2048) * d + 2 * d
    assert round(graph.params / 1e9) == 175


def test_outputs() -> None:
    space = nasflow.space("gpt", vocabulary=11, context=7, heads=(2, 3), depths=(1, 3), dropout=0.0)
    graph = space.bind({"heads": 3, "head_width": 64, "depth": 2})
    assert_equal_outputs(graph, Reference(3, 2, 11, 7))


def test_the_space_holds_what_it_should() -> None:
    assert nasflow.space("gpt", context=16, vocabulary=64).verify().size == 4 * 37
