"""Write a network as files that need nothing of nasflow.

    python -m nasflow export model=resnet50 to=resnet50
    python -m nasflow export run=outputs/... rank=1 to=best onnx=true

model.py (imports only torch), weights.safetensors (loads into it strictly; trained weights where the run kept them,
otherwise fresh ones), graph.json, a picture of each distinct block, model.onnx on request.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasflow.cli.files import named, target, write
from nasflow.cli.source import Found, found
from nasflow.errors import RunError

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig


def run(config: DictConfig) -> int:
    """Write the network to ``to=`` and print what was written."""
    from nasflow.cli.configuration import plain, whole

    plan = plain(config)
    folder = target(plan["to"])
    network = found(config)
    write_export(network, folder, seed=whole("seed", plan["seed"]), onnx=bool(plan["onnx"]))
    kind = "trained" if network.weights else "untrained"
    print(
        f"{network.name}: {network.graph.params:,} parameters ({kind}), {network.graph.macs:,} MACs"
    )
    for path in sorted(folder.iterdir()):
        print(f"wrote {named(path)}")
    return 0


def write_export(network: Found, folder: Path, *, seed: int = 0, onnx: bool = False) -> Path:
    """Write all files of a network into `folder` and return it; raises RunError where that is not possible."""
    from safetensors.torch import save

    from nasflow.lower import to_source
    from nasflow.report.picture import pictures

    graph = network.graph
    module = graph.to_torch(seed=seed)
    if network.weights:
        load_weights(module, network.weights)
    write(folder / "model.py", to_source(graph))
    state = {name: value.contiguous().clone() for name, value in module.state_dict().items()}
    write(folder / "weights.safetensors", save(state))
    write(folder / "graph.json", json.dumps(graph.to_json(), indent=1) + "\n")
    known = {"name": network.name, "point": network.point, "measures": network.measures}
    cost = {"fingerprint": graph.fingerprint, "params": graph.params, "macs": graph.macs}
    write(folder / "network.json", json.dumps({**known, **cost}, indent=1) + "\n")
    for name, svg in pictures(graph).items():
        write(folder / f"{name}.svg", svg)
    if onnx:
        _write_onnx(module, graph.inputs, folder / "model.onnx")
    return folder


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Load a safetensors file into a module, strictly; raises RunError where it does not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunError(
            f"{path}: does not hold this network's weights: {str(error).splitlines()[0]}"
        ) from error


def _write_onnx(module: Any, inputs: Any, path: Path) -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RunError(
            "model.onnx needs the extra nasflow[onnx]: pip install 'nasflow[onnx]'"
        ) from error
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    examples = tuple(
        torch.zeros(2, *kind.shape, dtype=torch.int64 if kind.dtype == "int" else torch.float32)
        for kind in inputs
    )
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} for _ in inputs)
    settings: dict[str, Any] = {"dynamo": True, "external_data": False, "verbose": False}
    # A fused kernel's result has strides of its own, on which the exporter relies and then fails (PyTorch 2.13).
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.simplefilter("ignore", FutureWarning)  # torch warns of its own functions
        torch.onnx.export(module.eval(), examples, path, dynamic_shapes=shapes, **settings)
