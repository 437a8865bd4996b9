"""Make torchvision and timm importable beside a torch that their wheels were not built for."""

from __future__ import annotations

import pytest
import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library = torch.library.Library("torchvision", "FRAGMENT")  # lives as long as the schemas must


def pytest_configure(config: pytest.Config) -> None:
    """Define the operator schemas that ``import torchvision`` looks up, where they are missing."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for schema in SCHEMAS:
            name = schema.partition("(")[0]
            if not hasattr(torch.ops.torchvision, name):
                _library.define(schema)
