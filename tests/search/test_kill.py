"""Kill drivers at random moments, and resume them."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nasflow.search.ledger import FILE, read
from nasflow.search.run import resume, search

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 120
PARTS = {
    "space": {"_target_": "tests.search.fakes.space", "places": 3, "options": 9},
    "strategy": {"_target_": "tests.search.fakes.Sampler"},
    "evaluator": {"_target_": "tests.search.fakes.Table"},
    "budget": {"trials": TRIALS},
    "seed": 7,
}
DRIVER = """
import sys
from pathlib import Path
from nasflow.search.ledger import FILE
from nasflow.search.run import resume, search
from tests.search.test_kill import PARTS
parts = {**PARTS, "evaluator": {**PARTS["evaluator"], "sleep": 0.004}}
out = Path(sys.argv[1])
begun = (out / FILE).exists() and b"\\n" in (out / FILE).read_bytes()
resume(out) if begun else search(**parts, out=out)
"""


def story(folder: Path) -> list[object]:
    """What happened, without times and without the marks of drivers that came and went."""
    kept = [r for r in read(folder) if r["t"] in ("ask", "dup", "refused", "none", "result")]
    return [{k: v for k, v in r.items() if k not in ("seconds", "at")} for r in kept]


@pytest.mark.parametrize("rounds", [6, pytest.param(20, marks=pytest.mark.campaign)])
def test_a_search_killed_again_and_again_is_the_search_that_was_not(
    tmp_path: Path, rounds: int
) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    search(**PARTS, out=whole)  # type: ignore[arg-type]
    rng = random.Random(0)
    kills = 0
    for _ in range(rounds):
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(torn)], cwd=ROOT)
        wait_until_grown(torn / FILE, driver)
        time.sleep(rng.uniform(0, 0.6 / rounds))
        driver.kill()
        kills += driver.wait() == -9
    assert kills >= rounds / 2
    run = resume(torn)
    assert len(run.entries) == TRIALS
    assert story(torn) == story(whole)


def wait_until_grown(path: Path, driver: subprocess.Popen[bytes]) -> None:
    size = path.stat().st_size if path.exists() else 0
    while driver.poll() is None and (not path.exists() or path.stat().st_size <= size):
        time.sleep(0.002)
