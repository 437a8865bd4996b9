from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("NASFLOW_DATA") or Path(__file__).parents[2] / "../shared/data")


@pytest.fixture
def shared() -> Path:
    """Return the folder of real data sets, or skip."""
    if not SHARED.is_dir():
        pytest.skip("no data folder: set NASFLOW_DATA")
    return SHARED
