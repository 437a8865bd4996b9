"""Evaluate networks in weights that they share, after training those."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from nasflow.data import Dataset
from nasflow.errors import CandidateError, ConfigError, NasflowWarning, RunError, SpaceError
from nasflow.evaluate.batchnorm import recalibrate
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
from nasflow.evaluate.device import pick_device, threads
from nasflow.evaluate.evaluator import Network, Report, cost, space_of
from nasflow.evaluate.failure import blame_candidate, blame_strategy
from nasflow.evaluate.minibatch import Minibatches
from nasflow.evaluate.paths import Uniform
from nasflow.evaluate.recipe import Recipe
from nasflow.evaluate.sharing import Sharing
from nasflow.evaluate.train import check_held_out, image_size, own_randomness
from nasflow.evaluate.training import measure
from nasflow.lower import Supernet
from nasflow.lower.child import Child
from nasflow.options import check_type, check_whole

if TYPE_CHECKING:
    from nasflow.ir import Point, Space

FOLDER = "supernet"
CALIBRATION_BATCH = 128  # whatever the recipe: a child is worth the same in every run
TAUGHT = "strategy.json"  # what a strategy has learned between epochs


class SharedWeights:
    """Judge a network by the weights it shares with all others of its space.

    A run first trains them (`prepare`) by ``recipe`` (the fields of `Recipe`) along the paths of its
    strategy, or uniform random ones where that has none; ``weights`` names trained ones to use
    instead: the folder of such a run, or a file. Before a child is measured on the validation
    images, its batch norms are measured anew on ``calibration`` training images.

    Args:
        data: the images; children see them at their own sizes.
        space: the space, or its settings (``{"name": ..., **settings}``); null: the run's.
        weights: a run's folder or a file; null: those the run trains.
        device: "auto", "cpu", "cuda", ...
        keep: a folder for the measured children's weights, as `Train` keeps them.
        calibration: how many training images batch norms are measured on.
        watch: epochs between measurements of the biggest and the smallest child; 0: none.
        workers: processes that train together, each on a part of every batch; null: one for each
            GPU of the Ray cluster, or one.
        threads: of PyTorch in the training, on a CPU; null: as many as it likes.

    A worker process gets this object through Ray's object store, where its arrays lie once for all
    of them: weights are read there in place, only statistics of norms are a worker's own.
    """

    portable = True
    makes = False  # weights anew for each network
    trains: type[Sharing] = Sharing

    def __init__(
        self,
        data: Dataset,
        space: Space | Mapping[str, Any] | None = None,
        weights: str | None = None,
        device: str = "auto",
        keep: str | None = None,
        calibration: int = 512,
        watch: int = 5,
        workers: int | None = None,
        threads: int | None = 1,
        **recipe: Any,
    ) -> None:
        for name, value, least in (
            ("calibration", calibration, 2),
            ("watch", watch, 0),
            ("workers", 1 if workers is None else workers, 1),
            ("threads", 1 if threads is None else threads, 1),
        ):
            check_whole(f"evaluator.{name}", value, least)
        check_type("evaluator.weights", weights, "str | None")
        self.data, self.space, self.weights, self.device = data, space, weights, device
        self.keep = Path(keep) if keep else None
        self.calibration, self.watch = calibration, watch
        self.workers, self.threads = workers, threads
        self.recipe = Recipe.of(recipe)
        self._arrays: dict[str, np.ndarray] | None = None
        self._net: Supernet | None = None
        self._prepared: dict[tuple[int, int], tuple[Dataset, list[torch.Tensor]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        settings = self.space if isinstance(self.space, Mapping) or self.space is None else None
        if settings is None:
            raise ConfigError(
                "evaluator.space: Ray workers need the space's settings, got a live object; "
                "use the inline executor"
            )
        self._load()
        return self.__dict__ | {"_net": None, "_prepared": {}}

    def __call__(
        self, graph: Network, *, point: Point, seed: int = 0, report: Report | None = None
    ) -> dict[str, float]:
        """Return accuracy and loss of the child at ``point``, what `cost` counts, and the seconds taken.

        Raises CandidateError for a child that needs weights which are not there.
        """
        begin = time.monotonic()
        net = self.net
        try:
            with blame_candidate():
                child = self._child(net, point)
                accuracy, loss = self.judge(child, graph)
        except SpaceError as error:
            raise CandidateError(str(error)) from error
        if not math.isfinite(loss):
            raise CandidateError("the validation loss is NaN or infinite")
        if self.keep and self.keep.is_dir():
            path = self.keep / f"{graph.fingerprint}.safetensors"
            write_tensors(path, child.tensors(), {"seed": seed})
        measures = {"accuracy": accuracy, "loss": loss, "seconds": time.monotonic() - begin}
        return measures | cost(graph)

    @property
    def net(self) -> Supernet:
        """Return the supernet with the trained weights, made at the first call."""
        if self._net is None:
            self._load()
            assert self._arrays is not None
            # Made weights are written to, which arrays in Ray's store cannot be.
            arrays = {k: v.copy() if self.makes else v for k, v in self._arrays.items()}
            net = self._fresh(self.own_space, 0).requires_grad_(False)
            adopt(net, arrays, pick_device(self.device), str(self.weights))
            self._net = net
        return self._net

    def _fresh(self, space: Space, seed: int) -> Supernet:
        """Return a supernet before it is trained."""
        return Supernet(space, seed)

    def _child(self, net: Supernet, point: Point) -> Child:
        """Return a child of a supernet with the weights that it is judged by."""
        return net.at(point)

    def judge(self, child: nn.Module, graph: Network) -> tuple[float, float]:
        """Return (accuracy, loss) on the validation images, the norms measured anew before."""
        check_held_out(self.data)
        data, batches = self._data(image_size(graph, self.data))
        recalibrate(child, map(data.normalise, batches))
        return measure(child, data, data.validation)

    def _data(self, size: tuple[int, int]) -> tuple[Dataset, list[torch.Tensor]]:
        """Return the data and the raw batches that norms are measured on, at a size."""
        if size not in self._prepared:
            data = self.data.limited(self.calibration, 0).prepared(size, pick_device(self.device))
            images = torch.split(data.train.loaded().images, CALIBRATION_BATCH)
            # The last one may be too small to have statistics.
            whole = images[:-1] if len(images) > 1 and len(images[-1]) < 2 else images
            self._prepared[size] = data, list(whole)
        return self._prepared[size]

    @property
    def own_space(self) -> Space:
        """Return the space whose networks are judged."""
        return space_of(self.space)

    def _load(self) -> None:
        if self._arrays is not None:
            return
        if self.weights is None:
            raise ConfigError(
                "evaluator.weights: there are no trained weights; name the run that trained them, or "
                "let a search train its own (docs/one-shot.md)"
            )
        tensors, notes = read_tensors(located(self.weights))
        if "hypernet" in notes and not self.makes:
            raise RunError(
                f"{self.weights}: was trained by evaluator=hypernet, which makes weights for each network; "
                "none are shared"
            )
        self._arrays = {name: tensor.numpy() for name, tensor in tensors.items()}

    # -- training -----------------------------------------------------------------------------

    def prepare(
        self, rules: Any, folder: Path, seed: int, observe: Report, spec: Mapping[str, Any]
    ) -> None:
        """Train the weights along the paths of ``rules`` (a strategy), unless there are some.

        All is kept in ``folder/supernet``; a training that was killed goes on from its last epoch.
        ``observe`` gets each epoch's measures; ``spec`` names this evaluator, its space and the
        strategy as configuration, for processes that train together.
        """
        if self.weights is not None:
            if hasattr(rules, "alternate") and not self._taught(folder).is_file():
                warnings.warn(
                    f"{type(rules).__name__} has not learned with the weights in {self.weights} and "
                    "begins anew: there is no strategy.json beside them",
                    NasflowWarning,
                    stacklevel=2,
                )
            located(self.weights)
            return
        check_held_out(self.data)
        place = folder / FOLDER
        self.weights = str(place / WEIGHTS)
        if (place / WEIGHTS).is_file():
            return
        workers = self._workers()
        if workers > 1:
            from nasflow.evaluate.together import train_together

            train_together(spec, folder, seed, workers, observe)
        else:
            self.train(rules, folder, seed, observe)
        self.recall(rules, folder)

    def recall(self, rules: Any, folder: Path) -> bool:
        """Let a strategy that learned while weights were trained have what it learned; tell whether it did.

        The weights are those that are given, else those of the run in ``folder``.
        """
        if not hasattr(rules, "alternate") or not self._taught(folder).is_file():
            return False
        try:
            rules.restore(json.loads(self._taught(folder).read_text()))
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise RunError(
                f"{self._taught(folder)}: was not learned by this strategy with these settings on this space; "
                "search as the run that trained the weights did, or move that file away"
            ) from error
        return True

    def _taught(self, folder: Path) -> Path:
        """Return where a strategy's state lies beside the weights."""
        place = folder / FOLDER if self.weights is None else located(self.weights).parent
        return place / TAUGHT

    @property
    def together(self) -> bool:
        """Tell whether several processes would train the weights."""
        return self.weights is None and self._workers() > 1

    def _workers(self) -> int:
        if self.workers is not None:
            return self.workers
        import sys

        ray = sys.modules.get("ray")
        if ray is not None and ray.is_initialized():
            return max(1, int(ray.cluster_resources().get("GPU", 0)))
        return max(1, torch.cuda.device_count()) if self.device in ("auto", "cuda") else 1

    def train(
        self,
        rules: Any,
        folder: Path,
        seed: int,
        observe: Report,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Train in this process, as number ``rank`` of ``world`` that do so together."""
        place = folder / FOLDER
        space = self.own_space
        training = self._training(space, rules, seed, rank, world)
        identity = self._identity(space, rules, seed)
        make_folder(place)
        notes = load_training(place / CHECKPOINT, training, identity)
        history: list[dict[str, float]] = notes.get("history", [])
        start = time.monotonic()
        if history:
            start -= history[-1]["seconds"]
            training.skipped = int(history[-1].get("skipped", 0))
        if "taught" in notes:
            rules.restore(notes["taught"])
        with own_randomness(training.data), threads(self.threads):
            while training.epoch < self.recipe.epochs:
                entry = self._epoch(training, start)
                if hasattr(rules, "alternate"):
                    batches = f"{seed}/{training.epoch}"
                    with blame_strategy(rules, "alternate"):
                        entry |= rules.alternate(training.epoch - 1, Minibatches(training, batches))
                    entry["seconds"] = time.monotonic() - start
                history.append(entry)
                if rank == 0:
                    taught = {"taught": rules.state()} if hasattr(rules, "alternate") else {}
                    notes = {"history": history, **taught}
                    save_training(place / CHECKPOINT, training, identity, notes)
                    observe(entry)
        if rank == 0:
            document = {"training": identity, "history": history}
            write_bytes(place / RESULT, json.dumps(document, indent=1).encode())
            if hasattr(rules, "alternate"):
                write_bytes(place / TAUGHT, json.dumps(rules.state()).encode())
            with training.averaged():
                write_tensors(place / WEIGHTS, training.supernet.state_dict(), identity)

    def _training(self, space: Space, rules: Any, seed: int, rank: int, world: int) -> Sharing:
        device = pick_device(self.device)
        supernet = self._fresh(space, seed)
        if hasattr(rules, "initialise"):
            with blame_strategy(rules, "initialise"):
                rules.initialise(supernet)
        supernet.to(device)
        data = self.recipe.subset(self.data)
        sizes = [image_size(space.bind(p), data) for p in (space.largest(), space.smallest())]
        data = data.prepared(max(sizes), device)
        known = rules if hasattr(rules, "paths") else Uniform(space, seed)
        return self.trains(supernet, data, self.recipe, seed, known, rank, world)

    def _epoch(self, training: Sharing, start: float) -> dict[str, float]:
        """Train an epoch; return its number (from 1), train_loss, and accuracies now and then."""
        deadline = start + self.recipe.time_limit if self.recipe.time_limit else None
        entry: dict[str, float] = {"epoch": training.epoch + 1}
        try:
            entry["train_loss"] = training.train_epoch(deadline)
            now = training.epoch == self.recipe.epochs or training.epoch % max(self.watch, 1) == 0
            if self.watch and now and training.rank == 0:
                entry |= self._watched(training)
        except CandidateError as error:
            raise RunError(_untrained(error, training.batch // training.world)) from error
        if training.skipped:
            entry["skipped"] = training.skipped
        entry["seconds"] = time.monotonic() - start
        return entry

    def _watched(self, training: Sharing) -> dict[str, float]:
        found = {}
        space = training.supernet.space
        with training.averaged(), blame_candidate():
            for name, point in (("biggest", space.largest()), ("smallest", space.smallest())):
                child = self._child(training.supernet, point)
                found[name], _ = self.judge(child, child.graph)
        return found

    def _identity(self, space: Space, rules: Any, seed: int) -> dict[str, Any]:
        """Return what must be equal for a checkpoint to be continued."""
        return {
            "space": space.name,
            "biggest": space.fingerprint(space.largest()),
            "smallest": space.fingerprint(space.smallest()),
            "strategy": type(rules).__name__,
            **identity_of(self.data, self.recipe, seed),
        }


def _untrained(error: CandidateError, batch: int) -> str:
    """Return why shared weights cannot be trained, and what to do where that is known."""
    cause = error.__cause__
    # What the compiler raises has no class in common.
    if type(cause).__module__.startswith(("torch._dynamo", "torch._inductor")):
        reason = " ".join(str(cause).strip().partition("\n\n")[0].split())
        return f"evaluator.compile: PyTorch cannot compile here ({reason[:300]}); set it to false"
    advice = "" if batch > 1 else "; one image a step has no statistics: raise evaluator.batch"
    return f"the shared weights cannot be trained: {error}{advice}"


def located(weights: str) -> Path:
    """Return the file of shared weights that a path names: itself, or inside a run's folder."""
    path = Path(weights).expanduser()
    tried = [path] if path.suffix == ".safetensors" else [path / FOLDER / WEIGHTS, path / WEIGHTS]
    for place in tried:
        if place.is_file():
            return place
    raise RunError(
        f"evaluator.weights={weights}: expected the folder of a run that trained shared weights, or "
        f"their file; there is no {' and no '.join(map(str, tried))}"
    )


def adopt(
    net: Supernet, arrays: Mapping[str, np.ndarray], device: torch.device, where: str
) -> None:
    """Let a supernet have weights from arrays, in place where they lie in the CPU's memory."""
    own = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    for name, tensor in own.items():
        array = arrays.get(name)
        if array is None or array.shape != tuple(tensor.shape):
            found = "nothing" if array is None else f"an array of {array.shape}"
            raise RunError(
                f"{where}: holds {found} for {name}, this space's supernet needs "
                f"{tuple(tensor.shape)}; they are another space's weights"
            )
        with warnings.catch_warnings():
            # Ray's store is read-only, which torch warns about; nothing here writes to weights.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            tensor.data = torch.from_numpy(array).to(device)
