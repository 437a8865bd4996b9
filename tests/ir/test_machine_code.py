"""What `make compile` makes of the modules that bind and fingerprint does what they do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPACES = ("nasnet", "nas_bench_201", "efficientnet", "nasvit", "revcol", "darts")
POINTS = """
import sys
import nasflow
from nasflow.ir import bind
print(bind.__file__)
for name in sys.argv[1:]:
    space = nasflow.space(name)
    for seed in range(20):
        graph = space.bind(space.sample(seed))
        print(name, seed, graph.fingerprint, graph.params, graph.macs)

from nasflow import ir

def refused(make):
    try:
        make()
    except Exception as error:
        print(type(error).__name__, error)

width, times = ir.choice("width", 4, 5), ir.integer("times", 1, 3)
x = ir.Conv2d(width)(ir.image(3, 8))
x = ir.repeat(lambda x: ir.Conv2d(x.dim("C"), 3, groups=2)(x), times)(x)
space = ir.Space(ir.Linear(2)(ir.Mean()(x)), name="grouped")
for point in ({"width": 5, "times": 2}, {"width": 4, "times": 9}, {"width": "4", "times": 1}, {}, None):
    refused(lambda: space.bind(point))
refused(lambda: ir.Conv2d(4)(ir.Conv2d(4)(ir.image(3, 8)), ir.image(3, 8)))
"""


def points(folder: Path) -> tuple[str, list[str]]:
    """Return the file that binds, and what is printed of each point and of what is refused."""
    command = [sys.executable, "-c", POINTS, *SPACES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    file, *lines = done.stdout.splitlines()
    return file, lines


@pytest.mark.campaign
def test_compiled_and_plain_modules_give_the_same_networks(tmp_path: Path) -> None:
    pytest.importorskip("mypyc")
    for name in ("nasflow", "search_spaces", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    plain, expected = points(tmp_path)
    assert plain == str(tmp_path / "nasflow" / "ir" / "bind.py")
    build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(build, cwd=tmp_path, env={**os.environ, "NASFLOW_COMPILE": "1"}, check=True)
    compiled, found = points(tmp_path)
    assert compiled.endswith(".so")
    assert found == expected
