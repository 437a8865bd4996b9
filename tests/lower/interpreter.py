"""Run a graph operation by operation: slow, plain, and independent of what is written for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasflow import ir
from nasflow.lower import names

TORCH = {"torch": torch, "F": F, "nn": nn, "Tensor": Tensor}


def run(graph: ir.Graph, state: Mapping[str, Tensor], *inputs: Tensor, path: str = "") -> list[Any]:
    """Return the graph's results in eval mode with the weights of a state dict."""
    values: list[Any] = list(inputs)
    for node in graph.nodes:
        part = node.weights if graph.kind == "repeat" else names.attribute(node.weights)
        here = f"{path}{part}"
        taken = [values[i] for i in node.inputs]
        if isinstance(node.content, ir.Graph):
            values += run(node.content, state, *taken, path=f"{here}.")
        else:
            made = operate(node.content, state, here, taken)
            values += made if isinstance(made, (tuple, list)) else [made]
    return [values[i] for i in graph.results]


def operate(content: ir.Applied, state: Mapping[str, Tensor], here: str, inputs: list[Any]) -> Any:
    """Return what an operation makes of its inputs."""
    source = content.op.source(*content.inputs)
    scope: dict[str, Any] = dict(TORCH)
    exec(content.op.support, scope)
    places = {str(i): f"inputs[{i}]" for i in range(len(inputs))}
    places["all"] = ", ".join(places.values())
    text = source.forward
    for key, value in source.constants.items():
        text = text.replace(f"{{{key}}}", repr(value))
    for key, value in places.items():
        text = text.replace(f"{{{key}}}", value)
    own = None
    if source.build is not None and source.build.callee in ("parameter", "buffer"):
        own = state[here]
    elif source.build is not None:
        own = build(source.build, scope)
        own.load_state_dict({w.name: state[f"{here}.{w.name}"] for w in content.weights})
    training = type("Eval", (), {"training": False})
    scope |= {"own": own, "inputs": inputs, "self": training}
    return eval(text.replace("{self}", "own"), scope)


def build(call: ir.Call, scope: Mapping[str, Any]) -> nn.Module:
    """Return the module that a call describes, in eval mode."""
    kind: Any = eval(call.callee, dict(scope))
    positional = [value for _, value in call.positional]
    module: nn.Module = kind(*positional, **{name: value for name, value, _ in call.keyword})
    return module.eval()
