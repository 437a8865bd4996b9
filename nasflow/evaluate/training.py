"""One network being trained, an epoch at a time; its whole state can be saved between epochs."""

from __future__ import annotations

import functools
import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn
from torch.nn import functional

from nasflow.data import Dataset, Part, Split
from nasflow.errors import CandidateError, ConfigError
from nasflow.evaluate.average import Average
from nasflow.evaluate.recipe import Recipe

VALIDATION_BATCH = 512
Target = Callable[[torch.Tensor], torch.Tensor]
"""The loss of logits (B, classes) against a batch's labels."""
Outputs = torch.Tensor | tuple[torch.Tensor, ...]
"""A network's logits, followed by those of its side classifiers where it has some."""


class Training:
    """Train ``module`` on ``data`` by ``recipe``.

    ``data`` lies on the module's device, its images at the size the module takes. All randomness of
    an epoch follows from ``seed`` and the epoch's number alone (order, augmentation, dropout), so
    that a training resumed at an epoch's end goes on exactly as if it had not stopped.
    """

    rank, world = 0, 1  # of processes that train together, each on a part of every batch
    teacher: nn.Module | None = None  # a frozen network to learn from

    def __init__(self, module: nn.Module, data: Dataset, recipe: Recipe, seed: int) -> None:
        self.data, self.recipe, self.seed = data, recipe, seed
        self.device = data.train.labels.device
        self.module = module.to(self.device)
        if recipe.channels_last:
            self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.run = torch.compile(self.module) if recipe.compile else self.module
        self.optimizer = recipe.make_optimizer(self.module.parameters())
        self.average = Average(self.module, recipe.average) if recipe.average else None
        self.batch = min(recipe.batch, len(data.train))
        self.steps = len(data.train) // self.batch  # the rest sits out, another one each epoch
        self.epoch = self.step = 0
        bfloat = recipe.precision == "bfloat16"
        if recipe.precision == "auto":
            bfloat = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat)
        self.clocks = clocks(self.module)
        if recipe.compile:
            keep_as_tensors(self.clocks, self.device)

    @property
    def best(self) -> nn.Module:
        """Return the module to measure and keep: the averaged one where an average is kept."""
        return self.average.module if self.average else self.module

    def train_epoch(self, deadline: float | None = None) -> float:
        """Train one epoch and return its mean loss (a mean over batches).

        ``deadline``: a `time.monotonic` value. Raises `CandidateError` when it has passed, and for
        a loss that is NaN or infinite.
        """
        order, tensors, numbers = self._randomness()
        batches = self._batches(order, tensors)
        total = torch.zeros((), device=self.device)
        self.module.train()
        for step in range(self.steps):
            if deadline is not None and time.monotonic() > deadline:
                raise CandidateError(
                    f"time limit of {self.recipe.time_limit:g} s reached in epoch {self.epoch + 1}"
                )
            self.step = self.epoch * self.steps + step
            self._set_pace(self.epoch + step / self.steps)
            total += self._step(next(batches), tensors, numbers)
            if self.average:
                self.average.update(self.module, self.step)
            # Reading a loss waits for a GPU, so there it is read once an epoch only.
            if (self.device.type == "cpu" or step == self.steps - 1) and not total.isfinite():
                raise CandidateError(f"the loss is NaN or infinite in epoch {self.epoch + 1}")
        self.epoch += 1
        return float(total) / self.steps

    def _batches(self, order: torch.Generator, tensors: torch.Generator) -> Iterator[Split]:
        """Return an iterator over this process's parts of the epoch's batches, moved at random."""
        indices = self.data.augment.order(torch.randperm(len(self.data.train), generator=order))
        chosen = torch.split(indices.to(self.device), self.batch)[: self.steps]
        mine = [part[self.rank :: self.world] for part in chosen]
        return iter(self.data.train.batches(mine, self.data.augment, tensors))

    def _randomness(self) -> tuple[torch.Generator, torch.Generator, random.Random]:
        text = f"{self.seed}/{self.epoch}".encode()
        seed = int.from_bytes(hashlib.blake2b(text, digest_size=7).digest())
        own = seed + 4 * self.rank  # an image's repeats may be in other processes, at one place
        torch.manual_seed(own)  # dropout and drop path draw from the global generator
        return (
            torch.Generator().manual_seed(seed + 1),
            torch.Generator(self.device).manual_seed(own + 2),
            random.Random(seed + 3),
        )

    def _set_pace(self, epoch: float) -> None:
        rate = self.recipe.learning_rate * self.recipe.factor(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        tell(self.clocks, epoch / self.recipe.epochs)

    def _step(
        self, chosen: Split, tensors: torch.Generator, numbers: random.Random
    ) -> torch.Tensor:
        images, target = self._batch(chosen, tensors, numbers)
        with self.autocast:
            loss = self._total(self.run(images), target)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._descend()
        return loss.detach()

    def _batch(
        self, chosen: Split, tensors: torch.Generator, numbers: random.Random
    ) -> tuple[torch.Tensor, Target]:
        """Return images augmented further and the loss of logits against their labels."""
        augment = self.data.augment
        images = augment.hide(self.data.normalise(chosen.images), tensors)
        images, second, weight = augment.mix(images, chosen.labels, numbers)
        if self.recipe.channels_last:
            images = images.to(memory_format=torch.channels_last)
        target = functools.partial(self._loss, first=chosen.labels, second=second, weight=weight)
        return images, target

    def _total(self, outputs: Outputs, target: Target) -> torch.Tensor:
        """Return the loss of a network's outputs: its logits, and those of side classifiers."""
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        self._check(logits)
        loss = target(logits)
        for more in auxiliary:
            loss = loss + self.recipe.auxiliary * target(more)
        return loss

    def _descend(self) -> None:
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.clip)
        self.optimizer.step()

    def _check(self, logits: torch.Tensor) -> None:
        if tuple(logits.shape[1:]) != (self.data.classes,):
            raise ConfigError(
                f"data {self.data.name!r} has {self.data.classes} classes, the network gives an "
                f"output of shape {tuple(logits.shape[1:])}; set the space's classes to match"
            )

    def _loss(
        self, logits: torch.Tensor, first: torch.Tensor, second: torch.Tensor, weight: float
    ) -> torch.Tensor:
        smoothing = self.recipe.label_smoothing
        loss = functional.cross_entropy(logits.float(), first, label_smoothing=smoothing)
        if weight == 1.0:
            return loss
        other = functional.cross_entropy(logits.float(), second, label_smoothing=smoothing)
        return weight * loss + (1 - weight) * other

    def teach(self, weights: dict[str, torch.Tensor]) -> None:
        """Make ``weights`` the teacher from now on.

        Only `Sharing`, which trains a supernet, has teachers: no other training's checkpoint holds one.
        """
        raise NotImplementedError

    def measure(self, split: Part) -> tuple[float, float]:
        """Return (accuracy in [0, 1], mean cross-entropy) of the kept module on ``split``."""
        return measure(self.best, self.data, split, self.autocast)


