"""Predict how long a network takes from a table of its operations' times, without running it."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasflow.errors import ConfigError, RunError
from nasflow.evaluate.evaluator import Network, Report, cost
from nasflow.ir.cost import describe
from nasflow.ir.graph import Graph

if TYPE_CHECKING:
    from nasflow.ir.operation import Applied

VERSION = 1


@dataclass
class LatencyTable:
    """Hold the time of each operation on one machine, and what whole networks took there.

    `operations`: microseconds by `name_of` the operation. `networks`: what was measured whole, each
    with ``sum_us`` of its operations, their number and the measured ``ms``; from these follows the
    calibration. `machine` and `settings` say where and how (see `describe_machine`).
    """

    path: Path
    machine: dict[str, Any]
    settings: dict[str, Any]
    operations: dict[str, float] = field(default_factory=dict)
    networks: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._known: dict[Applied, float] = {}
        self._fitted: tuple[int, tuple[float, float]] | None = None

    @property
    def calibration(self) -> tuple[float, float]:
        """Return (scale, microseconds an operation): time = scale * sum + that * operations.

        Neither is negative. They minimise the squares of the relative errors over `networks`;
        without any the operations simply add up.
        """
        if self._fitted is None or self._fitted[0] != len(self.networks):
            self._fitted = (len(self.networks), calibrate(self.networks))
        return self._fitted[1]

    def predict(self, graph: Graph) -> float:
        """Return the predicted milliseconds of one pass in eval mode.

        Raises RunError, with the command that mends it, for an operation the table lacks.
        """
        total, count = self.add_up(graph)
        scale, each = self.calibration
        return (scale * total + each * count) / 1e3

    def add_up(self, graph: Graph) -> tuple[float, int]:
        """Return the sum of the operations' microseconds and their number."""
        return self._add_up(graph, {})

    def _add_up(self, graph: Graph, memo: dict[int, tuple[float, int]]) -> tuple[float, int]:
        found = memo.get(id(graph))
        if found is None:
            total, count = 0.0, 0
            for node in graph.nodes:
                content = node.content
                if isinstance(content, Graph):
                    inner, number = self._add_up(content, memo)
                elif runs(content):
                    inner, number = self._time(content, graph.name), 1
                else:
                    continue
                total, count = total + inner, count + number
            found = memo[id(graph)] = total, count
        return found

    def _time(self, content: Applied, where: str) -> float:
        known = self._known.get(content)
        if known is None:
            name = name_of(content)
            if name not in self.operations:
                raise RunError(
                    f"latency table {self.path}: no time for {name} (in {where}); on the device run "
                    f"`python -m nasflow profile table={self.path} space=...` with the space and "
                    "data of this search (model=... for a model); it measures only what is missing"
                )
            known = self._known[content] = self.operations[name]
        return known

    def to_json(self) -> str:
        """Return the table as JSON text that `read` takes."""
        data = {
            "version": VERSION,
            "machine": self.machine,
            "settings": self.settings,
            "operations": {name: round(us, 3) for name, us in sorted(self.operations.items())},
            "networks": self.networks,
        }
        return json.dumps(data, indent=1) + "\n"


def read(path: Path | str, *, any_machine: bool = False) -> LatencyTable:
    """Read a table; one of another machine only where `any_machine` says so.

    Raises ConfigError for a file that is missing, that is no table, or of another machine.
    """
    place = Path(path).expanduser()
    try:
        table = _table(place, json.loads(place.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(
            f"latency table {place}: cannot be read ({error.strerror}); "
            f"`python -m nasflow profile table={place} space=...` makes one"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"latency table {place}: not a table of version {VERSION}: {error!r}"
        ) from error
    if not any_machine:
        check_machine(table, describe_machine(str(table.machine.get("device", "cpu"))))
    return table


def check_machine(table: LatencyTable, here: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the table was measured on the machine described."""
    different = sorted(
        name for name in {*here, *table.machine} if here.get(name) != table.machine.get(name)
    )
    if different:
        first = different[0]
        raise ConfigError(
            f"latency table {table.path}: measured on another machine ({first} "
            f"{table.machine.get(first)!r}, here {here.get(first)!r}); profile this one into a "
            "table of its own, or set latency.any_machine=true to predict for that machine"
        )


def _table(place: Path, data: Any) -> LatencyTable:
    if data["version"] != VERSION:
        raise ValueError(f"version {data['version']!r}")
    operations = {str(name): float(us) for name, us in data["operations"].items()}
    if not all(math.isfinite(us) and us >= 0 for us in operations.values()):
        raise ValueError("a time that is negative or not finite")
    rows = [
        {**row, **{key: float(row[key]) for key in ("sum_us", "ms", "operations")}}
        for row in data["networks"]
    ]
    return LatencyTable(place, dict(data["machine"]), dict(data["settings"]), operations, rows)


def describe_machine(device: str) -> dict[str, Any]:
    """Return what a time depends on: the processor (or GPU), its system, and PyTorch's version."""
    found: dict[str, Any] = {
        "device": device,
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": metadata.version("torch"),
    }
    if device.startswith("cuda"):
        import torch

        found["gpu"] = torch.cuda.get_device_name(device) if torch.cuda.is_available() else None
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def runs(content: Applied) -> bool:
    """Tell whether an operation does anything in a pass: a bare weight, or a pad by nothing, does not."""
    return bool(content.inputs) and not content.idle


def name_of(content: Applied) -> str:
    """Return what a table calls an operation: its class, attributes and input types."""
    return f"{describe(content)} at {' + '.join(map(repr, content.inputs))}"


def calibrate(networks: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the scale and the microseconds an operation that fit networks measured whole.

    Least squares of the relative errors, both at least zero; (1, 0) without any network.
    """
    rows = [
        (row["sum_us"] / row["ms"] / 1e3, row["operations"] / row["ms"] / 1e3) for row in networks
    ]
    aa, ab, bb = (sum(r[i] * r[j] for r in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    a, b = sum(r[0] for r in rows), sum(r[1] for r in rows)
    if not aa:
        return 1.0, 0.0
    best = (a / aa, 0.0)
    determinant = aa * bb - ab * ab
    if len(rows) > 2 and determinant > 1e-9 * aa * bb:
        both = ((a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant)
        if min(both) >= 0:
            best = both
    return best


class Predicted:
    """Evaluate by prediction: ``latency_ms`` from a table, and the exact costs; nothing is run."""

    def __init__(self, table: str, any_machine: bool = False) -> None:
        self.table = read(table, any_machine=any_machine)

    def __call__(
        self, graph: Network, *, seed: int = 0, report: Report | None = None
    ) -> dict[str, float]:
        """Return the costs and ``latency_ms``; raises RunError where the table lacks an operation."""
        assert isinstance(graph, Graph)
        return {**cost(graph), "latency_ms": self.table.predict(graph)}
