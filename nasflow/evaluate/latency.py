"""How long one forward pass takes on this machine."""

from __future__ import annotations

import statistics
import time

import torch

from nasflow.evaluate.device import pick_device, threads
from nasflow.evaluate.evaluator import Network, Report
from nasflow.evaluate.failure import blame_candidate
from nasflow.options import check_whole


class Latency:
    """Measure the median time of a forward pass in eval mode, in milliseconds.

    ``batch``: images a pass; ``threads``: PyTorch threads on a CPU; ``warmup`` passes are not
    counted, ``repeats`` are. Batch and threads are recorded beside the time, which means nothing
    without them. Other work on the machine disturbs it: a search should measure with idle cores.
    """

    def __init__(
        self,
        batch: int = 1,
        threads: int = 1,
        warmup: int = 5,
        repeats: int = 30,
        device: str = "cpu",
    ) -> None:
        for name, value, least in (
            ("batch", batch, 1),
            ("threads", threads, 1),
            ("repeats", repeats, 1),
            ("warmup", warmup, 0),
        ):
            check_whole(f"evaluator.{name}", value, least)
        self.batch, self.threads, self.warmup, self.repeats = batch, threads, warmup, repeats
        self.device = device

    def __call__(
        self, graph: Network, *, seed: int = 0, report: Report | None = None
    ) -> dict[str, float]:
        """Return ``latency_ms`` (median), ``latency_batch`` and ``latency_threads``."""
        device = pick_device(self.device)
        with blame_candidate(), threads(self.threads):
            module = graph.to_torch(seed=seed).eval().to(device)
            inputs = [
                example((self.batch, *kind.shape), kind.dtype, device) for kind in graph.inputs
            ]
            times = [self._pass(module, inputs, device) for _ in range(self.warmup + self.repeats)]
        return {
            "latency_ms": statistics.median(times[self.warmup :]),
            "latency_batch": self.batch,
            "latency_threads": self.threads,
        }

    @staticmethod
    def _pass(module: torch.nn.Module, inputs: list[torch.Tensor], device: torch.device) -> float:
        with torch.inference_mode():
            start = time.perf_counter()
            module(*inputs)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return 1e3 * (time.perf_counter() - start)


def example(shape: tuple[int, ...], dtype: str, device: torch.device | str) -> torch.Tensor:
    """Return an input of a network: zeros, ones or normal numbers, always the same."""
    if dtype == "int":
        return torch.zeros(shape, dtype=torch.int64, device=device)
    if dtype == "bool":
        return torch.ones(shape, dtype=torch.bool, device=device)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
