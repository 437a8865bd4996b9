"""Train shared weights and the controller that draws from them in turns, as ENAS does."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nasflow.ir import Point, Space
from nasflow.options import check_type, check_whole
from strategies.rl import RL, Moving

if TYPE_CHECKING:
    from nasflow.lower import Supernet


class ENAS(RL):
    """Let the controller's own draws train the weights, and the weights' accuracies the controller.

    Each step of the weights trains one child drawn from the controller; after each epoch the
    controller takes ``updates`` steps of REINFORCE, each on ``batch`` children rewarded by their
    accuracy on one batch of held-out images (Pham et al., 2018, "ENAS", section 2.2). Then it
    proposes children, which are judged in the weights as they then are, and goes on learning from what
    they were worth. Defaults are those of the paper (section 3.1) and of its authors' code for micro cells
    (github.com/melodyguan/enas), where an epoch is followed by 30 updates. ``alike`` is ours: the
    weights start as `nasflow.lower.alike.start_alike` has them.
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        *,
        updates: int = 5,
        batch: int = 10,
        learning_rate: float = 0.0035,
        entropy: float = 0.0001,
        baseline: float = 0.99,
        hidden: int = 64,
        init: float = 0.1,
        temperature: float = 5.0,
        tanh_limit: float | None = 2.5,
        alike: bool = True,
    ) -> None:
        check_type("strategy.alike", alike, "bool")
        check_whole("strategy.updates", updates)
        super().__init__(
            space,
            seed,
            algorithm="reinforce",
            learning_rate=learning_rate,
            batch=batch,
            entropy=entropy,
            baseline=baseline,
            hidden=hidden,
            init=init,
            temperature=temperature,
            tanh_limit=tanh_limit,
        )
        self.seed, self.updates, self.alike = seed, updates, alike
        # Accuracies on a batch, by its own statistics, are no measure for those of the search.
        self.lessons = Moving(baseline)

    def initialise(self, supernet: Supernet) -> None:
        """Let the weights start alike, where the strategy says so (docs/one-shot.md has what that gained)."""
        from nasflow.lower.alike import start_alike

        if self.alike:
            start_alike(supernet)

    def paths(self, step: int, steps: int) -> list[Point]:
        """Return one child, drawn from the controller as it is now."""
        return [self.controller.draw(random.Random(f"{self.seed}/{step}"))[0]]

    def alternate(self, epoch: int, reward: Callable[[Point], float | None]) -> dict[str, float]:
        """Take the updates that follow an epoch; return the mean reward of their children."""
        rng = random.Random(f"{self.seed}/controller/{epoch}")
        told, self.told = self.told, []
        rewards: list[float] = []
        for _ in range(self.updates):
            for _ in range(self.batch):
                point, scores = self.controller.draw(rng)
                worth = reward(point)
                if worth is not None:
                    advantage = self.lessons.advantage(worth)
                    self.told.append((self.controller.steps(point), scores, advantage))
                    self.lessons.add(worth)
                    rewards.append(worth)
            self._update()
            self.told = []
        self.told = told
        return {"reward": sum(rewards) / len(rewards)} if rewards else {}

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on bit for bit, as JSON."""
        return {**super().state(), "lessons": self.lessons.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        super().restore(state)
        self.lessons.restore(state["lessons"])
