"""Run every benchmark, one after the other, each in a process of its own.

    python -m benchmarks [ir loop ...]

See docs/performance.md for what the figures mean and those that were measured.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path


def main(chosen: list[str]) -> int:
    """Run the benchmarks named, or all; return how many failed."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    unknown = [name for name in chosen if name not in names]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(names)}", file=sys.stderr)
        return 2
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    failed = []
    for name in chosen or names:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
