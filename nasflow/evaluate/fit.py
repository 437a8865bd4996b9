"""Train one network at full size, with checkpoints, and judge it once on the test images."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

from nasflow.evaluate.checkpoint import (
    CHECKPOINT,
    RESULT,
    WEIGHTS,
    identity_of,
    load_training,
    make_folder,
    read_tensors,
    save_training,
    write_bytes,
    write_tensors,
)
from nasflow.evaluate.device import pick_device
from nasflow.evaluate.evaluator import Network, Report, cost
from nasflow.evaluate.failure import blame_candidate
from nasflow.evaluate.train import (
    Train,
    image_size,
    is_to_keep,
    next_epoch,
    own_randomness,
    summary,
)
from nasflow.evaluate.training import Training, measure


def fit(
    graph: Network,
    trainer: Train,
    folder: Path | str,
    *,
    seed: int = 0,
    report: Report | None = None,
) -> dict[str, float]:
    """Train ``graph`` as ``trainer`` says (its data, recipe and device), keeping all in ``folder``.

    After each epoch the state goes to ``checkpoint.safetensors``, and the weights to keep (of the
    best epoch or the newest, as the recipe's ``select`` says) to ``weights.safetensors``; a call
    with the same arguments goes on from there, exactly. At the end ``training.json`` holds the
    measures, the history, the recipe, and mean and deviation of the raw pixels (per channel) that
    inputs are normalised by. ``report`` gets the measures of each epoch. With a search's trainer
    and seed this is the candidate's training once more: on a CPU, its accuracy to the last bit.

    Returns what a search measures, and test_accuracy and test_loss of the weights kept. Without
    held-out images the last epoch is kept. Raises `CandidateError` if the training fails,
    `RunError` for a folder that cannot be written or holds another training.
    """
    folder, recipe = Path(folder), trainer.recipe
    make_folder(folder)
    if not len(trainer.data.validation):
        recipe = dataclasses.replace(recipe, select="last")
    data = recipe.subset(trainer.data)
    data = data.prepared(image_size(graph, data), pick_device(trainer.device))
    fingerprint = getattr(graph, "fingerprint", None)
    identity = {"fingerprint": fingerprint, **identity_of(data, recipe, seed)}
    with own_randomness(data):
        with blame_candidate():
            training = Training(graph.to_torch(seed=seed), data, recipe, seed)
        notes = load_training(folder / CHECKPOINT, training, identity)
        history: list[dict[str, float]] = notes.get("history", [])
        start = time.monotonic() - (history[-1]["seconds"] if history else 0.0)
        deadline = start + recipe.time_limit if recipe.time_limit else None
        while training.epoch < recipe.epochs:
            entry = next_epoch(training, deadline)
            entry["seconds"] = time.monotonic() - start
            history.append(entry)
            # The weights first: if killed in between, the epoch is only trained again.
            if is_to_keep(history, recipe.select):
                epoch = {"epoch": training.epoch}
                write_tensors(folder / WEIGHTS, training.best.state_dict(), epoch)
            save_training(folder / CHECKPOINT, training, identity, {"history": history})
            if report:
                report(dict(entry))
        kept = training.best
        kept.load_state_dict(read_tensors(folder / WEIGHTS)[0])
        accuracy, loss = measure(kept, data, data.test, training.autocast)
    measures = {"test_accuracy": accuracy, "test_loss": loss}
    if len(data.validation):
        measures |= summary(history, recipe.select)
    measures |= {"train_seconds": history[-1]["seconds"]} | cost(graph)
    mean, deviation = (s.tolist() for s in data.statistics)
    document = {
        "measures": measures,
        "normalisation": {"mean": mean, "deviation": deviation},
        "training": identity,
        "history": history,
    }
    write_bytes(folder / RESULT, json.dumps(document, indent=1).encode())
    return measures
