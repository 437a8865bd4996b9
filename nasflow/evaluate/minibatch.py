"""Reward children by one batch of held-out images each, while their shared weights are being trained."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from nasflow.data import Augment, Part, Split
from nasflow.errors import SpaceError
from nasflow.evaluate.sharing import Sharing, fitted, regularise
from nasflow.evaluate.training import logits_of

if TYPE_CHECKING:
    from nasflow.ir import Point

TOGETHER = 64  # batches, the next as they are asked for


class Minibatches:
    """Return a child's accuracy on a random batch of validation images, as ENAS rewards its controller.

    Norms take the statistics of that batch, dropout is off, and the weights are those of this
    moment (Pham et al., 2018, section 2.2; the authors' code normalises so too). A call costs one forward pass.
    ``seed`` fixes the batches; processes that train together all get what the first one measured.
    """

    def __init__(self, training: Sharing, seed: str) -> None:
        self.training = training
        batch = min(training.recipe.batch, len(training.data.validation))
        self.parts = drawn(training.data.validation, batch, random.Random(seed))

    @torch.no_grad()
    def __call__(self, point: Point) -> float | None:
        """Return the accuracy, in [0, 1]; None for a child that needs weights which are not there."""
        training = self.training
        part = next(self.parts)
        try:
            child = training.supernet.at(point).train()
        except SpaceError:
            return None
        regularise(child, False)
        images = training.data.normalise(part.images)
        if training.recipe.channels_last:
            images = images.to(memory_format=torch.channels_last)
        with training.autocast:
            logits = logits_of(child(fitted(images, child)))
        right = (logits.argmax(1) == part.labels).float().mean()
        if training.world > 1:
            torch.distributed.broadcast(right, 0)
        return float(right)


def drawn(images: Part, batch: int, rng: random.Random) -> Iterator[Split]:
    """Yield random batches without end; a stream decodes `TOGETHER` of them with one set of workers."""
    device = images.labels.device
    generator = torch.Generator(
        device
    )  # for a seed that changes nothing: pictures stay as they are
    while True:
        chosen = [rng.sample(range(len(images)), batch) for _ in range(TOGETHER)]
        indices = [torch.tensor(each, device=device) for each in chosen]
        yield from images.batches(indices, Augment(), generator)
