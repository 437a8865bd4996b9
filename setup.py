"""Build nasflow; with NASFLOW_COMPILE=1 the modules that every point goes through become machine code.

All else about the package stands in pyproject.toml. Compiled (by mypyc) and plain they do the same; where no compiler
is asked for, nothing but Python is needed.
"""

import os

from setuptools import Extension, setup

# What binds and fingerprints. Left out: classes that others derive from or keep further attributes on.
MODULES = ("absorb", "bind", "canonical", "plan", "rules", "shape", "ties")
# nasflow.ir needs no other package: without this, reading torch's types would take minutes.
OPTIONS = (
    "--config-file=",
    "--no-site-packages",
    "--ignore-missing-imports",
    "--follow-imports=silent",
)


def extensions() -> list[Extension]:
    """Return what is to be compiled: nothing, unless it is asked for."""
    if os.environ.get("NASFLOW_COMPILE") != "1":
        return []
    try:
        from mypyc.build import mypycify
    except ImportError:
        raise SystemExit(
            "NASFLOW_COMPILE=1 needs mypy: pip install '.[lint]', and --no-build-isolation for a wheel"
        ) from None
    paths = [f"nasflow/ir/{module}.py" for module in MODULES]
    return mypycify([*OPTIONS, *paths], group_name="nasflow_ir")


setup(ext_modules=extensions())
