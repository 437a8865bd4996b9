"""`import nasflow` is fast and loads nothing heavy."""

from __future__ import annotations

import resource
import subprocess
import sys

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
    bare = min(_seconds("pass") for _ in range(3))
    assert min(_seconds("import nasflow, nasflow.ir") for _ in range(3)) - bare < 0.3


def _seconds(code: str) -> float:
    """Return the processor's seconds of a new interpreter, which other work on the machine hardly changes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _python(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
