"""Transformer: an encoder reads one sequence of tokens, a decoder writes another.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017 (arXiv 1706.03762), section 3 and table 3.
Both inputs are ids of a fixed length, without padding; the output has a logit for each token of the
vocabulary at each place of the target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nasflow import ir

Branch = Callable[[ir.Value, str], ir.Value]


def space(
    vocabulary: int = 37_000,
    source: int = 128,
    target: int = 128,
    widths: tuple[int, ...] = (256, 512, 1024),
    depths: tuple[int, int] = (1, 6),
    dropout: float = 0.1,
) -> ir.Space:
    """Return the space of encoder-decoders over ``source`` and ``target`` tokens.

    ``tied`` uses one table for both embeddings and the logits (section 3.4). ``norm`` stands after
    the residual addition, as published, or before the branch. ``final_norm`` also normalises what
    encoder and decoder give, as torch.nn.Transformer does.
    """
    width = ir.choice("width", *widths, ordered=True)
    heads = ir.choice("heads", 4, 8, 16, ordered=True)
    ratio = ir.choice("mlp_ratio", 2, 4, ordered=True)
    norm = ir.choice("norm", "after", "before")
    tied = ir.choice("tied", True, False)
    final_norm = ir.choice("final_norm", False, True, searched=False, default=True)
    encoder_depth = ir.integer("encoder_depth", *depths)
    decoder_depth = ir.integer("decoder_depth", *depths)
    layer = Layer(heads, ratio * width, norm, dropout)

    read, write = ir.ids(source, "source"), ir.ids(target, "target")
    tables = [
        ir.Parameter(("V", "D"), (vocabulary, width), ("normal", width**-0.5))(name=name)
        for name in ("embedding", "target_embedding", "logit_weights")
    ]
    input_table, output_table, logit_table = (
        ir.pick(ir.where(tied, 0, i), tables[: i + 1]) for i in range(3)
    )
    x = embed(read, input_table, dropout)
    memory = ir.repeat(lambda x: encoder_layer(x, layer), encoder_depth, name="encoder")(x)
    memory = ir.when(final_norm, ir.LayerNorm(), same)(memory, name="encoder_norm")
    x = embed(write, output_table, dropout)
    x = ir.repeat(lambda x: decoder_layer(x, memory, layer), decoder_depth, name="decoder")(x)
    x = ir.when(final_norm, ir.LayerNorm(), same)(x, name="decoder_norm")
    return ir.Space(ir.Matmul(transpose=True)(x, logit_table, name="logits"), name="transformer")


def same(x: ir.Value) -> ir.Value:
    return x


def embed(ids: ir.Value, table: ir.Value, dropout: float) -> ir.Value:
    """Look tokens up, scale by the root of the width and add sinusoidal positions."""
    width = table.dim("D")
    x = ir.Scale(width**0.5)(ir.Embedding(table.dim("V"), width)(ids, table))
    x = ir.Add()(x, ir.SinusoidalPositions(ids.dim("L"), width)())
    return ir.Dropout(dropout)(x)


def linear(x: ir.Value, out: ir.Operand, name: str) -> ir.Value:
    return ir.Linear(out, init="xavier_uniform")(x, name=name)


@ir.block
def multi_head_attention(
    x: ir.Value, memory: ir.Value, heads: ir.Operand, causal: bool = False
) -> ir.Value:
    """Let each place of ``x`` attend to all of ``memory``, or to earlier places if ``causal``."""
    width = x.dim("D")
    values = {"query": x, "key": memory, "value": memory}
    split = ir.Rearrange("l (h d) -> h l d", (("h", heads),))
    parts = [split(linear(value, width, name)) for name, value in values.items()]
    y = ir.Attention(causal=causal)(*parts)
    return linear(ir.Rearrange("h l d -> l D=(h d)")(y), width, "out")


@ir.block
def feed_forward(x: ir.Value, hidden: ir.Operand) -> ir.Value:
    return linear(ir.Activation("relu")(linear(x, hidden, "inner")), x.dim("D"), "outer")


@dataclass(frozen=True)
class Layer:
    """What the layers of encoder and decoder have in common; ``norm``: after or before."""

    heads: ir.Operand
    hidden: ir.Operand
    norm: ir.Decision
    dropout: float

    def attention(self, x: ir.Value, name: str, memory: ir.Value | None = None) -> ir.Value:
        """Add attention to ``memory``, or without it to ``x`` itself."""

        def attend(x: ir.Value, name: str) -> ir.Value:
            causal = name == "masked_attention"
            return multi_head_attention(x, memory or x, self.heads, causal, name=name)

        return self._add(x, name, attend)

    def feed_forward(self, x: ir.Value) -> ir.Value:
        return self._add(x, "mlp", lambda x, name: feed_forward(x, self.hidden, name=name))

    def _add(self, x: ir.Value, name: str, branch: Branch) -> ir.Value:
        """Add a branch to its input, with the layer norm before the branch or after the sum."""
        y = ir.when(self.norm == "before", ir.LayerNorm(), same)(x, name=f"{name}_pre_norm")
        x = ir.Add()(x, ir.Dropout(self.dropout)(branch(y, name), name=f"{name}_dropout"))
        return ir.when(self.norm == "after", ir.LayerNorm(), same)(x, name=f"{name}_norm")


@ir.block
def encoder_layer(x: ir.Value, layer: Layer) -> ir.Value:
    return layer.feed_forward(layer.attention(x, "attention"))


@ir.block
def decoder_layer(x: ir.Value, memory: ir.Value, layer: Layer) -> ir.Value:
    x = layer.attention(x, "masked_attention")
    return layer.feed_forward(layer.attention(x, "cross_attention", memory))


def _model(width: int, heads: int) -> ir.Model:
    point = {"width": width, "heads": heads, "mlp_ratio": 4, "norm": "after", "tied": True}
    point |= {"final_norm": True, "encoder_depth": 6, "decoder_depth": 6}
    note = "with the biases and final norms of torch.nn.Transformer; MACs for 128 + 128 tokens"
    return ir.Model(point, {}, "Vaswani et al. (2017), table 3", note=note)


MODELS: dict[str, ir.Model] = {"transformer_base": _model(width=512, heads=8)}
