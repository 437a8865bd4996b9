"""Write and read a training's state: one safetensors file, no pickle, never half-written."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from nasflow.data import Dataset
from nasflow.errors import RunError
from nasflow.evaluate.recipe import Recipe
from nasflow.evaluate.training import Training

CHECKPOINT, WEIGHTS, RESULT = "checkpoint.safetensors", "weights.safetensors", "training.json"


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], notes: Mapping[str, Any]
) -> None:
    """Write ``tensors`` and ``notes`` (JSON) to ``path``; a crash leaves the old or the new."""
    # Tied weights share memory, which the format refuses; each name gets its own copy.
    apart = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    write_bytes(path, save(apart, metadata={"notes": json.dumps(notes)}))


def make_folder(path: Path) -> None:
    """Make a folder, and those it lies in, unless it is there; raise `RunError` if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot create the folder {path}: {error.strerror}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` durably: beside it first, then in one rename."""
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and notes of ``path``; raise `RunError` if it is damaged or foreign."""
    try:
        with safe_open(path, framework="pt") as stored:
            notes = json.loads((stored.metadata() or {}).get("notes", "{}"))
            return {name: stored.get_tensor(name) for name in stored.keys()}, notes  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path}: truncated, or not a safetensors file: {error}") from error


def identity_of(data: Dataset, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Return what, beside the network, must be equal for a training to be continued."""
    return {
        "data": data.name,
        "images": [len(data.train), len(data.validation), len(data.test)],
        "augment": dataclasses.asdict(data.augment),
        "seed": seed,
        "recipe": dataclasses.asdict(dataclasses.replace(recipe, time_limit=None)),
    }


def save_training(
    path: Path, training: Training, identity: Mapping[str, Any], notes: Mapping[str, Any]
) -> None:
    """Write all of ``training`` (weights, average, teacher, optimiser, epoch) to ``path``.

    Beside it go ``notes``, and the ``identity`` of the training: what must be equal to go on.
    """
    tensors = {f"module/{name}": value for name, value in training.module.state_dict().items()}
    if training.average:
        average = training.average.module.state_dict()
        tensors |= {f"average/{name}": value for name, value in average.items()}
    if training.teacher is not None:
        teacher = training.teacher.state_dict()
        tensors |= {f"teacher/{name}": value for name, value in teacher.items()}
    plain: dict[str, Any] = {}
    state = training.optimizer.state_dict()
    for index, slots in state["state"].items():
        for slot, value in slots.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{index}/{slot}"] = value
            else:
                plain[f"{index}/{slot}"] = value
    own = {"epoch": training.epoch, "groups": state["param_groups"], "plain": plain}
    write_tensors(path, tensors, {"training": own, "identity": identity, "notes": notes})


def load_training(path: Path, training: Training, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Put ``training`` (made the same way) into the state stored at ``path``; return its notes.

    Where there is no file the training stays as it is, without notes. Raises `RunError` if the file
    is damaged or belongs to a training of another identity, network or optimiser.
    """
    if not path.exists():
        return {}
    tensors, stored = read_tensors(path)
    before = stored.get("identity", {})
    for key, value in identity.items():
        if before.get(key) != value:
            raise RunError(
                f"{path} belongs to another training: its {key} is "
                f"{_short(before.get(key), value)}, "
                f"here {_short(value, before.get(key))}; choose another out=… or delete it"
            )
    try:
        own = stored["training"]
        slots: dict[int, dict[str, Any]] = {}
        for name, value in own["plain"].items():
            index, slot = name.split("/")
            slots.setdefault(int(index), {})[slot] = value
        weights = [w for group in training.optimizer.param_groups for w in group["params"]]
        for name, value in tensors.items():
            if name.startswith("optimizer/"):
                _, index, slot = name.split("/")
                weight = weights[int(index)]
                if value.shape == weight.shape:  # in its memory layout: fused optimisers need it
                    value = torch.empty_like(weight, requires_grad=False).copy_(value)
                slots.setdefault(int(index), {})[slot] = value
        training.module.load_state_dict(_under("module/", tensors))
        if training.average:
            training.average.module.load_state_dict(_under("average/", tensors))
        if teacher := _under("teacher/", tensors):
            training.teach(teacher)
        training.optimizer.load_state_dict({"state": slots, "param_groups": own["groups"]})
        training.epoch = int(own["epoch"])
        return dict(stored["notes"])
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"{path}: not a checkpoint of this network and optimiser: {reason}"
        ) from error


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _short(value: Any, other: Any) -> Any:
    """Return only what differs from ``other``, where both are dictionaries."""
    if isinstance(value, dict) and isinstance(other, dict):
        return {k: v for k, v in value.items() if other.get(k) != v}
    return repr(value)
