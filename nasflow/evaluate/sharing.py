"""Train the shared weights of a supernet along the paths that a strategy names."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import torch
from torch import Tensor, nn

from nasflow.data import Dataset
from nasflow.data.dataset import Split, resize
from nasflow.errors import RunError, SpaceError
from nasflow.evaluate.average import Average
from nasflow.evaluate.failure import blame_candidate, blame_strategy
from nasflow.evaluate.recipe import Recipe
from nasflow.evaluate.training import (
    Target,
    Training,
    clocks,
    keep_as_tensors,
    logits_of,
    tell,
)
from nasflow.lower import Supernet
from nasflow.lower.child import Child

if TYPE_CHECKING:
    from nasflow.ir import Point

Gradients = list[Tensor | None]
STEADY: Final = 4
"""Steps in a row that a child must be in to be compiled."""
MOST_COMPILED: Final = 4
"""Children that are compiled. PyTorch compiles eight versions of one method and runs further ones as
they are, with a warning; a child takes more than one where its dropout is now on, now off."""


class Sharing(Training):
    """Train a supernet: each step some of its children on one batch, then one descent.

    ``rules`` is a strategy, or anything with its ``paths`` (see `nasflow.search.strategy.OneShot`);
    what else it has is used, otherwise every child learns from the labels and gradients are
    averaged. Weight decay of the recipe acts by the share of paths that are regularised.

    ``data`` has its images at the biggest size that a child takes; smaller children see the same
    augmented images resized. A point that makes no network, or needs more weights than the
    supernet has (rare: see `Supernet`), is left out of its step and counted in ``skipped``. Where
    children are compiled a training that is resumed goes on as it would have but for rounding: what
    was compiled runs as it is at first.

    ``rank`` and ``world``: which part of each batch is this process's, where several train
    together (`torch.distributed` is up then, and gradients are averaged over all).
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Dataset,
        recipe: Recipe,
        seed: int,
        rules: Any,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        # A supernet is not copied whole for an average: its weights are.
        plain = dataclasses.replace(recipe, average=None, compile=False)
        super().__init__(supernet, data, plain, seed)
        self.supernet, self.recipe, self.rules = supernet, recipe, rules
        self.rank, self.world = rank, world
        if recipe.average:
            self.average = Average(weights_of(supernet), recipe.average)
        for group in self.optimizer.param_groups:
            if isinstance(self.optimizer, torch.optim.SGD):
                # The fused one fails where a weight has its first gradient after others had theirs.
                group["fused"], group["foreach"] = False, True
        self.teacher: Supernet | None = None
        self.skipped = 0
        self._decays = [group["weight_decay"] for group in self.optimizer.param_groups]
        self._streaks: dict[Child, int] = {}  # steps in a row that had a child, up to the last one
        self._compiled: dict[Child, nn.Module] = {}
        self._update = getattr(rules, "update", None)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the supernet have the averaged weights inside, where an average is kept."""
        if self.average is None:
            yield
            return
        own = dict(self.supernet.named_parameters())
        averaged = dict(self.average.module.named_parameters())
        kept = {name: weight.data for name, weight in own.items()}
        try:
            for name, weight in own.items():
                weight.data = averaged[name].data
            yield
        finally:
            for name, weight in own.items():
                weight.data = kept[name]

    def _step(self, chosen: Split, tensors: torch.Generator, numbers: random.Random) -> Tensor:
        self._freeze()
        images, target = self._batch(chosen, tensors, numbers)
        paths = list(self._children(self._points()))
        self._compile([child for child, _ in paths])
        taught = self._taught(images)
        total = torch.zeros((), device=self.device)
        found: list[Gradients] = []
        self.optimizer.zero_grad(set_to_none=True)
        for number, (child, _) in enumerate(paths):
            with blame_candidate():
                logits, loss = self._path(number, child, images, target, taught)
                taught = logits.detach() if taught is None else taught
                torch.autograd.backward(loss if self._update else loss / len(paths))
            total += loss.detach() / len(paths)
            if self._update:
                found.append(self._take())
        if self._update:
            with blame_strategy(self.rules, "update"):
                self._give(self._update(found))
        self._share_out(sum(regular for _, regular in paths) / max(len(paths), 1))
        self._descend()
        return total

    def _points(self) -> Sequence[Point]:
        """Return the points whose children this step trains."""
        with blame_strategy(self.rules, "paths"):
            points: list[Point] = list(self.rules.paths(self.step, self.recipe.epochs * self.steps))
        if not points:
            raise RunError(
                f"strategy {type(self.rules).__name__} named no path for step {self.step}: expected at least one"
            )
        return points

    def _children(self, points: Sequence[Point]) -> Iterator[tuple[Child, bool]]:
        """Yield each child made ready, and whether it is regularised."""
        regularises = getattr(self.rules, "regularises", lambda number: True)
        for number, point in enumerate(points):
            try:
                child = self.supernet.at(point)
            except SpaceError:
                self.skipped += 1
                continue
            done = self.epoch / self.recipe.epochs
            regularise(child.train(), regularises(number), done)
            yield child, regularises(number)

    def _compile(self, children: Sequence[Child]) -> None:
        """Compile, where the recipe says so, the first children that several steps in a row had.

        Compiling takes as long as many steps: it pays for the biggest and the smallest child of the
        sandwich rule, not for random ones.
        """
        self._streaks = {child: self._streaks.get(child, 0) + 1 for child in children}
        for child, steps in self._streaks.items():
            if self.recipe.compile and steps == STEADY and len(self._compiled) < MOST_COMPILED:
                keep_as_tensors(clocks(child), self.device)
                self._compiled[child] = cast(nn.Module, torch.compile(child))

    def _path(
        self, number: int, child: Child, images: Tensor, target: Target, taught: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return a child's logits and its loss."""
        lesson = getattr(self.rules, "loss", None)
        with self.autocast:
            outputs = self._compiled.get(child, child)(fitted(images, child))
            logits = logits_of(outputs)
            if lesson is None:
                return logits, self._total(outputs, target)
            self._check(logits)
            soft = None if taught is None else taught.float()
            with blame_strategy(self.rules, "loss"):
                return logits, lesson(number, logits.float(), target, soft)

    def _freeze(self) -> None:
        """Keep a copy of the weights as the teacher, when the strategy says so."""
        freeze = getattr(self.rules, "freeze", None)
        with blame_strategy(self.rules, "freeze"):
            now = freeze and freeze(self.step, self.recipe.epochs * self.steps)
        if now:
            self.teach({k: v.detach().clone() for k, v in self.supernet.state_dict().items()})

    def teach(self, weights: dict[str, Tensor]) -> None:
        """Make ``weights`` the teacher of all children from now on."""
        self.teacher = Supernet(self.supernet.space).to(self.device).requires_grad_(False)
        self.teacher.load_state_dict(weights)

    @torch.no_grad()
    def _taught(self, images: Tensor) -> Tensor | None:
        """Return the frozen teacher's logits, None where there is no such teacher."""
        if self.teacher is None:
            return None
        biggest = self.teacher.at(self.teacher.space.largest()).train()
        regularise(biggest, False)
        with self.autocast:
            return logits_of(biggest(fitted(images, biggest)))

    def _take(self) -> Gradients:
        """Return the gradients of one path and clear them."""
        weights = list(self.supernet.parameters())
        found = [weight.grad for weight in weights]
        for weight in weights:
            weight.grad = None
        return found

    def _give(self, gradients: Gradients) -> None:
        for weight, gradient in zip(self.supernet.parameters(), gradients, strict=True):
            weight.grad = gradient

    def _share_out(self, regular: float) -> None:
        """Set the weight decay of this step, and average gradients over all processes."""
        for group, decay in zip(self.optimizer.param_groups, self._decays, strict=True):
            group["weight_decay"] = decay * regular
        if self.world > 1:
            found = [p.grad for p in self.supernet.parameters() if p.grad is not None]
            flat = torch.cat([gradient.flatten() for gradient in found])
            torch.distributed.all_reduce(flat)
            flat /= self.world
            for gradient, part in zip(
                found, flat.split([gradient.numel() for gradient in found]), strict=True
            ):
                gradient.copy_(part.view(gradient.shape))


def fitted(images: Tensor, child: Child) -> Tensor:
    """Return images (B, C, H, W) at the size that a child takes."""
    height, width = child.graph.inputs[0].shape[1:]
    same = tuple(images.shape[2:]) == (height, width)
    return images if same else resize(images, (height, width))


def regularise(child: nn.Module, on: bool, progress: float = 0.0) -> None:
    """Turn a child's dropout and drop path on or off, and tell it how far training is."""
    for module in child.modules():
        if isinstance(module, nn.Dropout) or hasattr(module, "rate"):
            module.train(on)
    tell(clocks(child), progress)


def weights_of(supernet: Supernet) -> nn.Module:
    """Return a plain module with the supernet's tensors, under the names of its state dict."""
    holder = nn.Module()
    for name, weight in supernet.named_parameters():
        holder.register_parameter(name, weight)
    for name, constant in supernet.named_buffers():
        holder.register_buffer(name, constant)
    return holder
