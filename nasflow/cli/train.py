"""Train a network at full size, with checkpoints, and judge it once on the test images.

    python -m nasflow train run=outputs/... rank=1 point.repeats=6 point.filters=32
    python -m nasflow train model=nasnet_a_6_768_cifar data=cifar10 data.path=... out=trained

A run's network is trained on the run's data; classes and channels follow the data. The same command goes on where a
killed one stopped. The folder then holds what `export` writes, with the trained weights, and training.json.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasflow.cli.configuration import compose, plain, whole
from nasflow.cli.export import write_export
from nasflow.cli.files import named, read_run, run_folder
from nasflow.cli.source import found
from nasflow.errors import ConfigError, RunError
from nasflow.report.plot import short

if TYPE_CHECKING:
    from omegaconf import DictConfig


def configure(command: str, overrides: Sequence[str], config_dir: str | None) -> DictConfig:
    """Compose the configuration; the data is that of the run unless another is named."""
    config = compose(command, overrides, config_dir)
    named = any(word.lstrip("+").startswith(("data=", "data.")) for word in overrides)
    if config.run is not None and not named:
        plan = read_run(config.run).plan
        config.data = _data(plan.get("evaluator")) or config.data
    return config


def _data(evaluator: Any) -> Any:
    """Return the data of an evaluator, or of a part of it; None where it has none."""
    if not isinstance(evaluator, dict):
        return None
    return evaluator.get("data") or next(filter(None, map(_data, evaluator.values())), None)


def run(config: DictConfig) -> int:
    """Train the network in the folder ``out=``."""
    from nasflow.evaluate.checkpoint import WEIGHTS
    from nasflow.evaluate.fit import fit
    from nasflow.evaluate.train import Train
    from nasflow.search.job import construct

    plan = plain(config)
    trainer = construct(plan["evaluator"])
    if not isinstance(trainer, Train):
        raise ConfigError(
            f"train needs an evaluator that trains, got {plan['evaluator']['_target_']!r}"
        )
    follow = {"classes": trainer.data.classes, "channels": trainer.data.channels}
    network = found(config, follow)
    folder = _folder(config, network.name)
    size = f"{short(network.graph.params)} parameters, {short(network.graph.macs)} MACs"
    print(f"training {network.name} ({size}) on {trainer.data.name} in {named(folder)}", flush=True)
    try:
        measures = fit(
            network.graph, trainer, folder, seed=whole("seed", plan["seed"]), report=_print
        )
    except KeyboardInterrupt:
        raise RunError(f"interrupted; the same command goes on from {named(folder)}") from None
    trained = dataclasses.replace(network, weights=folder / WEIGHTS, measures=measures)
    write_export(trained, folder)
    for name, value in measures.items():
        print(f"{name:16} {f'{value:,}' if isinstance(value, int) else f'{value:.4f}'}")
    print(f"all in {named(folder)}")
    return 0


def _folder(config: DictConfig, name: str) -> Path:
    if config.out is not None:
        return run_folder(config.out)
    if config.run is not None:
        return run_folder(config.run) / f"trained-{config.rank}"
    return Path("outputs") / f"trained-{name}"


def _print(measures: dict[str, Any]) -> None:
    shown = (f"{name} {value:.4g}" for name, value in measures.items() if name != "epoch")
    print(f"epoch {measures['epoch']:4.0f}  {'  '.join(shown)}", flush=True)
