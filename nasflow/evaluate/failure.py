"""Tell whose failure it is: a candidate's, a strategy's, or nobody's but ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from nasflow.errors import CandidateError, NasflowError, RunError

# What the allocators of PyTorch say in a plain RuntimeError (c10/core/impl/alloc_cpu.cpp).
MEMORY = ("not enough memory", "can't allocate memory", "out of memory")


@contextlib.contextmanager
def blame_candidate() -> Iterator[None]:
    """Turn any exception of the enclosed block into a `CandidateError` of one line.

    Build and run a candidate inside it: an operation may be a user's own and raise anything. Our
    own errors pass as they are.
    """
    try:
        yield
    except NasflowError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise CandidateError(f"out of memory: {_line(error)}") from error
    except Exception as error:
        text = _line(error)
        if any(words in text for words in MEMORY):
            raise CandidateError(f"out of memory: {text}") from error
        raise CandidateError(f"{type(error).__name__}: {text}") from error


@contextlib.contextmanager
def blame_strategy(strategy: object, what: str) -> Iterator[None]:
    """Turn any exception of the enclosed block into a `RunError` of one line that names the method ``what``."""
    try:
        yield
    except NasflowError:
        raise
    except Exception as error:
        raise RunError(
            f"strategy {type(strategy).__name__} failed in {what}(): {type(error).__name__}: {_line(error)}"
        ) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
