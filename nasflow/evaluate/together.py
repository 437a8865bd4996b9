"""Train shared weights in several processes at once, each with a part of every batch, on Ray Train."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasflow import discovery
from nasflow.errors import RunError
from nasflow.evaluate.checkpoint import RESULT
from nasflow.evaluate.evaluator import Report
from nasflow.evaluate.supernet import FOLDER


def train_together(
    spec: Mapping[str, Any],
    folder: Path,
    seed: int,
    workers: int,
    observe: Report,
) -> None:
    """Train as `SharedWeights.train` does, in ``workers`` processes with a GPU each where there are some.

    ``spec`` holds the evaluator, its space and the strategy as configuration. The first process
    writes all files, so ``folder`` must be on storage that all machines see. Raises RunError with
    the last line of what went wrong.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    if spec.get("evaluator") is None or spec.get("strategy") is None:
        raise RunError(
            "training on several workers needs the evaluator and the strategy as configuration; "
            "they were given as objects: set workers=1"
        )
    place = folder / FOLDER
    gpus = ray.cluster_resources().get("GPU", 0) >= workers if ray.is_initialized() else False
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "spec": json.dumps(dict(spec)),
            "folder": str(folder),
            "seed": seed,
            "paths": [os.getcwd(), *filter(None, sys.path)],
        },
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
        run_config=RunConfig(
            name="train", storage_path=str(place), failure_config=FailureConfig(2)
        ),
    )
    try:
        trainer.fit()
    except Exception as error:  # whatever a worker died of, Ray raises as one of many classes
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        last = lines[-1].strip() if lines else type(error).__name__
        raise RunError(
            f"training the shared weights on {workers} workers failed: {last}"
        ) from error
    shutil.rmtree(place / "train", ignore_errors=True)  # Ray's own records
    for entry in json.loads((place / RESULT).read_text())["history"]:
        observe(entry)


def _work(config: dict[str, Any]) -> None:
    """Train in one of the processes."""
    from ray import train

    spec = json.loads(config["spec"])
    sys.path.extend(path for path in config["paths"] if path not in sys.path)
    context = train.get_context()
    evaluate = _evaluator(spec["evaluator"])
    settings = dict(spec["strategy"])
    name = settings.pop("_target_", None) or settings.pop("name")
    rules = discovery.find("strategy", name)(evaluate.own_space, seed=config["seed"], **settings)
    evaluate.train(
        rules,
        Path(config["folder"]),
        config["seed"],
        lambda entry: None,
        rank=context.get_world_rank(),
        world=context.get_world_size(),
    )


def _evaluator(spec: Any) -> Any:
    """Build what a configuration describes: inner mappings with ``_target_`` first."""
    if isinstance(spec, Mapping):
        settings = {key: _evaluator(value) for key, value in spec.items() if key != "_target_"}
        target = spec.get("_target_")
        return settings if target is None else discovery.find("evaluator", target)(**settings)
    return [_evaluator(value) for value in spec] if isinstance(spec, list | tuple) else spec
