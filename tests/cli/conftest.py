"""A user's folder with a space and a strategy of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

SPACE = """
def space(width: int = 8, kernels: tuple[int, ...] = (3, 5), name: str = "mine"):
    raise AssertionError("composing a configuration must not build the space")
"""
STRATEGY = """
class Patient:
    def __init__(self, space, seed=0, *, patience: int = 3):
        self.patience = patience
    def ask(self): ...
    def tell(self, point, result): ...
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, which holds search_spaces/mine_ and strategies/patient_ (names of this test alone)."""
    for folder, name, text in (
        ("search_spaces", "mine_", SPACE),
        ("strategies", "patient_", STRATEGY),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path
