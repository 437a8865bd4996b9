from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FAKES = "tests.search.fakes"


@pytest.fixture
def setup(tmp_path: Path) -> dict[str, Any]:
    """What `search` needs, small and quick."""
    return {
        "space": {"_target_": f"{FAKES}.space"},
        "strategy": {"_target_": f"{FAKES}.Sampler"},
        "evaluator": {"_target_": f"{FAKES}.Table"},
        "budget": {"trials": 30},
        "out": tmp_path / "run",
        "seed": 3,
    }


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    """Two workers' worth of Ray for all tests of a file."""
    import ray

    from nasflow.search.executors import Place, cluster

    with cluster.connected(Place(workers=2, address="local")):
        yield
    assert not ray.is_initialized()
