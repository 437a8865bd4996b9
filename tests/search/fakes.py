"""A space of lists of numbers with the surface of the real one, and evaluators that misbehave on request.

Import paths into this file (``tests.search.fakes.Table``) are what the configurations of the tests name.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nasflow.errors import CandidateError, DataError, PointError, SpaceError
from nasflow.search import job
from nasflow.search.strategy import Result

Point = dict[str, Any]


class Graph:
    """A network that is no more than its widths; their order makes no difference, so permutations are equal."""

    def __init__(self, widths: list[int]) -> None:
        self.widths = widths
        self.fingerprint = "-".join(map(str, sorted(widths)))

    def cost(self) -> Any:
        return SimpleNamespace(
            params=sum(self.widths),
            macs=10 * sum(self.widths),
            activations=0,
            peak_memory=0,
            depth=1,
            receptive_field=1,
        )

    def to_json(self) -> Any:
        return {"widths": self.widths}

    @classmethod
    def from_json(cls, data: Any) -> Graph:
        return cls(data["widths"])


job._graph_class = lambda: Graph  # type: ignore[assignment,return-value]  # in workers, which import this file


class Space:
    """Draw `places` widths out of 1..`options`; a point whose widths are all `broken` makes no network."""

    name = "fake"

    def __init__(self, places: int = 4, options: int = 8, broken: int | None = None) -> None:
        self.places, self.options, self.broken = places, options, broken
        self.size = options**places
        self.binds = 0
        widths = tuple(range(1, options + 1))
        self.decisions = [
            SimpleNamespace(name=f"w{i}", searched=True, options=widths) for i in range(places)
        ]

    def sample(self, seed: int | random.Random) -> Point:
        rng = seed if isinstance(seed, random.Random) else random.Random(seed)
        return {f"w{i}": rng.randint(1, self.options) for i in range(self.places)}

    def enumerate(self) -> Iterator[Point]:
        for number in range(self.size):
            yield {
                f"w{i}": number // self.options**i % self.options + 1 for i in range(self.places)
            }

    def mutate(self, point: Point, rng: random.Random) -> Point:
        name = rng.choice(sorted(point))
        return {
            **point,
            name: rng.choice([w for w in range(1, self.options + 1) if w != point[name]]),
        }

    def bind(self, point: Point) -> Graph:
        self.binds += 1
        if set(point) != {f"w{i}" for i in range(self.places)}:
            raise PointError(f"fake: expected w0 to w{self.places - 1}, got {', '.join(point)}")
        if self.broken is not None and set(point.values()) == {self.broken}:
            raise SpaceError(f"fake: {self.broken} everywhere makes no network")
        return Graph(list(point.values()))


def space(places: int = 4, options: int = 8, broken: int | None = None) -> Space:
    return Space(places, options, broken)


class Elsewhere(Space):
    """Make other networks in every process, as two versions of one space do."""

    def bind(self, point: Point) -> Graph:
        return Graph([*super().bind(point).widths, os.getpid()])


class Sampler:
    """Propose at random, leaning on what was told: so that lost or swapped tells change the proposals."""

    def __init__(self, space: Space, seed: int = 0, lean: float = 0.5, pause: float = 0.0) -> None:
        self.space, self.rng, self.lean, self.pause = space, random.Random(seed), lean, pause
        self.told: list[tuple[Point, float | None]] = []

    def ask(self) -> Point | None:
        time.sleep(self.pause)
        point = self.space.sample(self.rng)
        if self.told and self.rng.random() < self.lean:
            best = max(self.told[-50:], key=lambda t: float("-inf") if t[1] is None else t[1])[0]
            name = self.rng.choice(sorted(point))
            return {**best, name: point[name]}
        return point

    def tell(self, point: Point, result: Result) -> None:
        self.told.append((point, result.reward))

    def state(self) -> Any:
        version, numbers, gauss = self.rng.getstate()
        return {"random": [version, list(numbers), gauss], "told": self.told[-50:]}

    def restore(self, state: Any) -> None:
        version, numbers, gauss = state["random"]
        self.rng.setstate((version, tuple(numbers), gauss))
        self.told = [(point, reward) for point, reward in state["told"]]


class Walk:
    """Propose every point once, in order."""

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.points, self.given = list(space.enumerate()), 0

    def ask(self) -> Point | None:
        if self.given == len(self.points):
            return None
        self.given += 1
        return self.points[self.given - 1]

    def tell(self, point: Point, result: Result) -> None:
        pass

    def state(self) -> Any:
        return {"given": self.given}

    def restore(self, state: Any) -> None:
        self.given = state["given"]


class Table:
    """Look up: the more the widths sum to, the better. `log` names a file with one line for each evaluation."""

    def __init__(self, log: str | None = None, sleep: float = 0.0) -> None:
        self.log, self.sleep = log, sleep

    def __call__(self, graph: Any, *, seed: int, report: Any = None) -> dict[str, float]:
        note(self.log, f"{graph.fingerprint} {seed}")
        time.sleep(self.sleep)
        return {"accuracy": sum(graph.widths) / 100, "seed": seed}


class Faulty(Table):
    """Misbehave for some first widths: 1 raises, 2 gives NaN, 3 loops, 4 sleeps in one call, 5 takes all memory."""

    def __call__(self, graph: Any, *, seed: int, report: Any = None) -> dict[str, float]:
        measures = super().__call__(graph, seed=seed)
        kind = graph.widths[0]
        if kind == 1:
            raise CandidateError("an operation of the user's raised")
        if kind == 2:
            measures["accuracy"] = float("nan")
        if kind == 3:
            while True:
                sum(range(100))
        if kind == 4:
            time.sleep(600)
        if kind == 5:
            hoard = []
            while True:
                hoard.append(bytearray(8 * 2**20))
        return measures


class Signed(Table):
    """Leave the number of the process in the log instead."""

    def __call__(self, graph: Any, *, seed: int, report: Any = None) -> dict[str, float]:
        note(self.log, str(os.getpid()))
        time.sleep(self.sleep)
        return {"accuracy": sum(graph.widths) / 100}


class Placed(Table):
    """Leave the name of the node in the log instead, and wait for two nodes to be at work."""

    def __call__(self, graph: Any, *, seed: int, report: Any = None) -> dict[str, float]:
        import ray

        note(self.log, ray.get_runtime_context().get_node_id())
        # On a slow machine a second node's first worker starts when all would be over.
        while len(set(Path(self.log).read_text().splitlines())) < 2:
            time.sleep(0.05)
        time.sleep(self.sleep)
        return {"accuracy": sum(graph.widths) / 100}


class Hungry(Table):
    """Take memory without end for graphs whose first width is `width`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def __call__(self, graph: Any, *, seed: int, report: Any = None) -> dict[str, float]:
        hoard: list[bytearray] = []
        while graph.widths[0] == self.width:
            hoard.append(bytearray(8 * 2**20))
        return super().__call__(graph, seed=seed)