def logits_of(outputs: Outputs) -> torch.Tensor:
    """Return a network's own logits, without those of side classifiers."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def clocks(module: nn.Module) -> list[nn.Module]:
    """Return the modules inside that are told how far training is, in ``progress``."""
    return [part for part in module.modules() if getattr(part, "progress", None) is not None]


def keep_as_tensors(found: Iterable[nn.Module], device: torch.device) -> None:
    """Let clocks be told in place: torch.compile would make other code for every number."""
    for clock in found:
        clock.progress = torch.zeros((), device=device)


def tell(found: Iterable[nn.Module], progress: float) -> None:
    """Tell clocks how far training is, from 0 to 1."""
    for clock in found:
        if isinstance(clock.progress, torch.Tensor):
            clock.progress.fill_(progress)
        else:
            clock.progress = progress  # type: ignore[assignment]  # a module's attribute may be a number


@torch.no_grad()  # not inference mode: a tensor that a module caches here may be trained with later
def measure(
    module: nn.Module, data: Dataset, split: Part, autocast: torch.autocast | None = None
) -> tuple[float, float]:
    """Return (accuracy in [0, 1], mean cross-entropy) of ``module`` on ``split`` of ``data``.

    The module is put in eval mode and left there.
    """
    module.eval()
    device = split.labels.device
    right, loss = torch.zeros((), device=device), torch.zeros((), device=device)
    for part in split.parts(VALIDATION_BATCH):
        with autocast or torch.autocast(device.type, enabled=False):
            logits = module(data.normalise(part.images)).float()
        right += (logits.argmax(1) == part.labels).sum()
        loss += functional.cross_entropy(logits, part.labels, reduction="sum")
    return float(right) / len(split), float(loss) / len(split)
