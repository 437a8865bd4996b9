"""Reach Ray: this machine alone by default, or a cluster that exists."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasflow.cores import cores
from nasflow.errors import NasflowWarning, RunError

if TYPE_CHECKING:
    from nasflow.search.executors import Place

# One thread for each core of a worker, or workers fight for the cores; the names are those of OpenMP, MKL and OpenBLAS.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PROBE = 3.0  # seconds to wait for the head of a cluster to answer
OBJECT_STORE = 128 * 2**20  # only graphs travel through it, as JSON
JOB_FILES = (
    "runtime_resources/working_dir_files"  # where Ray unpacks the working directory of a job
)


@contextlib.contextmanager
def connected(place: Place, store: int | None = OBJECT_STORE) -> Iterator[int]:
    """Connect to Ray for the time of a search and give the number of workers.

    `store` is the size in bytes of the object store where Ray is started here; None: Ray's own choice. A session that
    exists in this process is used and left alone. Raises RunError (one line) for an address where no cluster answers.
    """
    import ray

    if ray.is_initialized():
        yield workers(place)
        return
    address = _address(place)
    if address == "local":
        _start(place, store)
    else:
        _join(address, place)
    try:
        yield workers(place)
    finally:
        ray.shutdown()


def ahead(place: Place, workers: int) -> int:
    """Return how many candidates may wait for a worker, so that none rests while the next one is made ready.

    None with one worker, where each proposal must see the result before it; none where the cluster has room for more
    workers than asked for, for Ray would begin with what waits at once.
    """
    import ray

    cpus: float = ray.cluster_resources().get("CPU", 0)
    return int(workers > 1 and cpus < (workers + 1) * place.cpus)


def workers(place: Place) -> int:
    """Return how many workers run at once: as asked for, or as many as the cluster holds, at least one.

    Raises RunError where no machine of the cluster has a resource that is asked for.
    """
    import ray

    resources: dict[str, float] = ray.cluster_resources()
    own = place.resources or {}
    for name, amount in own.items():
        if resources.get(name, 0) < amount:
            raise RunError(
                f"executor.resources: no machine of this cluster has {amount:g} {name!r}; start Ray on those that do "
                f"with `ray start ... --resources='{{\"{name}\": 1}}'`"
            )
    if place.workers is not None:
        return place.workers
    room = resources.get("CPU", 1) / place.cpus
    if place.gpus:
        room = min(room, resources.get("GPU", 0) / place.gpus)
    room = min([room, *(resources[name] / amount for name, amount in own.items())])
    return max(1, math.floor(room))


def mention_gpus(place: Place, evaluator: object) -> None:
    """Warn where the cluster has GPUs that `evaluator`, as configuration, would use, and `place` asks for none."""
    import ray

    count = ray.cluster_resources().get("GPU", 0)
    if count and not place.gpus and _wants_gpu(evaluator):
        warnings.warn(
            f"executor.gpus=0: candidates run without the cluster's GPUs ({count:g}); executor.gpus=0.25 lets "
            "four of them share one",
            NasflowWarning,
            stacklevel=2,
        )


def _wants_gpu(spec: object) -> bool:
    """Tell whether an evaluator, or one inside it, runs where there is a GPU."""
    if isinstance(spec, Mapping):
        device = spec.get("device")
        return device == "auto" or str(device).startswith("cuda") or _wants_gpu([*spec.values()])
    return isinstance(spec, Sequence) and not isinstance(spec, str) and any(map(_wants_gpu, spec))


def check(place: Place) -> None:
    """Raise RunError (one line, within seconds) where the cluster that `place` names does not answer."""
    address = _address(place)
    for head in _heads(address):
        _probe(head, address)


def last_line(error: BaseException) -> str:
    """Return the line of a remote error that says what happened: below the remote traceback, it is the last one."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def death(cause: BaseException | None, attempts: int, place: Place) -> str:
    """Say why a candidate failed whose worker died each time: of memory, where Ray says so."""
    from ray.exceptions import OutOfMemoryError

    died = f"its worker died {attempts} times"
    if not (isinstance(cause, OutOfMemoryError) or "running low on memory" in str(cause)):
        return (
            died
            if place.memory is None
            else f"{died}, perhaps of memory (limit of {_mebibytes(place)})"
        )
    limit = (
        "set executor.memory to end such candidates alone"
        if place.memory is None
        else f"limit of {_mebibytes(place)}"
    )
    return f"out of memory: {died}, for the machine ran low on it ({limit})"


def _mebibytes(place: Place) -> str:
    return f"{(place.memory or 0) / 2**20:,.0f} MiB"


def in_job_copy() -> bool:
    """Tell whether the working directory is the temporary copy that a submitted Ray job runs in."""
    return JOB_FILES in Path.cwd().as_posix()


def far(place: Place) -> bool:
    """Tell whether a place is on a cluster that exists already."""
    return _address(place) != "local"


def _address(place: Place) -> str:
    return place.address or os.environ.get("RAY_ADDRESS") or "local"


def _start(place: Place, store: int | None) -> None:
    import ray

    asked = math.ceil((place.workers or 0) * place.cpus)
    logging.getLogger("ray").setLevel(
        logging.ERROR
    )  # or Ray tells of its tokens before it has read logging_level
    with environment(_threads(place)):
        ray.init(
            address="local",
            num_cpus=max(cores(), asked),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=store,
            configure_logging=False,
        )


def _join(address: str, place: Place) -> None:
    import ray

    runtime: dict[str, Any] = {"env_vars": _threads(place)}
    if (
        "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ
    ):  # a submitted job brings its whole working directory
        runtime["py_modules"] = _own_modules()
    try:
        ray.init(
            address=address,
            runtime_env=runtime,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except Exception as error:
        raise RunError(_unreachable(address, " ".join(str(error).split())[:300])) from error


def _threads(place: Place) -> dict[str, str]:
    return dict.fromkeys(THREADS, str(max(1, int(place.cpus))))


def _own_modules() -> list[str]:
    """Name the user's folders of spaces and strategies, which other machines do not have."""
    return [
        str(path)
        for name in ("search_spaces", "strategies")
        if (path := Path.cwd() / name).is_dir()
    ]


def _heads(address: str) -> list[str]:
    """Return the host:port to probe before Ray tries, which it does for half a minute."""
    if address == "local":
        return []
    if address == "auto":
        with contextlib.suppress(OSError):
            return [Path("/tmp/ray/ray_current_cluster").read_text().strip()]
        return []
    return [address.removeprefix("ray://")]


def _probe(head: str, address: str) -> None:
    host, _, port = head.rpartition(":")
    if not host or not port.isdigit():
        raise RunError(
            _unreachable(address, f"expected auto, host:port or ray://host:port, got {address!r}")
        )
    try:
        socket.create_connection((host, int(port)), timeout=PROBE).close()
    except (OSError, OverflowError) as error:
        raise RunError(_unreachable(address, str(error))) from error


def _unreachable(address: str, reason: str) -> str:
    return (
        f"ray.address={address}: no Ray cluster answers ({reason}); "
        "start one with `ray start --head`, leave ray.address out, "
        "or set RAY_AUTH_MODE=token where it asks for a token"
    )


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables for the processes started inside."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
