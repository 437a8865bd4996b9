"""GPT: a decoder-only transformer that gives, at each place, a logit for every next token.

Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3 (GPT-2);
Brown et al., "Language Models are Few-Shot Learners", NeurIPS 2020 (arXiv 2005.14165), section 2.1
and table 2.1 (GPT-3, the same network, wider and deeper). The input is ids of a fixed length.
"""

from __future__ import annotations

from nasflow import ir
from nasflow.ir.blocks import residual


def space(
    vocabulary: int = 50_257,
    context: int = 1024,
    heads: tuple[int, ...] = (12, 16, 20, 25),
    depths: tuple[int, int] = (12, 48),
    head_widths: tuple[int, ...] = (64,),
    dropout: float = 0.1,
) -> ir.Space:
    """Return the space of decoders over ``context`` tokens; the width is heads x head_width.

    The table of the tokens also gives the logits. Branches start smaller the deeper the network is
    (Radford et al., section 2.3).
    """
    count = ir.choice("heads", *heads, ordered=True)
    head_width = ir.choice("head_width", *head_widths, ordered=True)
    depth = ir.integer("depth", *depths)
    width = count * head_width
    branch_init = ("normal", 0.02 / (2 * depth) ** 0.5)

    def block(x: ir.Value) -> ir.Value:
        y = ir.LayerNorm()(x, name="norm1")
        y = causal_attention(y, count, head_width, branch_init, name="attn")
        x = residual(x, ir.Dropout(dropout)(y, name="attn_dropout"))
        y = feed_forward(ir.LayerNorm()(x, name="norm2"), branch_init, name="mlp")
        return residual(x, ir.Dropout(dropout)(y, name="mlp_dropout"))

    ids = ir.ids(context, "tokens")
    table = ir.Parameter(("V", "D"), (vocabulary, width), ("normal", 0.02))(name="token_table")
    positions = ir.Parameter(("L", "D"), (context, width), ("normal", 0.02))(name="position_table")
    x = ir.Add()(ir.Embedding(vocabulary, width)(ids, table), positions)
    x = ir.repeat(block, depth)(ir.Dropout(dropout)(x))
    x = ir.LayerNorm()(x, name="norm")
    return ir.Space(ir.Matmul(transpose=True)(x, table, name="logits"), name="gpt")


def linear(
    x: ir.Value, out: ir.Operand, name: str, init: ir.Operand = ("normal", 0.02)
) -> ir.Value:
    return ir.Linear(out, init=init)(x, name=name)


@ir.block
def causal_attention(
    x: ir.Value, heads: ir.Operand, head_width: ir.Operand, init: ir.Operand
) -> ir.Value:
    """Let each place attend to itself and to earlier ones."""
    factors = (3, heads, head_width)
    qkv = ir.Linear(3 * x.dim("D"), init=("normal", 0.02), factors=factors)(x, name="qkv")
    split = ir.Rearrange("l (p h d) -> p h l d", (("p", 3), ("h", heads)))(qkv, name="heads")
    y = ir.Attention(causal=True)(*ir.Unbind("P", 3)(split))
    return linear(ir.Rearrange("h l d -> l D=(h d)")(y, name="merge"), x.dim("D"), "proj", init)


@ir.block
def feed_forward(x: ir.Value, init: ir.Operand) -> ir.Value:
    y = ir.Activation("gelu_tanh")(linear(x, 4 * x.dim("D"), "inner"))
    return linear(y, x.dim("D"), "outer", init)


def _gpt2(heads: int, depth: int) -> ir.Model:
    point = {"heads": heads, "head_width": 64, "depth": depth}
    return ir.Model(point, {}, "Radford et al. (2019), table 2")


MODELS: dict[str, ir.Model] = {
    "gpt2": _gpt2(heads=12, depth=12),
    "gpt2_medium": _gpt2(heads=16, depth=24),
    "gpt2_large": _gpt2(heads=20, depth=36),
    "gpt2_xl": _gpt2(heads=25, depth=48),
    "gpt3_175b": ir.Model(
        {"heads": 96, "head_width": 128, "depth": 96},
        {"context": 2048, "heads": (96,), "head_widths": (128,), "depths": (1, 96)},
        "Brown et al. (2020), table 2.1",
        note="every layer attends to all earlier tokens; in the paper every second one to a band of "
        "them, so that the MACs are an upper bound",
    ),
}
