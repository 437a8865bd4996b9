"""Write results, with one clear line where that fails."""

from __future__ import annotations

from pathlib import Path

from nasflow.errors import RunError


def write(path: Path, content: str | bytes) -> Path:
    """Write a file, making its folder; raises RunError where that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error
    return path