class Killed(Table):
    """End the worker process of the first `times` evaluations of graphs whose first width is `width`."""

    def __init__(self, log: str, folder: str, width: int, times: int = 1) -> None:
        super().__init__(log)
        self.folder, self.width, self.times = folder, width, times

    def __call__(self, graph: Any, *, seed: int, report: Any = None) -> dict[str, float]:
        if graph.widths[0] == self.width:
            deaths = Path(self.folder)
            for attempt in range(self.times):
                mark = deaths / f"{graph.fingerprint}-{attempt}"
                if not mark.exists():
                    mark.touch()
                    os.kill(os.getpid(), 9)
        return super().__call__(graph, seed=seed)


class ByPoint:
    """Judge by the first decision, which the network does not tell."""

    def __call__(
        self, graph: Any, *, point: Point, seed: int, report: Any = None
    ) -> dict[str, float]:
        return {"accuracy": point["w0"]}


class NoData:
    """Find that its data is missing, as soon as it is asked."""

    def __call__(self, graph: Any, *, seed: int, report: Any = None) -> dict[str, float]:
        raise DataError("data: /nowhere/digits.npz does not exist")


def note(log: str | None, line: str) -> None:
    if log:
        fd = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.write(fd, f"{line}\n".encode())
        os.close(fd)


class Epochs:
    """Report an accuracy after each of five epochs; a first width of 3 fails before."""

    def __call__(self, graph: Any, *, seed: int, report: Any = None) -> dict[str, float]:
        if graph.widths[0] == 3:
            raise CandidateError("unlucky")
        for epoch in range(1, 6):
            measures = {"accuracy": graph.widths[0] * epoch / 100, "epoch": epoch}
            if report is not None:
                report(measures)
        return measures
