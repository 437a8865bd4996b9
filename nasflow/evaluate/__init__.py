"""What a candidate is worth.

Evaluators that run a network import torch, so they are named by their module:
`nasflow.evaluate.train.Train`, `nasflow.evaluate.latency.Latency`. `nasflow.evaluate.fit.fit`
trains one network at full size.
"""

from __future__ import annotations

from nasflow.evaluate.evaluator import Cost, Evaluator, Network, Report, Together, cost

__all__ = ["Cost", "Evaluator", "Network", "Report", "Together", "cost"]
