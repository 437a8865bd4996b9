"""How many cores there are for this process."""

from __future__ import annotations

import os


def cores() -> int:
    """Return how many cores this process may use: fewer than the machine has where it is held to some."""
    if hasattr(os, "sched_getaffinity"):  # Linux; macOS and Windows only tell what the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
