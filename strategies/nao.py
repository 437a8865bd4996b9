"""Move good points along the gradient of their predicted reward, as NAONet was found."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasflow.ir import Decision, Point, Space
from nasflow.search.strategy import Result
from strategies._points import Seen, dump_random, load_random, thaw

MOVES = 30  # steps along the gradient before a parent is given up
GIVEN_UP = 5  # parents, before a mutation of the best


class NAO:
    """Encode points, predict rewards from their codes, and decode codes that promise more.

    Luo et al., 2018, "Neural architecture optimization": an encoder, a predictor and a decoder are
    trained together on `trade` times the predictor's squared error plus the rest times the decoder's
    cross-entropy; then one of the `parents` best points moves by `step` along the gradient until
    it decodes to a new point. Two changes, for budgets of hundreds: perceptrons over the space's
    encoding take the place of LSTMs, and the decoder also learns from random points, which cost
    nothing. Decoding follows the space's conditions, so that every code is a valid point. The first
    `warmup` points are random; models are trained anew after every `batch` results. A failed
    candidate counts as the worst reward so far.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        warmup: int = 20,
        batch: int = 10,
        parents: int = 10,
        latent: int = 32,
        hidden: int = 64,
        epochs: int = 200,
        learning_rate: float = 0.01,
        trade: float = 0.8,
        step: float = 0.2,
    ) -> None:
        self.space, self.warmup, self.batch, self.parents = space, max(warmup, 2), batch, parents
        self.latent, self.hidden, self.epochs = latent, hidden, epochs
        self.learning_rate, self.trade, self.step = learning_rate, trade, step
        self.rng = random.Random(seed)
        self.seen = Seen(space)
        self.told: list[tuple[Point, float]] = []
        self.fitted, self.fit_seed = 0, 0  # results the model was trained on, and with which seed
        self.model: Codec | None = None

    def ask(self) -> Point | None:
        """Propose a point; None when the space is exhausted."""
        point = None
        if len(self.told) >= self.warmup and 2 * len(self.seen) < self.space.size:
            if self.model is None or len(self.told) >= self.fitted + self.batch:
                self.fitted, self.fit_seed = len(self.told), self.rng.getrandbits(32)
                self.model = self._fit()
            point = self._improved(self.model)
        return self.seen.take(point or self.seen.fresh(self.rng))

    def _improved(self, model: Codec) -> Point | None:
        best = sorted(self.told, key=lambda each: each[1])[-self.parents :]
        for _ in range(GIVEN_UP):
            code = model.encode(self.rng.choice(best)[0])
            for _ in range(MOVES):
                code = model.moved(code, self.step)
                point = model.decode(code)
                if point not in self.seen:
                    return point
        for _ in range(GIVEN_UP):
            point = self.space.mutate(self.rng.choice(best)[0], self.rng)
            if point not in self.seen:
                return point
        return None

    def _fit(self) -> Codec:
        rng = random.Random(self.fit_seed)
        told = self.told[: self.fitted]
        others = [self.space.sample(rng) for _ in range(2 * self.warmup)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.fit_seed)
            model = Codec(self.space, self.latent, self.hidden)
            optimizer = torch.optim.Adam(model.parameters(), self.learning_rate)
            known, free = (model.read([p for p, _ in told]), model.read(others))
            target = ranks([reward for _, reward in told])
            for _ in range(self.epochs):
                codes, loose = model.encoder(known), model.encoder(free)
                error = F.mse_loss(model.predictor(codes).squeeze(1), target)
                noisy = torch.cat([codes, loose])
                noisy = noisy + 0.1 * torch.randn_like(noisy)
                wrong = model.misread(noisy, torch.cat([known, free]))
                optimizer.zero_grad()
                torch.autograd.backward(self.trade * error + (1 - self.trade) * wrong)
                optimizer.step()
        return model.requires_grad_(False)

    def tell(self, point: Point, result: Result) -> None:
        """Learn a result; a failure before any success says nothing."""
        self.seen.add(point)
        if result.reward is not None or self.told:
            worst = min((reward for _, reward in self.told), default=0.0)
            self.told.append((thaw(point), worst if result.reward is None else result.reward))

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on identically, as JSON; models are trained again."""
        return {
            "random": dump_random(self.rng),
            "seen": self.seen.state(),
            "told": [list(each) for each in self.told],
            "fitted": [self.fitted, self.fit_seed],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        load_random(self.rng, state["random"])
        self.seen.restore(state["seen"])
        self.told = [(thaw(point), reward) for point, reward in state["told"]]
        self.fitted, self.fit_seed = state["fitted"]
        self.model = self._fit() if self.fitted else None


class Codec(nn.Module):
    """An encoder of points, a decoder of their codes and a predictor of rewards between them."""

    def __init__(self, space: Space, latent: int, hidden: int) -> None:
        super().__init__()
        self.space = space
        self.sizes = [len(decision.options) for decision in space.decisions]
        width = sum(self.sizes)
        self.encoder = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, latent), nn.Tanh()
        )
        self.predictor = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def read(self, points: Sequence[Point]) -> Tensor:
        """Return the encodings of points, (points, width)."""
        return torch.tensor([self.space.encode(point) for point in points])

    def misread(self, codes: Tensor, wanted: Tensor) -> Tensor:
        """Return the decoder's mean cross-entropy over the active decisions."""
        blocks = zip(
            self.decoder(codes).split(self.sizes, 1), wanted.split(self.sizes, 1), strict=True
        )
        losses = [-(right * logits.log_softmax(1)).sum() for logits, right in blocks]
        return torch.stack(losses).sum() / wanted.sum().clamp_min(1)

    def encode(self, point: Point) -> Tensor:
        """Return a point's code, (1, latent)."""
        return self.encoder(self.read([point]))

    def moved(self, code: Tensor, step: float) -> Tensor:
        """Return a code a step along the gradient of its predicted reward."""
        code = code.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.predictor(code).sum(), code)
        return (code + step * slope / slope.norm().clamp_min(1e-12)).detach()

    def decode(self, code: Tensor) -> Point:
        """Return the point of a code: of each decision that is active, the likeliest option."""
        names = [decision.name for decision in self.space.decisions]
        logits = dict(zip(names, self.decoder(code)[0].split(self.sizes), strict=True))
        return self.space.decide(lambda decision: likeliest(decision, logits[decision.name]))


def likeliest(decision: Decision, logits: Tensor) -> Any:
    """Return the option of the largest logit; a decision that is not searched keeps its default."""
    return decision.options[int(logits.argmax())] if decision.searched else decision.default


def ranks(rewards: Sequence[float]) -> Tensor:
    """Return rewards by rank, from 0 to 1; equal rewards are equal."""
    place = {reward: i for i, reward in enumerate(sorted(set(rewards)))}
    return torch.tensor([place[reward] / max(len(place) - 1, 1) for reward in rewards])
