"""Lower graphs to PyTorch: as source that reads as if written by hand, and as modules of it."""

from __future__ import annotations

from nasflow.lower.elastic import Supernet
from nasflow.lower.initialise import initialise
from nasflow.lower.module import to_torch
from nasflow.lower.source import to_source
from nasflow.lower.weights import copy_weights, state_dict_names

__all__ = ["Supernet", "copy_weights", "initialise", "state_dict_names", "to_source", "to_torch"]
