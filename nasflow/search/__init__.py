"""Search a space: the strategy protocol, objectives, the ledger, and the loop that runs on Ray.

Importing this package loads neither torch nor ray.
"""

from __future__ import annotations

from nasflow.search.strategy import Result, Strategy

__all__ = ["Result", "Strategy"]
