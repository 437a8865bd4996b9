"""Measure operations one by one, and whole networks, so that the time of others can be predicted.

Operations are timed in shuffled rounds of up to `GROUP`, as a network runs them: each finds its input
fresh from another operation and its weights, mostly, out of the nearest caches. With one thread on a
CPU the clock is the processor's time of this thread, so that other work on the machine disturbs
little; with several threads, or on a GPU (synchronised after each operation), it is the wall's.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nasflow.errors import ConfigError, NasflowError, RunError
from nasflow.evaluate.checkpoint import make_folder, write_bytes
from nasflow.evaluate.device import pick_device, threads
from nasflow.evaluate.latency import example
from nasflow.evaluate.latency_table import (
    LatencyTable,
    check_machine,
    describe_machine,
    name_of,
    read,
    runs,
)
from nasflow.ir.graph import Graph, alone
from nasflow.ir.operation import Applied
from nasflow.ir.types import Type
from nasflow.lower import to_torch
from nasflow.options import check_whole

GROUP = 128  # operations timed in turns
GROUP_BYTES = 1 << 28  # of their weights and values
WARMUP = 2  # rounds not counted
HERE = "here"
Probe = tuple[Callable[[], list[Any]], Callable[..., object]]  # makes fresh inputs; what is timed
Say = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """Say how to measure: images a pass, PyTorch threads, rounds counted, and the device.

    ``here`` is this machine's CPU. Raises ConfigError for a device that is not there.
    """

    device: str = HERE
    batch: int = 1
    threads: int = 1
    repeats: int = 15

    def __post_init__(self) -> None:
        for name in ("batch", "threads", "repeats"):
            check_whole(name, getattr(self, name))
        if self.device == HERE:
            object.__setattr__(self, "device", "cpu")
        pick_device(self.device)

    @property
    def clock(self) -> Callable[[], float]:
        """Return the function that reads the clock, in seconds."""
        return time.thread_time if self.is_processor else time.perf_counter

    @property
    def is_processor(self) -> bool:
        """Tell whether the clock is the processor's time and not the wall's."""
        return self.threads == 1 and torch.device(self.device).type == "cpu"

    def describe(self) -> dict[str, Any]:
        """Return what of this a table's times depend on."""
        return {
            "batch": self.batch,
            "threads": self.threads,
            "dtype": "float32",
            "memory_format": "contiguous",
            "clock": "processor" if self.is_processor else "wall",
        }


def open_table(path: Path | str, setting: Setting) -> LatencyTable:
    """Return the table at `path`, or a new one where there is no file.

    Raises ConfigError where it was measured on another machine, or otherwise.
    """
    place = Path(path).expanduser()
    here, how = describe_machine(setting.device), setting.describe()
    if not place.exists():
        return LatencyTable(place, here, how)
    table = read(place, any_machine=True)
    check_machine(table, here)
    if table.settings != how:
        changed = next(name for name in how if how[name] != table.settings.get(name))
        raise ConfigError(
            f"latency table {place}: measured with {changed}={table.settings.get(changed)!r}, not "
            f"{how[changed]!r}; set that, or name another table"
        )
    return table


def missing(table: LatencyTable, graphs: Iterable[Graph]) -> dict[str, Applied]:
    """Return the operations of networks that a table has no time for, by name."""
    distinct = {
        node.content
        for graph in graphs
        for inner in graph.subgraphs()
        for node in inner.nodes
        if isinstance(node.content, Applied) and runs(node.content)
    }
    named = {name_of(content): content for content in distinct}
    return {name: named[name] for name in sorted(named) if name not in table.operations}


def measure_operations(
    table: LatencyTable, wanted: dict[str, Applied], setting: Setting, say: Say = print
) -> None:
    """Measure operations and add them to the table, which is written after each group.

    Raises RunError for an operation that cannot be run.
    """
    rng = random.Random(0)  # a group is a mixture, as a network is
    names = sorted(wanted)
    rng.shuffle(names)
    done = 0
    with measuring(setting) as cost:
        for group in _groups(names, wanted, setting.batch):
            probes = {name: _probe(name, wanted[name], setting) for name in group}
            for name, seconds in _rounds(probes, setting, rng).items():
                table.operations[name] = max(0.0, 1e6 * (seconds - cost))
            _save(table)
            done += len(group)
            say(f"{done:,} of {len(names):,} operations measured")


