from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from nasflow.errors import CandidateError, ConfigError
from nasflow.evaluate.latency import Latency
from tests.evaluate.networks import HandWritten


class Slow(nn.Module):
    """Sleep 2 ms, but 200 ms at first and once in between, and never train."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert x.shape == (3, 1, 8, 8)
        assert torch.get_num_threads() == 1
        time.sleep(0.1 if self.calls in (0, 4) else 0.002)
        self.calls += 1
        return x


def test_the_median_ignores_warm_up_and_outliers() -> None:
    threads = torch.get_num_threads()
    measures = Latency(batch=3, threads=1, warmup=2, repeats=7)(HandWritten(Slow))
    assert 2 <= measures["latency_ms"] < 20
    assert (measures["latency_batch"], measures["latency_threads"]) == (3, 1)
    assert torch.get_num_threads() == threads


def test_failures_and_settings() -> None:
    with pytest.raises(CandidateError, match="RuntimeError"):
        Latency()(HandWritten(lambda: nn.Conv2d(2, 2, 3)))
    with pytest.raises(ConfigError, match="repeats: expected a whole number from 1, got 0"):
        Latency(repeats=0)
