from __future__ import annotations

import subprocess
import sys

from nasflow.evaluate import Cost, Together
from tests.evaluate.networks import HandWritten, plain


def test_cost_counts_without_building() -> None:
    network = HandWritten(plain)
    assert Cost()(network) == {"params": network.cost().params, "macs": 1000}


def test_cost_needs_no_torch() -> None:
    code = "import sys, nasflow.evaluate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_together_merges_in_order_and_hands_on_seed_and_report() -> None:
    def first(graph, *, seed, report=None) -> dict[str, float]:
        report({"epoch": 1})
        return {"accuracy": 0.5, "seconds": seed}

    def second(graph, *, seed, report=None) -> dict[str, float]:
        return {"seconds": 2.0 * seed}

    reports: list[dict[str, float]] = []
    both = Together({"first": first, "second": second})
    assert both(HandWritten(plain), seed=3, report=reports.append) == {
        "accuracy": 0.5,
        "seconds": 6.0,
    }
    assert reports == [{"epoch": 1}]
