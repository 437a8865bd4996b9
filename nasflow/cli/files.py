"""Write results, with one clear line where that fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasflow.errors import RunError

if TYPE_CHECKING:
    from nasflow.search.results import Run


def run_folder(text: Any) -> Path:
    """Return the folder that ``run=`` or ``out=`` names, a path or a ``file://`` URI."""
    from nasflow.search import run

    return run.run_folder(os.path.expanduser(str(text)))


def read_run(text: Any) -> Run:
    """Read the run that ``run=`` names; raises RunError where there is none."""
    from nasflow.search import results

    return results.load(run_folder(text))


def write(path: Path, content: str | bytes) -> Path:
    """Write a file, making its folder; raises RunError where that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error
    return path
