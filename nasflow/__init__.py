"""Neural architecture search on a typed graph: a model is a graph, a space is a graph with decisions left open.

>>> import nasflow
>>> space = nasflow.space("nasnet")
>>> graph = space.bind(space.sample(seed=0))

Importing this package loads neither torch nor ray.
"""

from __future__ import annotations

from nasflow.discovery import model, models, space, spaces
from nasflow.errors import NasflowError

__version__ = "0.1.0"
__all__ = ["NasflowError", "__version__", "model", "models", "space", "spaces"]
