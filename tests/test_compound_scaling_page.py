"""docs/compound-scaling.md is what docs/compound_scaling.py writes today."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


def written_by() -> ModuleType:
    spec = importlib.util.spec_from_file_location("page", DOCS / "compound_scaling.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date() -> None:
    written = (DOCS / "compound-scaling.md").read_text(encoding="utf-8")
    command = "python docs/compound_scaling.py > docs/compound-scaling.md"
    assert written_by().page() == written, f"stale: run `{command}`"


def test_a_fit_finds_the_phi_that_made_the_factors() -> None:
    module = written_by()
    assert module.fit([factor**3.5 for factor in module.FACTORS]) == pytest.approx(3.5)
