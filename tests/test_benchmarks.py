"""Benchmarks are run by hand: here only that each can be, with the project as it is."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))
)
def test_it_can_be_run(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert (
        callable(module.main)
        and module.__doc__
        and f"python -m benchmarks.{name}" in module.__doc__
    )
