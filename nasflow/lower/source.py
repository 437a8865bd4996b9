"""Write a graph as a Python module that needs nothing but PyTorch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from nasflow.ir.graph import Graph, Node
from nasflow.ir.types import Type
from nasflow.lower import names, syntax
from nasflow.lower.constructor import Constructor, FilledForm, filled_forms, signature_order
from nasflow.lower.family import Families, Family
from nasflow.lower.form import MISSING, Each, OpForm
from nasflow.lower.forward import Forward
from nasflow.lower.parameters import Parameter
from nasflow.lower.wrapping import wrap


def to_source(graph: Graph) -> str:
    """Return the network as the text of a standalone module, importing only torch.

    Its last class is the network and takes no arguments; the keys of its state dict are the paths
    of the graph's nodes (:func:`nasflow.lower.state_dict_names`).

    Raises:
        GraphError: a name or a value of the graph cannot stand in source.
    """
    return write(graph)[0]


def write(graph: Graph) -> tuple[str, str]:
    """Return the network's source and the name of its class."""
    found = Families(graph)
    classes = list(found.support)
    for family in found.written:
        lines = _class(family, found)
        classes.append("\n".join(lines))
    body = "\n\n\n".join(classes)
    header = "\n".join((_docstring(graph, found.families[-1].name), "", *_imports(body)))
    return f"{header}\n\n\n{body}\n", found.families[-1].name


def _docstring(graph: Graph, name: str) -> str:
    inputs = ", ".join(_sizes(kind) for kind in graph.inputs)
    outputs = ", ".join(_sizes(kind) for kind in graph.outputs)
    return (
        f'"""{name}: {inputs} to {outputs} for each sample.\n\n'
        f'{graph.params:,} parameters, {graph.macs:,} multiply-adds.\n"""'
    )


def _imports(body: str) -> Iterator[str]:
    uses = {name for name in ("math", "torch", "F") if re.search(rf"(?<![\w.]){name}\.", body)}
    if "math" in uses:
        yield "import math"
        yield ""
    if "torch" in uses:
        yield "import torch"
    if "F" in uses:
        yield "import torch.nn.functional as F"
    yield "from torch import Tensor, nn"


def _sizes(kind: Type) -> str:
    return f"({', '.join(map(str, kind.shape))})"


def _axes(types: Sequence[Type]) -> str:
    """Return the axes of values, equal neighbours counted: ``2 x (N, C, H, W)``."""
    texts = [f"({', '.join((['N'] if kind.batched else []) + list(kind.axes))})" for kind in types]
    runs = [(text, len(list(run))) for text, run in groupby(texts)]
    return ", ".join(text if count == 1 else f"{count} x {text}" for text, count in runs)


def _class(family: Family, found: Families) -> Iterator[str]:
    graph, families = family.template, found.families
    forms = filled_forms(family, families)
    forward = Forward(family, forms, families, found.functions, is_root=family is families[-1])
    body = list(forward.lines())
    constructor = Constructor(family, families)
    kept = list(_kept(family, graph, forms, constructor, forward.used))
    yield f"class {family.name}(nn.Module):"
    shapes = f"{_axes(graph.inputs) or 'nothing'} to {_axes(graph.outputs)}"
    yield f'    """{family.name}: {shapes}."""'
    yield ""
    if kept or family.parameters:
        yield from _signature(family.parameters)
        yield "        super().__init__()"
        for line in kept:
            yield from wrap(line, 8)
        yield ""
    arguments = ", ".join(["self", *(f"{name}: Tensor" for name in forward.arguments)])
    yield from wrap(f"def forward({arguments}) -> {forward.result}:", 4)
    for line in body:
        inner = len(line) - len(line.lstrip())
        yield from wrap(line.lstrip(), 8 + inner)


def _kept(
    family: Family,
    graph: Graph,
    forms: Sequence[FilledForm],
    constructor: Constructor,
    used: set[int],
) -> Iterator[str]:
    for i in sorted(used):
        name = family.parameters[i].name
        yield f"self.{name} = {name}"
    owners = {id(node) for node in graph.owners}
    for node, filled in zip(graph.nodes, forms, strict=True):
        if id(node) not in owners:
            continue
        yield from _keep(node, filled, constructor)


def _keep(node: Node, filled: FilledForm, constructor: Constructor) -> Iterator[str]:
    attribute = names.attribute(node.weights)
    callee = filled.form.callee if isinstance(filled.form, OpForm) else ""
    if callee in ("parameter", "buffer"):
        empty = syntax.call(syntax.dotted("torch.empty"), constructor.shape(filled))
        if callee == "parameter":
            held = syntax.call(syntax.dotted("nn.Parameter"), [empty])
            yield f"self.{attribute} = {syntax.write(held)}"
        else:
            yield f'self.register_buffer("{attribute}", {syntax.write(empty)})'
        return
    built = constructor.build(filled)
    if built is not None:
        yield f"self.{attribute} = {syntax.write(built)}"


def _signature(parameters: Sequence[Parameter]) -> Iterator[str]:
    arguments = ["self"]
    for i in signature_order(parameters):
        parameter = parameters[i]
        text = f"{parameter.name}: {_annotation(parameter.values)}"
        if parameter.default is not MISSING:
            text += f" = {syntax.write(syntax.literal(parameter.default))}"
        arguments.append(text)
    yield from wrap(f"def __init__({', '.join(arguments)}) -> None:", 4)


def _annotation(values: Sequence[Any]) -> str:
    kinds = dict.fromkeys(_kind(value) for value in values)
    if "float" in kinds:
        kinds.pop("int", None)
    ordered = [kind for kind in kinds if kind != "None"] + (["None"] if "None" in kinds else [])
    return " | ".join(ordered)


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if not isinstance(value, tuple):
        return type(value).__name__
    inner = list(dict.fromkeys(_kind(item) for item in value))
    if len(inner) == 1 and (isinstance(value, Each) or len(value) > 4):
        return f"tuple[{inner[0]}, ...]"
    return f"tuple[{', '.join(_kind(item) for item in value)}]" if value else "tuple[()]"
