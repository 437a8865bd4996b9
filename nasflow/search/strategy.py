"""What a strategy is: it proposes points and is told what they were worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nasflow.discovery import build, find
from nasflow.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from nasflow.ir import Point, Space
    from nasflow.lower import Supernet


@dataclass(frozen=True)
class Result:
    """Hold what one candidate was worth.

    `reward` is the scalar to maximise, None where the candidate failed; `values` holds one number for each
    objective, all to maximise (of length one for a single objective), and is empty where the candidate failed.
    """

    measures: dict[str, float] = field(default_factory=dict)
    reward: float | None = None
    error: str | None = None
    values: tuple[float, ...] = ()


class Strategy(Protocol):
    """Propose points of one space; constructed as ``Name(space, seed=..., **options)``.

    The life of a proposal: `ask` gives a point; the loop binds it, and unless an equal network is known or a hard
    limit refuses it, it is evaluated; `tell` brings the result. Several asks may be open, results come in any order.
    A network that was evaluated before is answered at once with the stored result. Strategies must be deterministic:
    the same seed and the same sequence of calls give the same proposals, or a killed run cannot be resumed.
    """

    def ask(self) -> Point | None:
        """Propose a point; None when there is nothing left to propose (until the next `tell`)."""

    def tell(self, point: Point, result: Result) -> None:
        """Learn the result of a point; `result.reward` is None where the candidate failed."""

    def state(self) -> dict[str, Any]:
        """Return everything `restore` needs to go on identically, as JSON."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`, on a strategy constructed with the same arguments."""


class OneShot(Strategy, Protocol):
    """A strategy that also says how the shared weights of its space are trained.

    Only `paths` is needed; what else is not defined is as said here. The run trains the weights
    first (`nasflow.evaluate.sharing`), then evaluates what `ask` proposes in them. For a killed
    training to resume exactly, these depend on nothing but the seed, their arguments and what
    `alternate` learned; `loss`, `regularises` and `update`, which come after `paths` in each step,
    also on what that was last asked for.
    """

    budgets: tuple[float, ...]
    """Upper bounds on the measure `cost` ("macs", "params"): the run exports the best child under
    each. Without them it exports the best child."""
    cost: str

    def paths(self, step: int, steps: int) -> list[Point]:
        """Return the children that step `step` (from 0) of `steps` trains, in this order."""

    def loss(
        self,
        path: int,
        logits: Tensor,
        target: Callable[[Tensor], Tensor],
        teacher: Tensor | None,
    ) -> Tensor:
        """Return the loss of path number `path`; if not defined, ``target(logits)``.

        `logits` (B, classes) are float32; ``target(logits)`` is their loss against the labels.
        `teacher` are the logits of the step's first path, without gradient (None for that path
        itself), or those of a frozen teacher.
        """

    def freeze(self, step: int, steps: int) -> bool:
        """Tell whether the biggest network, as it is before this step, teaches from now on."""

    def regularises(self, path: int) -> bool:
        """Tell whether a path has dropout, drop path and weight decay; if not defined, all have."""

    def update(self, gradients: list[list[Tensor | None]]) -> list[Tensor | None]:
        """Return the step's gradients from those of each path; if not defined, their mean.

        Each list has an entry for every weight of the supernet, None where a path has no part in it.
        """

    def alternate(self, epoch: int, reward: Callable[[Point], float | None]) -> dict[str, float]:
        """Learn after epoch `epoch` (from 0) of the weights; return measures to report of it.

        ``reward(point)`` is a child's accuracy on one batch of held-out images, None where it cannot run. `paths` may
        follow from what is learned here: `state` is kept with the weights' checkpoint then.
        """

    def initialise(self, supernet: Supernet) -> None:
        """Change the weights of a new supernet in place; if not defined, operations' own laws hold."""


def create(spec: Mapping[str, Any], space: Space, seed: int) -> Strategy:
    """Construct the strategy that `spec` names: ``{"name": "rl", **options}``, or ``_target_`` for an import path.

    Raises ConfigError for an unknown name or option, with the nearest valid one.
    """
    options = dict(spec)
    target = options.pop("_target_", None)
    name = target or options.pop("name", None)
    if not name:
        raise ConfigError("strategy: expected a name (for example strategy=random), got none")
    strategy: Strategy = build(
        find("strategy", name), f"strategy {name!r}", space, seed=seed, **options
    )
    return strategy
