"""Data sets in memory or streamed, and their augmentation.

Each data set is one function that returns a `Dataset` (`nasflow.data.digits.load`, ...); a
configuration names it by its import path, so one of your own is one function in one file.
"""

from __future__ import annotations

from nasflow.data.augment import Augment
from nasflow.data.dataset import Dataset, Part, Split, assemble, checked, find

__all__ = ["Augment", "Dataset", "Part", "Split", "assemble", "checked", "find"]
