"""Whole searches under faults: after each, every finished evaluation is recorded once, the budget is exact, and what
failed says why. Those marked `campaign` are long; `pytest -m campaign` runs them.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nasflow.errors import RunError
from nasflow.search import ledger as ledgers
from nasflow.search import results
from nasflow.search.ledger import read
from nasflow.search.run import resume, search
from tests.search.conftest import FAKES

ROOT = Path(__file__).resolve().parents[2]


def must_be_whole(run: results.Run, trials: int) -> None:
    """Check what holds after any fault."""
    counted = Counter(r["n"] for r in read(run.out) if r["t"] == "result")
    assert len(counted) == len(run.entries) == trials and set(counted.values()) <= {1}
    assert len({e.fingerprint for e in run.entries}) == trials and run.in_flight == 0
    assert all(e.result.error for e in run.failed)


# Workers


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", ["actors", "tune"])
@pytest.mark.parametrize(
    ("trials", "every"), [(12, 1.0), pytest.param(100, 3.0, marks=pytest.mark.campaign)]
)
def test_workers_killed_at_random_all_along(
    setup: dict[str, Any], tmp_path: Path, name: str, trials: int, every: float
) -> None:
    pids = tmp_path / "pids"
    setup["evaluator"] = {"_target_": f"{FAKES}.Signed", "log": str(pids), "sleep": 0.25}
    setup["budget"] = {"trials": trials}
    place = {"name": name, "workers": 2, "batch": 2}
    with killing(pids, every) as killed:
        run = search(**setup, executor=place)
    must_be_whole(run, trials)
    assert killed and set(error(run)) <= {"its worker died 3 times"}


@contextlib.contextmanager
def killing(pids: Path, every: float) -> Iterator[list[int]]:
    """Kill one of the processes that evaluated something lately, again and again."""
    over, killed, rng = threading.Event(), list[int](), random.Random(0)

    def kill() -> None:
        while not over.wait(rng.uniform(0.5, 1.5) * every):
            lately = {int(line) for line in lines(pids)[-3:]}
            alive = [pid for pid in lately if Path(f"/proc/{pid}").exists()]
            if alive:
                killed.append(rng.choice(alive))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def error(run: results.Run) -> list[str]:
    return [e.result.error or "" for e in run.failed]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.usefixtures("session")
def test_a_candidate_that_allocates_without_end_on_an_actor_is_recorded(
    setup: dict[str, Any],
) -> None:
    setup["space"] |= {"places": 1, "options": 8}
    setup["strategy"] = {"_target_": f"{FAKES}.Walk"}
    setup["evaluator"] = {"_target_": f"{FAKES}.Hungry", "width": 3}
    run = search(**setup, executor={"name": "actors", "memory": 96.0 * 2**20, "workers": 2})
    must_be_whole(run, 8)
    assert [e.point for e in run.failed] == [{"w0": 3}]
    assert "memory" in error(run)[0] and "96 MiB" in error(run)[0]


# The disk

DRIVER = """
import resource, signal, sys
from nasflow.errors import RunError
from nasflow.search.run import resume, search
from tests.search.test_kill import PARTS
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    search(**PARTS, out=sys.argv[1])
except RunError as error:
    print(error)
"""


def test_a_disk_that_fills_up_in_mid_search(tmp_path: Path) -> None:
    """A limit on the size of files stops a write halfway, as a full disk does."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "run"), "9000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    message = done.stdout.strip()
    assert "\n" not in message and "File too large" in message and "resume run=" in message
    before = results.load(tmp_path / "run").entries
    run = resume(tmp_path / "run")
    must_be_whole(run, 120)
    assert before and run.entries[: len(before)] == before


@pytest.mark.parametrize("call", ["write", "fdatasync", "fsync"])
def test_a_disk_that_refuses_at_any_moment(
    setup: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Read-only from the first, second, ... call on; the ledger is whole, and the run the same in the end."""
    setup["budget"] = {"trials": 12}
    wanted = [(e.point, e.result) for e in search(**{**setup, "out": tmp_path / "whole"}).entries]
    real = getattr(os, call)
    for moment in range(1, 30):
        out, left = tmp_path / str(moment), [moment]

        def refuse(*words: Any, left: list[int] = left) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.EROFS, "Read-only file system")
            return real(*words)

        with monkeypatch.context() as patch:
            patch.setattr(ledgers.os, call, refuse)
            try:
                search(**{**setup, "out": out})
            except RunError as problem:
                assert "Read-only file system" in str(problem) and "\n" not in str(problem)
        run = resume(out)
        must_be_whole(run, 12)
        assert [(e.point, e.result) for e in run.entries] == wanted


# Long runs


@pytest.mark.parametrize("trials", [3_000, pytest.param(10_000, marks=pytest.mark.campaign)])
def test_a_long_run_leaks_neither_files_nor_memory(setup: dict[str, Any], trials: int) -> None:
    setup["space"]["options"] = 40
    setup["budget"] = {"trials": trials}
    seen: dict[int, tuple[int, int]] = {}

    def watch(event: Any) -> None:
        evaluated = getattr(event, "evaluated", 0)
        if evaluated in (trials // 3, trials) and evaluated not in seen:
            gc.collect()
            seen[evaluated] = len(os.listdir("/proc/self/fd")), resident()

    run = search(**setup, observer=watch)
    must_be_whole(run, trials)
    (files, memory), (files_then, memory_then) = seen.values()
    assert files_then == files
    # What must be remembered of a trial: its fingerprint, its point's digest, where its result stands.
    assert memory_then - memory < 1500 * (trials - trials // 3) + 4 * 2**20


@pytest.mark.usefixtures("session")
@pytest.mark.campaign
def test_a_long_run_on_actors_leaks_neither_files_nor_memory(setup: dict[str, Any]) -> None:
    setup["space"]["options"] = 40
    place = {"name": "actors", "workers": 2}
    search(**{**setup, "budget": {"trials": 500}}, executor=place)
    seen: dict[int, tuple[int, int]] = {}

    def watch(event: Any) -> None:
        evaluated = getattr(event, "evaluated", 0)
        if evaluated in (3_000, 10_000) and evaluated not in seen:
            gc.collect()
            seen[evaluated] = len(os.listdir("/proc/self/fd")), resident()

    run = resume(setup["out"], budget={"trials": 10_000}, observer=watch)
    must_be_whole(run, 10_000)
    (files, memory), (files_then, memory_then) = seen.values()
    assert files_then <= files + 4  # Ray's own come and go
    assert memory_then - memory < 1500 * 7_000 + 16 * 2**20


def resident() -> int:
    """Return this process's memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
