"""Handwritten digits that come with scikit-learn: real data, no download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nasflow.data.augment import Augment
from nasflow.data.dataset import Dataset, assemble, checked


def load(
    size: int | None = None,
    test: float = 0.2,
    validation: float = 0.2,
    seed: int = 0,
    augment: Augment | Mapping[str, Any] | None = None,
) -> Dataset:
    """Return the 1,797 digits, 1x8x8, uint8, 10 classes; test and validation held out by class.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its
    test set), as bundled with scikit-learn.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)  # the values are 0 to 16
    whole = checked("digits", images, digits.target)
    return assemble(
        "digits", whole, test, validation=validation, seed=seed, size=size, augment=augment
    )
