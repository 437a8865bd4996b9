"""`import nasflow` is fast and loads nothing heavy."""

from __future__ import annotations

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


def test_the_ir_loads_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import nasflow, nasflow.ir; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - sys.stdlib_module_names))"
    )
    assert _python(code) == "['nasflow']"


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
