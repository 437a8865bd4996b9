"""Train a recurrent controller to propose points of high reward, as NASNet was found."""

from __future__ import annotations

import base64
import random
from typing import Any, Literal

import torch
from torch import Tensor

from nasflow.ir import Point, Space
from nasflow.options import check_number, check_option, check_whole
from nasflow.search.strategy import Result
from strategies._controller import Controller, Step
from strategies._points import Seen, dump_random, key, load_random

REDRAWS = 40  # a controller this sure of known points is helped out by a uniform draw


class RL:
    """Sample points from an LSTM controller and reinforce those that did well.

    Defaults are those of NASNet (Zoph et al., 2018, appendix A.2, A.3): PPO with Adam at 0.00035,
    updates of 20 results, entropy weight 0.00001, an exponential moving average of rewards (0.95)
    as baseline, 100 hidden units, weights drawn from -0.1 to 0.1. `algorithm="reinforce"` is the
    rule of Zoph and Le (2017). What the papers leave open: PPO's clip and its passes over a batch
    are those of Schulman et al. (2017), advantages are divided by the moving deviation of rewards
    so that their unit does not matter, and a failed candidate counts as the worst reward so far.

    Points proposed before are not proposed again: the controller redraws, ever more evenly.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        algorithm: Literal["ppo", "reinforce"] = "ppo",
        learning_rate: float = 0.00035,
        batch: int = 20,
        epochs: int = 10,
        clip: float = 0.2,
        entropy: float = 0.00001,
        baseline: float = 0.95,
        hidden: int = 100,
        init: float = 0.1,
        temperature: float = 1.0,
        tanh_limit: float | None = None,
    ) -> None:
        check_option("strategy.algorithm", algorithm, ("ppo", "reinforce"))
        for name, value in (("batch", batch), ("epochs", epochs), ("hidden", hidden)):
            check_whole(f"strategy.{name}", value)
        reals = {"learning_rate": learning_rate, "init": init, "temperature": temperature}
        for name, real in reals.items():
            check_number(f"strategy.{name}", real, above=0)
        self.algorithm, self.batch, self.clip, self.entropy = algorithm, batch, clip, entropy
        self.epochs = epochs if algorithm == "ppo" else 1
        self.rng = random.Random(seed)
        self.seen = Seen(space)
        self.controller = Controller(space, hidden, init, temperature, tanh_limit, seed)
        self.optimizer = torch.optim.Adam(self.controller.parameters(), lr=learning_rate)
        self.rewards = Moving(baseline)
        # By the keys of proposed points: log-probabilities when drawn.
        self.pending: dict[int, list[float]] = {}
        # Steps, log-probabilities, advantage.
        self.told: list[tuple[list[Step], list[float], float]] = []

    def ask(self) -> Point | None:
        """Propose a point drawn from the controller; None when the space is exhausted."""
        for attempt in range(REDRAWS):
            point, scores = self.controller.draw(self.rng, heat=1.1**attempt)
            if self.seen.add(point):
                self.pending[key(point)] = scores
                return point
        return self.seen.take(self.seen.fresh(self.rng))

    def tell(self, point: Point, result: Result) -> None:
        """Take a result in; every `batch` of them the controller is updated."""
        self.seen.add(point)
        scores = self.pending.pop(key(point), [])
        reward = self.rewards.worst if result.reward is None else result.reward
        if reward is None:
            return  # a failure before any success says nothing yet
        self.told.append((self.controller.steps(point), scores, self.rewards.advantage(reward)))
        self.rewards.add(reward)
        if len(self.told) == self.batch:
            self._update()
            self.told = []

    def _update(self) -> None:
        told = [row for row in self.told if row[0]]
        if not told:
            return
        advantage = torch.tensor([a for _, _, a in told]).unsqueeze(1)
        before: Tensor | None = None
        for _ in range(self.epochs):
            scores, entropy = self.controller.score([steps for steps, _, _ in told])
            if before is None:
                before = scores.detach().clone()
                for row, (_, drawn, _) in enumerate(told):
                    before[row, : len(drawn)] = torch.tensor(drawn)
            gain = self._gain(scores, before, advantage) + self.entropy * entropy
            self.optimizer.zero_grad()
            torch.autograd.backward(-gain.sum() / len(told))
            self.optimizer.step()

    def _gain(self, scores: Tensor, before: Tensor, advantage: Tensor) -> Tensor:
        if self.algorithm == "reinforce":
            return scores * advantage
        ratio = (scores - before).exp()
        return torch.minimum(
            ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage
        )

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on bit for bit; tensors as base64 of float32 bytes."""
        moments = self.optimizer.state_dict()["state"]
        return {
            "random": dump_random(self.rng),
            "seen": self.seen.state(),
            "weights": {
                name: dump_tensor(value) for name, value in self.controller.named_parameters()
            },
            "adam": {
                str(i): {k: dump_tensor(v) for k, v in each.items()} for i, each in moments.items()
            },
            "rewards": self.rewards.state(),
            "pending": {str(k): scores for k, scores in self.pending.items()},
            "told": [
                [list(map(list, steps)), scores, advantage]
                for steps, scores, advantage in self.told
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        load_random(self.rng, state["random"])
        self.seen.restore(state["seen"])
        with torch.no_grad():
            for name, value in self.controller.named_parameters():
                value.copy_(load_tensor(state["weights"][name]).view_as(value))
        moments = self.optimizer.state_dict()
        shapes = [value.shape for value in self.controller.parameters()]
        moments["state"] = {
            int(i): {
                k: load_tensor(v).view(shapes[int(i)] if k != "step" else ())
                for k, v in each.items()
            }
            for i, each in state["adam"].items()
        }
        self.optimizer.load_state_dict(moments)
        self.rewards.restore(state["rewards"])
        self.pending = {int(k): list(scores) for k, scores in state["pending"].items()}
        self.told = [
            ([(d, o) for d, o in steps], list(scores), a) for steps, scores, a in state["told"]
        ]


class Moving:
    """Keep exponentially weighted mean and deviation of rewards, and the worst one."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.sums = [0.0, 0.0, 0.0]  # of weights, of rewards, of their squares
        self.worst: float | None = None

    def advantage(self, reward: float) -> float:
        """Return how many deviations a reward lies above the mean; 0 where all are equal."""
        weight, total, squares = self.sums
        if weight == 0:
            return 0.0
        mean = total / weight
        deviation = max(squares / weight - mean * mean, 0.0) ** 0.5
        return (reward - mean) / deviation if deviation > 1e-9 * (1 + abs(mean)) else 0.0

    def add(self, reward: float) -> None:
        """Take a reward in."""
        self.sums = [
            self.decay * s + x
            for s, x in zip(self.sums, (1.0, reward, reward * reward), strict=True)
        ]
        self.worst = reward if self.worst is None else min(self.worst, reward)

    def state(self) -> list[Any]:
        """Return the sums and the worst reward."""
        return [*self.sums, self.worst]

    def restore(self, state: list[Any]) -> None:
        """Go on from `state`."""
        *self.sums, self.worst = state


def dump_tensor(value: Tensor) -> str:
    """Return a tensor's float32 bytes as base64 text."""
    return base64.b64encode(value.detach().float().contiguous().numpy().tobytes()).decode()


def load_tensor(text: str) -> Tensor:
    """Return the flat float32 tensor that `dump_tensor` wrote."""
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float32).clone()
