"""Rank networks by weights that a hypernetwork makes for them, then train what the strategy chose."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from nasflow.data import Dataset
from nasflow.errors import CandidateError, ConfigError, RunError, SpaceError
from nasflow.evaluate.checkpoint import write_bytes
from nasflow.evaluate.evaluator import Network, Report
from nasflow.evaluate.failure import blame_candidate
from nasflow.evaluate.sharing import Gradients, Sharing
from nasflow.evaluate.supernet import SharedWeights
from nasflow.evaluate.train import Train
from nasflow.evaluate.training import Target
from nasflow.lower import Supernet
from nasflow.lower.child import Child
from nasflow.lower.hypernet import WHICH, HyperSupernet
from nasflow.options import check_option, check_whole

if TYPE_CHECKING:
    from nasflow.ir import Point, Space

FOLDER = "hypernet"
SCORES, RANKING = "scores.jsonl", "ranking.json"


class Making(Sharing):
    """Train a hypernetwork: each step's children run on the weights that are made for them.

    Weight decay acts on what is learned freely, not on the hypernetwork (the authors' code).
    A strategy that has ``update`` beside ``rank`` combines gradients as they have come to the hypernetwork.
    """

    def __init__(self, net: HyperSupernet, *rest: Any) -> None:
        super().__init__(net, *rest)
        self.net = net
        own = {id(weight) for weight in (*net.hypernet.parameters(), net.scales)}
        groups = self.optimizer.param_groups
        plain = {key: value for key, value in groups[0].items() if key != "params"}
        made = [weight for group in groups for weight in group["params"] if id(weight) in own]
        for group in groups:
            group["params"] = [weight for weight in group["params"] if id(weight) not in own]
        self.optimizer.add_param_group(plain | {"params": made, "weight_decay": 0.0})
        self._decays.append(0.0)

    def _path(
        self, number: int, child: Child, images: Tensor, target: Target, taught: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        self.net.settle()  # the path before this one
        self.net.write(child)
        return super()._path(number, child, images, target, taught)

    def _take(self) -> Gradients:
        self.net.settle()
        return super()._take()

    def _share_out(self, regular: float) -> None:
        self.net.settle()
        super()._share_out(regular)


class HypernetWeights(SharedWeights):
    """Train a hypernetwork over random networks of the space, let the strategy rank by it, then train.

    Before anything is asked for, the run trains a `HyperSupernet` by ``recipe`` along the strategy's
    paths (resumed from its last epoch when killed), then calls the strategy's ``rank`` with a
    function from a point to the validation accuracy with the weights made for it, norms measured
    anew (what was scored is not scored again after a kill), and hands the ranking to its ``learn``.
    Each candidate is then judged by ``train``, from scratch.

    Args:
        data: the images.
        train: trains and measures the candidates.
        width, piece, depth, made: of the hypernetwork, see `nasflow.lower.hypernet`.
        shared: the other settings, those of `SharedWeights`.
    """

    portable = False
    makes = True
    trains = Making

    def __init__(
        self,
        data: Dataset,
        train: Train,
        width: int = 64,
        piece: int = 256,
        depth: int = 3,
        made: str = "all",
        **shared: Any,
    ) -> None:
        for name, value in (("width", width), ("piece", piece), ("depth", depth)):
            check_whole(f"evaluator.{name}", value)
        check_option("evaluator.made", made, WHICH)
        super().__init__(data, **shared)
        if self.recipe.compile:
            raise ConfigError(
                "evaluator.compile: expected false, for a hypernetwork makes other weights in each step, got true"
            )
        self.made_by: dict[str, Any] = {"width": width, "piece": piece, "depth": depth}
        self.made_by["which"] = made
        self.trainer = train
        if self.keep:
            self.trainer.keep = self.keep

    def __call__(  # type: ignore[override]
        self, graph: Network, *, seed: int = 0, report: Report | None = None
    ) -> dict[str, float]:
        """Return the measures of the candidate trained from scratch."""
        return self.trainer(graph, seed=seed, report=report)

    def prepare(
        self, rules: Any, folder: Path, seed: int, observe: Report, spec: Mapping[str, Any]
    ) -> None:
        """Train the hypernetwork and let the strategy rank by it, unless ``folder`` has the ranking."""
        if not hasattr(rules, "rank"):
            raise ConfigError(
                "evaluator=hypernet trains a hypernetwork for strategies that rank by it, such as "
                f"smash; {type(rules).__name__} does not"
            )
        if self.recall(rules, folder):
            return
        super().prepare(rules, folder, seed, observe, spec)
        place = folder / FOLDER
        try:
            place.mkdir(exist_ok=True)
            ranking = rules.rank(self._scorer(place / SCORES))
        except OSError as error:
            raise RunError(f"cannot write in {place}: {error.strerror}") from error
        write_bytes(place / RANKING, json.dumps(ranking).encode())
        self.recall(rules, folder)

    def recall(self, rules: Any, folder: Path) -> bool:
        """Let the strategy learn the ranking in ``folder``; return whether there is one."""
        path = folder / FOLDER / RANKING
        if not path.is_file():
            return False
        rules.learn(json.loads(path.read_text()))
        return True

    def score(self, point: Point) -> float | None:
        """Return the validation accuracy with the weights made for a point; None where it fails."""
        try:
            with blame_candidate():
                child = self._child(self.net, point)
                accuracy, loss = self.judge(child, child.graph)
        except (CandidateError, SpaceError):
            return None
        return accuracy if math.isfinite(loss) else None

    def _scorer(self, path: Path) -> Callable[[Point], float | None]:
        """Return a function that scores each network once and writes it down; a torn line is dropped."""
        known: dict[str, float | None] = {}
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        for line in lines:
            if line.endswith("\n"):
                fingerprint, accuracy = json.loads(line)
                known[fingerprint] = accuracy
        if lines:
            write_bytes(path, "".join(line for line in lines if line.endswith("\n")).encode())
        space = self.own_space

        def score(point: Point) -> float | None:
            fingerprint = space.fingerprint(point)
            if fingerprint not in known:
                known[fingerprint] = self.score(point)
                with open(path, "a", encoding="utf-8") as stream:
                    stream.write(json.dumps([fingerprint, known[fingerprint]]) + "\n")
            return known[fingerprint]

        return score

    def _fresh(self, space: Space, seed: int) -> HyperSupernet:
        return HyperSupernet(space, seed, **self.made_by)

    def _child(self, net: Supernet, point: Point) -> Child:
        child = net.at(point)
        with torch.no_grad():
            cast(HyperSupernet, net).write(child)
        return child

    def _identity(self, space: Space, rules: Any, seed: int) -> dict[str, Any]:
        return super()._identity(space, rules, seed) | {"hypernet": self.made_by}
