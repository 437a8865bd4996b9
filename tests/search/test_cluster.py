"""Lose drivers, miss clusters, join one: each with Ray processes of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nasflow.errors import RunError
from nasflow.search import results
from nasflow.search.ledger import read
from nasflow.search.run import resume, search
from tests.search.conftest import FAKES

ROOT = Path(__file__).resolve().parents[2]

DRIVER = """
import sys
from nasflow.search.run import search
search(
    space={"_target_": "tests.search.fakes.space"}, strategy={"_target_": "tests.search.fakes.Sampler"},
    evaluator={"_target_": "tests.search.fakes.Table", "sleep": 0.1, "log": sys.argv[2]}, budget={"trials": 40},
    executor={"name": "tune", "workers": 2, "address": "local"}, out=sys.argv[1], seed=3,
)
"""


def test_a_driver_killed_with_its_workers_running_is_resumed(tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(out), str(log)], cwd=ROOT, env=plain()
    )
    while not log.exists() or len(log.read_text().splitlines()) < 5:
        assert driver.poll() is None, "the driver ended by itself"
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    before = found(results.load(out))
    run = resume(out, executor={"name": "inline", "workers": None})
    after = found(run)
    assert len(after) == 40 and all(after[f] == result for f, result in before.items())
    starts = [i for i, r in enumerate(read(out)) if r["t"] == "start"]
    asked = {r["n"] for r in list(read(out))[: starts[0]] if r["t"] == "ask"}
    done = {r["n"] for r in list(read(out))[: starts[0]] if r["t"] == "result"}
    first = [r["n"] for r in list(read(out))[starts[0] :] if r["t"] == "result"][
        : len(asked - done)
    ]
    assert set(first) == asked - done and first


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere.invalid:6379", "nonsense"]
)
def test_an_unreachable_cluster_is_one_line_at_once(setup: dict[str, Any], address: str) -> None:
    begin = time.monotonic()
    with pytest.raises(RunError, match="no Ray cluster answers") as caught:
        search(**setup, executor={"name": "tune", "address": address})
    assert not setup["out"].exists()
    assert "\n" not in str(caught.value) and time.monotonic() - begin < 10


JOIN = """
import sys
from nasflow.search.run import search
search(
    space={"_target_": "tests.search.fakes.space"}, strategy={"_target_": "tests.search.fakes.Sampler"},
    evaluator={"_target_": "tests.search.fakes.Table"}, budget={"trials": 6},
    executor={"name": "tune", "address": sys.argv[2]}, out=sys.argv[1],
)
"""


def test_a_search_joins_a_running_head(tmp_path: Path) -> None:
    port = free_port()
    # Ray sends a token only where it is told to: an address found by itself (auto) needs no such word.
    env = plain() | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    with head(port, env, ["--include-dashboard=false"]):
        join = [sys.executable, "-c", JOIN, str(tmp_path / "run"), f"127.0.0.1:{port}"]
        subprocess.run(join, cwd=ROOT, env=env, check=True, timeout=90)
    run = results.load(tmp_path / "run")
    assert len(found(run)) == 6 and not run.failed


@pytest.mark.parametrize(
    ("trials", "sleep"), [(14, 0.3), pytest.param(60, 1.0, marks=pytest.mark.campaign)]
)
def test_a_node_killed_in_mid_search(
    setup: dict[str, Any], tmp_path: Path, trials: int, sleep: float
) -> None:
    import ray
    from ray.cluster_utils import Cluster

    log = tmp_path / "nodes"
    setup["evaluator"] = {"_target_": f"{FAKES}.Placed", "log": str(log), "sleep": sleep}
    setup["budget"] = {"trials": trials}
    memory = {"object_store_memory": 2**27}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **memory})
    try:
        node = cluster.add_node(num_cpus=1, **memory)
        ray.init(address=cluster.address, log_to_driver=False)
        killer = threading.Thread(target=remove_once_busy, args=(cluster, node, log))
        killer.start()
        run = search(**setup, executor={"name": "tune", "workers": 2})
        killer.join()
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert len(found(run)) == trials and run.in_flight == 0
    assert not run.failed and len(set(log.read_text().splitlines())) == 2


def remove_once_busy(cluster: Any, node: Any, log: Path) -> None:
    end, nodes = time.monotonic() + 120, list[str]()
    while time.monotonic() < end and not (len(set(nodes)) == 2 and len(nodes) > 5):
        time.sleep(0.05)
        nodes = log.read_text().splitlines() if log.exists() else []
    cluster.remove_node(node, allow_graceful=False)


SPACE = """
from nasflow import ir

def space(classes: int = 10, channels: int = 1, size: int = 8) -> ir.Space:
    x = ir.image(channels=channels, size=size)
    x = ir.Conv2d(ir.choice("width", 4, 8, 16), ir.choice("kernel", 1, 3))(x)
    x = ir.Linear(classes)(ir.Mean()(ir.Activation("relu")(x)))
    return ir.Space(x)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("aiohttp_cors") is None,
    reason="submitting jobs needs the extra nasflow[cluster]",
)
@pytest.mark.slow
def test_a_submitted_job_searches_a_space_of_its_own(tmp_path: Path) -> None:
    port, dashboard = free_port(), free_port()
    project = tmp_path / "project"
    (project / "search_spaces").mkdir(parents=True)
    (project / "search_spaces" / "mine.py").write_text(SPACE)
    env = plain() | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    words = ["search", "space=mine", "strategy=random", "budget.trials=3", "evaluator.epochs=1"]

    def submit(out: str) -> subprocess.CompletedProcess[str]:
        entry = [sys.executable, "-m", "nasflow", *words, f"out={out}"]
        command = [
            "job",
            "submit",
            f"--address=http://127.0.0.1:{dashboard}",
            "--working-dir=.",
            "--",
            *entry,
        ]
        for _ in range(20):  # the head answers some seconds before its agent takes jobs
            done = subprocess.run(
                [sys.executable, "-m", "ray.scripts.scripts", *command],
                cwd=project,
                env=env,
                capture_output=True,
                text=True,
                timeout=150,
            )
            if "No available agent" not in done.stderr:
                break
            time.sleep(1)
        return done

    options = [
        f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={free_port()}",
        "--dashboard-host=127.0.0.1",
        "--include-dashboard=true",
    ]
    with head(port, env, options):
        wait_for(dashboard)
        relative = submit("outputs/run")
        assert relative.returncode != 0 and "temporary copy" in relative.stdout + relative.stderr
        absolute = submit(str(tmp_path / "run"))
        assert absolute.returncode == 0, absolute.stdout + absolute.stderr
    run = results.load(tmp_path / "run")
    assert len(found(run)) == 3 and not run.failed


@contextlib.contextmanager
def head(port: int, env: dict[str, str], options: list[str]) -> Iterator[None]:
    """Start the head of a cluster of this machine alone, and end it."""
    common = [
        f"--port={port}",
        "--num-cpus=2",
        "--node-ip-address=127.0.0.1",
        f"--object-store-memory={2**27}",
        "--disable-usage-stats",
    ]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--head",
            "--block",
            *common,
            *options,
        ],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield
    finally:
        process.terminate()
        process.wait(30)


def plain() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "PYTHONPATH": str(ROOT)
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the head did not come up")


def found(run: results.Run) -> dict[str, Any]:
    by_fingerprint = {e.fingerprint: e.result for e in run.entries}
    assert len(by_fingerprint) == len(run.entries)
    return by_fingerprint
