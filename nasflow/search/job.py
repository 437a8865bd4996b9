"""Evaluate one candidate wherever it was sent, within its limits."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import inspect
import json
import math
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasflow.discovery import build, find, spec_parts, tuples
from nasflow.errors import CandidateError, ConfigError, NasflowError, RunError

if TYPE_CHECKING:
    from nasflow.evaluate import Report
    from nasflow.ir import Graph, Point, Space

Evaluate = Callable[..., Mapping[str, float]]
GRACE = 5.0  # seconds, at most, that a candidate has to notice that its time is up before its worker is ended


@dataclass(frozen=True)
class Job:
    """Name one evaluation: proposal `n`, the point, its network's fingerprint, and the seed of its training.

    `bind` makes the network, only once somebody reads `graph`: a table never does.
    """

    n: int
    point: Point
    fingerprint: str
    seed: int
    bind: Callable[[], Graph]

    @functools.cached_property
    def graph(self) -> Graph:
        """The network."""
        return self.bind()


@dataclass(frozen=True)
class Outcome:
    """Hold what came back: `measures`, or the `error` of a candidate that failed.

    `fatal` marks an error that would befall every candidate, such as missing data: the search stops.
    """

    measures: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0
    fatal: bool = False


@dataclass(frozen=True)
class Work:
    """Tell a worker process, in JSON only, how to evaluate: nothing of it is pickled code.

    `evaluator` is an import path with settings (``{"_target_": "package.module.Name", ...}``). With `space`, also
    configuration, a worker binds the points it is sent; without, whole graphs travel. `paths` are put on the import
    path where they exist. Limits: `time_limit` in seconds and `memory` in bytes, for each candidate; `threads` are
    torch's.
    """

    evaluator: Mapping[str, Any]
    space: Mapping[str, Any] | None = None
    paths: Sequence[str] = ()
    time_limit: float | None = None
    memory: float | None = None
    threads: int = 1
    run: str = ""

    def to_json(self) -> str:
        """Return this as text that `run_remote` reads."""
        return json.dumps(asdict(self))

    def parcel(self, job: Job) -> str:
        """Return a job as the JSON that travels to a worker; a point and a fingerprint are far less than a graph."""
        graph = job.graph.to_json() if self.space is None else None
        known = {"n": job.n, "point": job.point, "fp": job.fingerprint, "seed": job.seed}
        return json.dumps(known | {"graph": graph}, separators=(",", ":"))


class TimeLimit(CandidateError):
    """Raised inside a candidate whose time is up."""


def construct(spec: Any) -> Any:
    """Build what a configuration describes: each mapping with ``_target_`` becomes a call, inner ones first.

    Raises ConfigError for an import path that does not exist and for settings it does not take.
    """
    if isinstance(spec, Mapping):
        settings = {key: construct(value) for key, value in spec.items() if key != "_target_"}
        target = spec.get("_target_")
        if target is None:
            return settings
        if "." not in target:
            raise ConfigError(
                f"_target_: expected an import path such as package.module.Name, got {target!r}"
            )
        return build(find("evaluator", target), target, **settings)
    if isinstance(spec, list | tuple):
        return [construct(value) for value in spec]
    return spec


def space_of(spec: Mapping[str, Any]) -> Space:
    """Return the space of a configuration: ``{"name": "nasnet", **settings}``, or ``_target_`` for an import path.

    Spaces do not change, so that equal configurations share one, and what it remembers.
    """
    name, settings = spec_parts(spec)
    return _built(find("space", name), name, json.dumps(settings))


@functools.lru_cache(maxsize=8)
def _built(make: Callable[..., Space], name: str, settings: str) -> Space:
    space: Space = build(make, f"space {name!r}", **thaw(json.loads(settings)) or {})
    return space


def by_point(evaluate: Evaluate) -> Evaluate:
    """Return an evaluator that takes the keyword ``point``; those that judge by it, as tables do, have it already."""
    if "point" in inspect.signature(evaluate).parameters:
        return evaluate

    def without(graph: Graph, *, point: Point, **rest: Any) -> Mapping[str, float]:
        return evaluate(graph, **rest)

    return without


def graph_for(evaluate: Evaluate, job: Job) -> Graph | None:
    """Return the network for an evaluator; None for one that says ``reads_graph = False``, as tables do."""
    return job.graph if getattr(evaluate, "reads_graph", True) else None


def perform(
    evaluate: Evaluate,
    graph: Graph | None,
    point: Point,
    seed: int,
    *,
    report: Report | None = None,
    time_limit: float | None = None,
    memory: float | None = None,
    overdue: Callable[[], None] | None = None,
) -> Outcome:
    """Evaluate one graph with an evaluator that takes the point; whatever goes wrong becomes an outcome."""
    begin = time.perf_counter()
    try:
        with _within(time_limit, overdue), _below(memory):
            measures = plain(evaluate(graph, point=point, seed=seed, report=report))
        return Outcome(measures, seconds=time.perf_counter() - begin)
    except TimeLimit:
        error, fatal = f"time limit of {time_limit:g} s", False
    except CandidateError as problem:
        error, fatal = _line(problem), False
    except NasflowError as problem:
        error, fatal = _line(problem), True
    except MemoryError:
        error, fatal = _out_of_memory(memory), False
    except (Exception, SystemExit) as problem:
        error, fatal = f"{type(problem).__name__}: {_line(problem)}", False
    return Outcome(error=error, seconds=time.perf_counter() - begin, fatal=fatal)


def run_remote(
    work: str, job: str, report: Report | None = None, shared: Evaluate | None = None
) -> str:
    """Evaluate a job given as JSON in a worker process; return the `Outcome` as JSON.

    `shared` is the evaluator where it came to this process as an object.
    """
    order, sent = _order(work), json.loads(job)
    n = sent["n"]
    stuck = Path(tempfile.gettempdir()) / f"nasflow-{order.run}-{n}.stuck"
    if (
        stuck.exists()
    ):  # an earlier attempt could only be ended with its worker: another would be no better
        stuck.unlink(missing_ok=True)
        limit = order.time_limit or 0
        return json.dumps(asdict(Outcome(error=f"time limit of {limit:g} s", seconds=limit)))

    def overdue() -> None:
        stuck.touch()
        os._exit(1)

    try:
        evaluate = _evaluator(work) if shared is None else _settled(work, shared)
        point = thaw(sent["point"]) or {}
        network = _network(work, point, sent)
    except Exception as problem:
        text = (
            _line(problem)
            if isinstance(problem, NasflowError)
            else f"{type(problem).__name__}: {_line(problem)}"
        )
        return json.dumps(asdict(Outcome(error=text, fatal=True)))
    outcome = perform(
        evaluate,
        network,
        point,
        sent["seed"],
        report=report,
        time_limit=order.time_limit,
        memory=order.memory,
        overdue=overdue,
    )
    return json.dumps(asdict(outcome))


def plain(measures: Mapping[str, Any]) -> dict[str, float]:
    """Return measures as Python numbers; numbers of numpy and torch are read through ``item()``."""
    if not isinstance(measures, Mapping):
        raise ConfigError(
            f"the evaluator must return a mapping of measures, got {type(measures).__name__}"
        )
    found: dict[str, float] = {}
    for name, value in measures.items():
        number = value.item() if hasattr(value, "item") else value
        if not isinstance(number, int | float):
            raise ConfigError(f"measure {name!r}: expected a number, got {number!r}")
        try:
            float(number)
        except OverflowError:
            number = math.inf
        found[str(name)] = int(number) if isinstance(number, bool) else number
    return found


def finite(measures: Mapping[str, float]) -> dict[str, float]:
    """Leave out what JSON cannot hold."""
    return {name: value for name, value in measures.items() if math.isfinite(value)}


def thaw(point: Mapping[str, Any] | None) -> Point | None:
    """Return a point read from JSON with its tuples, which JSON turned into lists."""
    return None if point is None else {name: tuples(value) for name, value in point.items()}


@functools.lru_cache(maxsize=2)
def _order(work: str) -> Work:
    return Work(**json.loads(work))


@functools.lru_cache(maxsize=2)
def _evaluator(work: str) -> Evaluate:
    """Build the evaluator once for the life of a worker, so that data is loaded once."""
    _find_modules(work)
    return _settled(work, by_point(construct(_order(work).evaluator)))


def _settled(work: str, evaluate: Evaluate) -> Evaluate:
    """Return an evaluator in a process that has what it needs."""
    _find_modules(work)
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != _order(work).threads:
        torch.set_num_threads(_order(work).threads)
    return evaluate


def _find_modules(work: str) -> None:
    known = _order(work).paths
    sys.path.extend(p for p in known if p not in sys.path and Path(p).exists())


@functools.lru_cache(maxsize=2)
def _space(work: str) -> Space | None:
    spec = _order(work).space
    return None if spec is None else space_of(spec)


def _network(work: str, point: Point, sent: Mapping[str, Any]) -> Graph:
    """Return the network of a job, the very one that the driver sent."""
    space = _space(work)
    if space is None:
        return _graph_class().from_json(sent["graph"])
    graph = space.bind(point)
    if graph.fingerprint != sent["fp"]:
        raise RunError(
            "a worker makes another network of the same point: its nasflow or its space differs from the driver's; "
            "install the same on every machine"
        )
    return graph


def _graph_class() -> type[Graph]:
    from nasflow.ir import Graph

    return Graph


@contextlib.contextmanager
def _within(seconds: float | None, overdue: Callable[[], None] | None) -> Iterator[None]:
    """Raise TimeLimit in the body when its time is up; call `overdue` if it takes no notice of that.

    The exception arrives between two Python instructions of this very thread, whichever that is; a body that is stuck
    in one long call outside Python gets `overdue` instead, after some grace.
    """
    if seconds is None:
        yield
        return
    thread = ctypes.c_ulong(threading.get_ident())
    lock, inside, fired = threading.Lock(), [True], []

    def interrupt() -> None:
        with lock:
            if inside:
                fired.append(True)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TimeLimit))

    timers = [threading.Timer(seconds, interrupt)]
    if overdue is not None:
        timers.append(threading.Timer(seconds + min(seconds, GRACE), overdue))
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        with lock:
            inside.clear()
        if fired:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                thread, None
            )  # not delivered yet: it must not hit what follows
    if fired:
        raise TimeLimit


@contextlib.contextmanager
def _below(memory: float | None) -> Iterator[None]:
    """Let the body allocate at most `memory` bytes more than the process has (Linux: private data of the process)."""
    if memory is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + int(memory), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def _out_of_memory(memory: float | None) -> str:
    return (
        "out of memory" if memory is None else f"out of memory: limit of {memory / 2**20:,.0f} MiB"
    )


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:500] or type(error).__name__
    return text.encode(errors="backslashreplace").decode()  # half a surrogate pair fits in no file
