"""Networks that choose how many tokens an image needs (ATS): what they cost as measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasflow.errors import DataError, GraphError
from nasflow.evaluate.modes import evaluating
from nasflow.ir.graph import Graph
from nasflow.ir.operation import applied
from nasflow.ir.ops.tokens import SampleTokens
from nasflow.ir.types import Type


@dataclass(frozen=True)
class TokenUse:
    """Hold what images took of a network that draws tokens.

    Attributes:
        tokens: for each drawing, in order, the mean number of tokens left, the class token too.
        most: what bounds these numbers: the size of the type.
        macs: mean multiply-adds of an image, its other tokens taken out.
        bound: multiply-adds if every image kept the most: what the graph counts.
    """

    tokens: tuple[float, ...]
    most: tuple[int, ...]
    macs: float
    bound: int


@torch.no_grad()
def token_use(graph: Graph, module: nn.Module, batches: Iterable[Tensor]) -> TokenUse:
    """Return how many tokens images keep in ``module``, and their multiply-adds.

    ``module`` is ``graph`` lowered; ``batches`` hold images as it takes them, (B, C, H, W). It is
    run in eval mode and left in the modes it had. A batch is run at the bound, with the tokens that
    an image does not need masked; counted is what each image needs when run on its own.
    Raises GraphError for a graph that draws no tokens, DataError for no images.
    """
    most = [node.content.outputs[0].shape[0] for _, node, _ in graph.walk() if _draws(node.content)]
    if not most:
        raise GraphError(
            f"{graph.name}: expected a network that draws tokens (SampleTokens), got none"
        )
    kept: list[Tensor] = []
    drawing = [part for part in module.modules() if type(part).__name__ == SampleTokens.__name__]
    hooks = [
        part.register_forward_hook(lambda _, __, out: kept.append(out[1] == 0)) for part in drawing
    ]
    counts: list[tuple[int, ...]] = []
    try:
        with evaluating(module):
            for images in batches:
                kept.clear()
                module(images)
                counts += zip(*(mask.sum(dim=-1).tolist() for mask in kept), strict=True)
    finally:
        for hook in hooks:
            hook.remove()
    if not counts:
        raise DataError("expected images to count the tokens of, got none")
    tokens = tuple(sum(column) / len(counts) for column in zip(*counts, strict=True))
    macs = sum(macs_at(graph, image) for image in counts) / len(counts)
    return TokenUse(tokens, tuple(most), macs, graph.macs)


def macs_at(graph: Graph, tokens: Sequence[int]) -> int:
    """Return the multiply-adds of an image that keeps these numbers of tokens, one for each drawing."""
    return _macs(graph, graph.inputs, iter(tokens))[0]


def _macs(
    graph: Graph, inputs: Sequence[Type], tokens: Iterator[int]
) -> tuple[int, tuple[Type, ...]]:
    """Return the multiply-adds and the types of the results at other types of the inputs."""
    types, total = list(inputs), 0
    for node in graph.nodes:
        taken = tuple(types[i] for i in node.inputs)
        if isinstance(node.content, Graph):
            macs, made = _macs(node.content, taken, tokens)
        else:
            op = node.content.op
            attributes = (next(tokens) - 1,) if _draws(node.content) else op.attributes()
            content = applied(type(op), attributes, taken)  # type: ignore[arg-type]
            macs, made = content.macs, content.outputs
        types += made
        total += macs
    return total, tuple(types[i] for i in graph.results)


def _draws(content: object) -> bool:
    return isinstance(getattr(content, "op", None), SampleTokens)
