"""Train the mixture of a space's networks, tell the strategy its shares, then train what it proposes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasflow.data import Dataset, Split
from nasflow.errors import ConfigError, RunError
from nasflow.evaluate.bilevel import first_order, second_order
from nasflow.evaluate.checkpoint import make_folder, write_bytes
from nasflow.evaluate.device import pick_device
from nasflow.evaluate.evaluator import Network, Report, space_of
from nasflow.evaluate.recipe import Recipe
from nasflow.evaluate.train import Train, image_size, own_randomness
from nasflow.evaluate.training import logits_of
from nasflow.lower.mixed import HOLDS, Hold, Mixed
from nasflow.options import check_option

SHARES = Path("mixture") / "shares.json"
BETAS = (0.5, 0.999)  # of Adam on the architecture (Liu et al., 2019, appendix A.1.2)


class Mixture:
    """Search by DARTS in a mixture first; judge each candidate by training it with ``train``.

    The training images of ``data`` are split in halves: weights learn from one, architecture
    parameters from the other, in turns (Liu et al., 2019, algorithm 1). Norms within the mixture
    have no scale and shift of their own that learn.

    Args:
        data: the images.
        train: trains and measures the candidates.
        space: the space, or its settings; null: the run's.
        weights: takes the place of a run's folder in workers; nothing is read from it.
        hold: decisions whose options cannot be summed have their biggest option in the mixture and in
            what is proposed, or their smallest (`nasflow.lower.mixed.unmixed`).
        order: 1: the weights are taken as they are; 2: one step of theirs is looked ahead.
        architecture_rate, architecture_decay: of Adam on the architecture parameters.
        device: "auto", "cpu", "cuda", ...
        recipe: of the weights: the fields of `Recipe`, trained with SGD.
    """

    together = False

    def __init__(
        self,
        data: Dataset,
        train: Train,
        space: Any = None,
        weights: str | None = None,
        hold: Hold = "biggest",
        order: int = 1,
        architecture_rate: float = 3e-3,
        architecture_decay: float = 1e-3,
        device: str = "auto",
        **recipe: Any,
    ) -> None:
        check_option("evaluator.hold", hold, HOLDS)
        if order not in (1, 2):
            raise ConfigError(f"evaluator.order: expected 1 or 2, got {order!r}")
        self.data, self.judge, self.space, self.order, self.device = (
            data, train, space, order, device,
        )  # fmt: skip
        self.hold: Hold = hold
        self.rate, self.decay = architecture_rate, architecture_decay
        self.recipe = Recipe.of(recipe)

    def __call__(
        self, graph: Network, *, seed: int, report: Report | None = None
    ) -> dict[str, float]:
        """Return the measures of the candidate trained from scratch."""
        return self.judge(graph, seed=seed, report=report)

    def prepare(
        self, rules: Any, folder: Path, seed: int, observe: Report, spec: Mapping[str, Any]
    ) -> None:
        """Train the mixture, unless ``folder`` has its shares, and let the strategy learn them.

        A training that was killed begins anew; on a CPU it is the same one.
        """
        if not hasattr(rules, "learn"):
            raise ConfigError(
                "evaluator=mixture trains a mixture for strategies that learn from it, such as darts; "
                f"{type(rules).__name__} does not"
            )
        if self.recall(rules, folder):
            return
        shares = self.search(seed, observe)
        make_folder((folder / SHARES).parent)
        write_bytes(folder / SHARES, json.dumps(shares, indent=1).encode())
        self.recall(rules, folder)

    def recall(self, rules: Any, folder: Path) -> bool:
        """Let the strategy learn the shares in ``folder``; return whether there are any."""
        if not (folder / SHARES).is_file():
            return False
        rules.learn(json.loads((folder / SHARES).read_text()))
        return True

    def search(self, seed: int, observe: Report) -> dict[str, Any]:
        """Return the shares of options after training the mixture.

        ``decisions`` has them by name, ``edges`` those of each group of edges (`Edges`), ``held`` the
        value of each decision that is not mixed, and why.
        """
        space, device = space_of(self.space), pick_device(self.device)
        data = self.recipe.subset(self.data)
        mixed = Mixed(space, seed, self.hold).to(device)
        data = data.prepared(image_size(cast(Any, mixed), data), device)
        with own_randomness(data):
            searching = Searching(mixed, data, self.recipe, seed, self.order, self.rate, self.decay)
            begin = time.monotonic()
            for epoch in range(self.recipe.epochs):
                measures = searching.epoch(epoch)
                observe({"epoch": epoch + 1, **measures, "seconds": time.monotonic() - begin})
        decisions, edges = mixed.shares()
        groups = [
            {"slots": g.slots, "inputs": g.inputs, "options": g.options, "shares": share}
            for g, share in zip(mixed.edges, edges, strict=True)
        ]
        held = {name: [value, mixed.reasons[name]] for name, value in mixed.held.items()}
        return {"decisions": decisions, "edges": groups, "held": held}


class Searching:
    """The bilevel training of a mixture, an epoch at a time."""

    def __init__(
        self,
        mixed: Mixed,
        data: Dataset,
        recipe: Recipe,
        seed: int,
        order: int,
        rate: float,
        decay: float,
    ) -> None:
        self.mixed, self.data, self.recipe, self.order = mixed, data, recipe, order
        for module in mixed.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
                module.weight.requires_grad_(False)
                module.bias.requires_grad_(False)
        self.weights = [p for p in mixed.weights() if p.requires_grad]
        self.descent = torch.optim.SGD(
            self.weights,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self.architecture = torch.optim.Adam(
            mixed.alphas.parameters(), lr=rate, betas=BETAS, weight_decay=decay
        )
        self.device = data.train.labels.device
        self.generator = torch.Generator(self.device).manual_seed(seed)
        order_ = self._shuffled(len(data.train))
        half = len(order_) // 2
        self.halves = order_[:half], order_[half : 2 * half]

    def epoch(self, epoch: int) -> dict[str, float]:
        """Train an epoch; return the mean losses on both halves."""
        self.mixed.train()
        size = min(self.recipe.batch, len(self.halves[0]))
        steps = len(self.halves[0]) // size
        train, validation = (self._batches(half, size, steps) for half in self.halves)
        totals = [0.0, 0.0]
        for step in range(steps):
            rate = self.recipe.learning_rate * self.recipe.factor(epoch + step / steps)
            for group in self.descent.param_groups:
                group["lr"] = rate
            losses = self._step(self._loss(next(train)), self._loss(next(validation)), rate)
            for number, loss in enumerate(losses):
                totals[number] += loss / steps
        if not all(map(math.isfinite, totals)):
            raise RunError(
                f"the mixture cannot be trained: its loss is {totals[0]:g}; lower the rate"
            )
        return {"train_loss": totals[0], "validation_loss": totals[1]}

    def _shuffled(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self.generator, device=self.device)

    def _batches(self, half: Tensor, size: int, steps: int) -> Iterator[Split]:
        """Return an iterator over an epoch's batches of a half, moved at random."""
        chosen = torch.split(half[self._shuffled(len(half))], size)[:steps]
        return iter(self.data.train.batches(chosen, self.data.augment, self.generator))

    def _step(
        self, train: Callable[[], Tensor], validation: Callable[[], Tensor], rate: float
    ) -> tuple[float, float]:
        """Take a step of the architecture, then one of the weights; return both losses."""
        alphas = list(self.mixed.alphas)
        losses = [0.0, 0.0]

        def watched() -> Tensor:
            loss = validation()
            losses[1] = float(loss.detach())
            return loss

        if self.order == 1:
            gradients = first_order(watched, alphas)
        else:
            states = [self.descent.state[weight] for weight in self.weights]
            speeds = [s.get("momentum_buffer") for s in states]
            given = [
                torch.zeros_like(w) if v is None else v
                for w, v in zip(self.weights, speeds, strict=True)
            ]
            settings = (rate, self.recipe.weight_decay, given, self.recipe.momentum)
            gradients = second_order(train, watched, self.weights, alphas, *settings)
        for alpha, gradient in zip(alphas, gradients, strict=True):
            alpha.grad = gradient
        self.architecture.step()
        self.descent.zero_grad(set_to_none=True)
        loss = train()
        torch.autograd.backward(loss, inputs=self.weights)
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.weights, self.recipe.clip)
        self.descent.step()
        losses[0] = float(loss.detach())
        return losses[0], losses[1]

    def _loss(self, batch: Split) -> Callable[[], Tensor]:
        """Return the loss on a batch, augmented further once."""
        images = self.data.augment.hide(self.data.normalise(batch.images), self.generator)

        def loss() -> Tensor:
            return functional.cross_entropy(logits_of(self.mixed(images)), batch.labels)

        return loss
