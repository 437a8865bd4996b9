"""Where tensors are computed, and by how many threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from nasflow.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """Return the device ``name`` ("auto": a GPU if PyTorch sees one, else the CPU).

    Raises `ConfigError` for a device that is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used here: {reason}") from error
    return device


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let PyTorch have ``count`` threads of a CPU inside; None: as many as it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