def measure_networks(
    table: LatencyTable, graphs: Sequence[Graph], setting: Setting
) -> list[dict[str, Any]]:
    """Measure whole networks in turns and return a row for each, as `LatencyTable.networks` holds.

    Each pass that counts follows one of the same network that does not.
    """
    rng = random.Random(0)
    with measuring(setting) as cost:
        probes = {str(i): _warmed(_module_probe(graph, setting)) for i, graph in enumerate(graphs)}
        times = _rounds(probes, setting, rng)
    rows = []
    for i, graph in enumerate(graphs):
        total, count = table.add_up(graph)
        rows.append(
            {
                "name": graph.name,
                "fingerprint": graph.fingerprint,
                "sum_us": round(total, 3),
                "operations": count,
                "ms": round(1e3 * (times[str(i)] - cost), 6),
            }
        )
    return rows


def calibrate_with(table: LatencyTable, graphs: Sequence[Graph], setting: Setting) -> int:
    """Measure the networks that the table does not have whole yet; return how many."""
    known = {row["fingerprint"] for row in table.networks}
    new = [graph for graph in graphs if graph.fingerprint not in known]
    if new:
        table.networks = [*table.networks, *measure_networks(table, new, setting)]
        _save(table)
    return len(new)


@contextlib.contextmanager
def measuring(setting: Setting) -> Iterator[float]:
    """Set threads and inference mode; give the seconds that reading the clock itself takes."""
    with threads(setting.threads), torch.inference_mode():
        clock = setting.clock
        gaps = []
        for _ in range(200):
            begin = clock()
            gaps.append(clock() - begin)
        yield quartile(gaps)


def quartile(values: Sequence[float]) -> float:
    """Return the lower quartile: what it takes where little else disturbs, but not by luck."""
    return sorted(values)[(len(values) - 1) // 4]


def _rounds(probes: dict[str, Probe], setting: Setting, rng: random.Random) -> dict[str, float]:
    """Return the seconds that each probe takes."""
    clock = setting.clock
    wait = torch.cuda.synchronize if torch.device(setting.device).type == "cuda" else None
    times: dict[str, list[float]] = {name: [] for name in probes}
    order = list(probes)
    for turn in range(WARMUP + setting.repeats):
        rng.shuffle(order)
        for name in order:
            prepare, call = probes[name]
            inputs = prepare()
            if wait:
                wait()
            begin = clock()
            call(*inputs)
            if wait:
                wait()
            seconds = clock() - begin
            if turn >= WARMUP:
                times[name].append(seconds)
    return {name: quartile(values) for name, values in times.items()}


def _probe(name: str, content: Applied, setting: Setting) -> Probe:
    """Return a network of that operation alone, as the lowering writes it."""
    try:
        return _module_probe(alone(content, "operation"), setting)
    except (NasflowError, RuntimeError, ValueError, TypeError) as error:
        text = " ".join(str(error).split())[:200]
        raise RunError(f"profile: {name} cannot be run alone: {text}") from error


def _module_probe(graph: Graph, setting: Setting) -> Probe:
    module = to_torch(graph, seed=0).eval().to(setting.device)
    values = [_value(kind, setting) for kind in graph.inputs]
    return lambda: [value.clone() for value in values], module.forward


def _warmed(probe: Probe) -> Probe:
    prepare, call = probe

    def prepared() -> list[Any]:
        call(*prepare())
        return prepare()

    return prepared, call


def _value(kind: Type, setting: Setting) -> torch.Tensor:
    shape = (setting.batch, *kind.shape) if kind.batched else kind.shape
    return example(shape, kind.dtype, setting.device)


def _groups(names: Sequence[str], wanted: dict[str, Applied], batch: int) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for name in names:
        content = wanted[name]
        values = sum(kind.numel for kind in (*content.inputs, *content.outputs))
        own = 4 * (sum(weight.numel for weight in content.weights) + 2 * batch * values)
        if group and (len(group) == GROUP or size + own > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(name)
        size += own
    if group:
        yield group


def _save(table: LatencyTable) -> None:
    make_folder(table.path.parent)
    write_bytes(table.path, table.to_json().encode())
