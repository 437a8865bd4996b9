"""Write results, with one clear line where that fails."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasflow.errors import RunError

if TYPE_CHECKING:
    from nasflow.search.results import Run


def run_folder(text: Any) -> Path:
    """Return the folder that ``run=`` or ``out=`` names: a path, or a URI, of whose store it is a working copy."""
    from nasflow.search import run

    return run.run_folder(os.path.expanduser(str(text)))


def target(text: Any) -> Path:
    """Return the file or folder that ``to=`` names, a path or a URI of a folder."""
    return run_folder(text) if "://" in str(text) else Path(str(text)).expanduser()


def named(path: Path) -> str:
    """Return what a person calls a path: its URI where it goes to a store."""
    from nasflow.search import store

    return store.named(path)


def word(field: str, path: Path) -> str:
    """Return ``field=path`` as a shell takes it."""
    return shlex.quote(f"{field}={named(path)}")


def push() -> None:
    """Write what a command changed in working copies to their stores."""
    if "nasflow.search.store" in sys.modules:
        from nasflow.search import store

        store.push()


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
