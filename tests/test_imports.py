"""`import nasflow` is fast and loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "ray", "numpy", "networkx", "hydra", "omegaconf", "optuna", "sklearn")


@pytest.mark.parametrize("module", ["nasflow", "nasflow.ir", "nasflow.search", "nasflow.cli"])
def test_nothing_heavy_is_imported(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    assert _python(code) == "[]"


def test_spaces_are_found_and_built_without_torch() -> None:
    code = "import sys, nasflow; nasflow.space('nasnet'); print(len(nasflow.models()) > 0, 'torch' in sys.modules)"
    assert _python(code) == "True False"


def test_import_takes_under_three_tenths_of_a_second() -> None:
    _python("import nasflow")  # byte code and file cache
    times = []
    for _ in range(3):
        start = time.perf_counter()
        _python("import nasflow, nasflow.ir")
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3 + _bare()


def _bare() -> float:
    start = time.perf_counter()
    _python("pass")
    return time.perf_counter() - start


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
