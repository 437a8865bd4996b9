from __future__ import annotations

from typing import Any

import pytest

from nasflow.errors import ConfigError
from nasflow.search import budget


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"trials": 0}, "positive"),
        ({"trials": -3}, "positive"),
        ({"trials": 1.5}, "whole number"),
        ({"seconds": 0}, "positive"),
        ({"seconds": "long"}, "number, got 'long'"),
        ({"seconds": True}, "number, got True"),
        ({"target": "high"}, "number"),
        ({"trials": 1, "patience": 1.5}, "whole number"),
        ({"trials": 1, "patience": None}, "whole number"),
        ({}, "at least one"),
        ({"trails": 5}, "did you mean 'trials'"),
    ],
)
def test_bad_budgets_are_one_line(spec: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        budget.create(spec)


@pytest.mark.parametrize(
    ("trials", "elapsed", "best", "reason"),
    [
        (9, 9, None, None),
        (10, 0, None, "trials"),
        (0, 60, None, "seconds"),
        (1, 1, 0.9, "target"),
        (1, 1, 0.89, None),
    ],
)
def test_the_first_bound_ends_the_search(
    trials: int, elapsed: float, best: float | None, reason: str | None
) -> None:
    told = budget.create({"trials": 10, "seconds": 60, "target": 0.9}).spent(trials, elapsed, best)
    assert told is None if reason is None else told is not None and told.startswith(reason)
